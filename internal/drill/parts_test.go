package drill

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/yawning/secp256k1-voi/secec"

	"redoubt/internal/client"
	"redoubt/internal/durable"
	"redoubt/internal/securitydomain"
)

func TestEachStopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	var done atomic.Int64
	endless := func(yield func(int, error) bool) {
		for i := 0; yield(i, nil); i++ {
		}
	}
	err := each(t.Context(), endless, func(_ context.Context, i int) error {
		if done.Add(1) == 100 {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) {
		t.Error(err)
	}
	failing := func(yield func(int, error) bool) { yield(0, bad) }
	if err := each(t.Context(), failing, func(context.Context, int) error { return nil }); !errors.Is(err, bad) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := each(ctx, endless, func(context.Context, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOrderedKeepsTheOrder(t *testing.T) {
	t.Parallel()
	items := make([]int, 1000)
	for i := range items {
		items[i] = i
	}
	next := 0
	err := ordered(t.Context(), items, func(_ context.Context, i int) (int, error) { return 2 * i, nil }, func(r int) error {
		if r != 2*next {
			t.Errorf("result %d at place %d", r, next)
		}
		next++
		return nil
	})
	if err != nil || next != len(items) {
		t.Error(next, err)
	}
}

func TestProofOutcomes(t *testing.T) {
	t.Parallel()
	p := newProofs()
	for _, name := range []string{proofRoles, proofLost, proofInventory} {
		p.of(name).check(true, "")
	}
	p.of(proofRoles).done()
	p.of(proofInventory).check(false, "the tag %s", strings.Repeat("x", 10_000))
	p.of(proofInventory).done()
	p.of(proofAudit).done()
	got := map[string]string{}
	for _, r := range p.results() {
		got[r.Name] = r.Outcome
		for _, text := range r.Details {
			if len(text) > 400 {
				t.Errorf("%s: a detail of %d characters", r.Name, len(text))
			}
		}
	}
	want := map[string]string{proofRoles: proofHeld, proofLost: proofNotReached, proofInventory: proofFailed, proofAudit: proofFailed, proofQuorum: proofNotReached}
	for name, outcome := range want {
		if got[name] != outcome {
			t.Errorf("%s: %s, want %s", name, got[name], outcome)
		}
	}
	err := p.failure()
	if err == nil || !strings.Contains(err.Error(), "13 of 14") || !strings.Contains(err.Error(), proofInventory+" (the tag ") || strings.Contains(err.Error(), proofRoles) {
		t.Error(err)
	}
}

func TestDetailsAreBounded(t *testing.T) {
	t.Parallel()
	var w sync.WaitGroup
	var tl tally
	for range 1000 {
		w.Go(func() { tl.check(false, "x") })
	}
	w.Wait()
	if r := tl.result("n", "t"); r.Checked != 1000 || r.Failed != 1000 || len(r.Details) != maxDetails+1 {
		t.Errorf("%d of %d, %d details", r.Failed, r.Checked, len(r.Details))
	}
}

func TestVerifyOutside(t *testing.T) {
	t.Parallel()
	rk, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk := client.JWK{Kty: "RSA-HSM", N: rk.N.Bytes(), E: []byte{1, 0, 1}}
	public, err := publicKey(jwk)
	if err != nil || !rk.PublicKey.Equal(public) {
		t.Fatal(err)
	}
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "RSNULL"} {
		digest := randomBytes(digestLength(alg))
		var sig []byte
		h := hashes[alg[len(alg)-3:]]
		if strings.HasPrefix(alg, "PS") {
			sig, err = rsa.SignPSS(rand.Reader, rk, h, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(nil, rk, h, digest)
		}
		if err != nil {
			t.Fatal(err)
		}
		checkVerify(t, public, alg, digest, sig)
	}
	for _, alg := range []string{"RSA-OAEP", "RSA-OAEP-256", "RSA1_5"} {
		if out, ok, err := encryptOutside(public, alg, []byte("x")); err != nil || !ok || len(out) != 256 {
			t.Errorf("%s: %d bytes, %v, %v", alg, len(out), ok, err)
		}
	}
	if _, ok, _ := encryptOutside(public, "A256GCM", nil); ok {
		t.Error("A256GCM outside")
	}
	if _, ok, _ := encryptOutside(nil, "RSA-OAEP", nil); ok {
		t.Error("without a public key")
	}
}

func TestVerifyOutsideEC(t *testing.T) {
	t.Parallel()
	for alg, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		size := len(point) / 2
		public, err := publicKey(client.JWK{Kty: "EC-HSM", Crv: curve.Params().Name, X: point[1 : 1+size], Y: point[1+size:]})
		if err != nil || !k.PublicKey.Equal(public) {
			t.Fatal(alg, err)
		}
		digest := randomBytes(digestLength(alg))
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			t.Fatal(err)
		}
		checkVerify(t, public, alg, digest, append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...))
		if err := verifyOutside(public, alg, digest, []byte{1}); err == nil {
			t.Error("a short signature")
		}
	}
	k, err := secec.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	point := k.PublicKey().Bytes()
	public, err := publicKey(client.JWK{Kty: "EC-HSM", Crv: "P-256K", X: point[1:33], Y: point[33:]})
	if err != nil || !k.PublicKey().Equal(public) {
		t.Fatal(err)
	}
	digest := randomBytes(digestLength("ES256K"))
	sig, err := k.Sign(rand.Reader, digest, &secec.ECDSAOptions{Encoding: secec.EncodingCompact})
	if err != nil {
		t.Fatal(err)
	}
	checkVerify(t, public, "ES256K", digest, sig)
	if verifyOutside(public, "ES256", digest, sig) == nil || verifyOutside(public, "ES256K", digest, sig[:63]) == nil {
		t.Error("another algorithm, or a short signature")
	}
	if _, err := publicKey(client.JWK{Kty: "EC-HSM", Crv: "P-256K", X: point[1:33], Y: point[1:33]}); err == nil {
		t.Error("a point off P-256K")
	}
	if _, err := publicKey(client.JWK{Kty: "EC-HSM", Crv: "P-192"}); err == nil {
		t.Error("P-192")
	}
	if _, err := publicKey(client.JWK{Kty: "EC-HSM", Crv: "P-256", X: make([]byte, 32), Y: make([]byte, 32)}); err == nil {
		t.Error("a point off the curve")
	}
	if k, err := publicKey(client.JWK{Kty: "oct-HSM"}); k != nil || err != nil {
		t.Error(k, err)
	}
}

// checkVerify wants a yes for the signature and a no for every other one.
func checkVerify(t *testing.T, public crypto.PublicKey, alg string, digest, sig []byte) {
	t.Helper()
	if err := verifyOutside(public, alg, digest, sig); err != nil {
		t.Errorf("%s: %v", alg, err)
	}
	for _, flip := range []*byte{&digest[0], &sig[3]} {
		*flip ^= 1
		if verifyOutside(public, alg, digest, sig) == nil {
			t.Errorf("%s verifies what was altered", alg)
		}
		*flip ^= 1
	}
	if verifyOutside(public, "HS256", digest, sig) == nil || verifyOutside(nil, alg, digest, sig) == nil {
		t.Error("an algorithm or a key that cannot verify")
	}
}

func TestSpool(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "spool")
	s, err := newSpool(path)
	if err != nil {
		t.Fatal(err)
	}
	var w sync.WaitGroup
	for range 100 {
		w.Go(func() {
			if err := s.add(record{Name: "a", Versions: []versionRecord{{Version: "1", Uses: []use{newUse(opSign, "ES256")}}}}); err != nil {
				t.Error(err)
			}
		})
	}
	w.Wait()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range readSpool[record](path) {
		if err != nil || r.Name != "a" || len(r.Versions[0].Uses[0].Input) != 32 {
			t.Fatal(r, err)
		}
		n++
	}
	if n != 100 {
		t.Errorf("%d records", n)
	}
	if _, err := newSpool(path); err == nil {
		t.Error("a spool was written over")
	}
}

// The offline step needs files and nothing else; too few holders, or an output that exists, change nothing.
func TestRestoreBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hs, certs, err := makeHolders(dir, "holder", holders)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(hs[0].key); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("wrapping key: %v, %v", fi.Mode(), err)
	}
	const id = "sd-0123456789abcdef0123456789abcdef"
	file, err := securitydomain.Create([]securitydomain.Datum{{Tag: securitydomain.TagInfo, Value: securitydomain.EncodeInfo(securitydomain.Info{Epoch: 1, DomainID: id})}}, certs, quorum, id)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	xk, err := securitydomain.NewExchangeKey("new", now-10, now+1000)
	if err != nil {
		t.Fatal(err)
	}
	o := offline{domain: filepath.Join(dir, "sd.json"), exchange: filepath.Join(dir, "sde.cer"), keys: hs[1:], out: filepath.Join(dir, "blob.json")}
	if err := errors.Join(durable.WriteFile(o.domain, file, 0o600), durable.WriteFile(o.exchange, xk.CertificatePEM(), 0o600)); err != nil {
		t.Fatal(err)
	}
	d := &drill{dir: filepath.Join(dir, "run"), proofs: newProofs()}
	if err := os.MkdirAll(d.file(""), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.proveQuorum(o, hs[0]); err != nil {
		t.Fatal(err)
	}
	if p := d.proofs.of(proofQuorum).result("", ""); p.Outcome != proofHeld || p.Checked != 8 {
		t.Errorf("%+v", p)
	}
	got, err := restoreBlob(o)
	if err != nil || got != id {
		t.Fatalf("%s, %v", got, err)
	}
	blob, err := os.ReadFile(o.out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := securitydomain.Accept(blob, xk, []string{securitydomain.TagInfo}); err != nil {
		t.Error(err)
	}
	if _, err := restoreBlob(o); !errors.Is(err, os.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
}

// A quorum that is not enforced must show.
func TestQuorumProofCanFail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hs, _, err := makeHolders(dir, "holder", 1)
	if err != nil {
		t.Fatal(err)
	}
	d := &drill{dir: dir, proofs: newProofs()}
	if err := os.MkdirAll(d.file(""), 0o700); err != nil {
		t.Fatal(err)
	}
	o := offline{domain: filepath.Join(dir, "absent"), out: filepath.Join(dir, "out")}
	if err := d.proveQuorum(o, hs[0]); err != nil {
		t.Fatal(err)
	}
	if p := d.proofs.of(proofQuorum).result("", ""); p.Outcome != proofFailed || p.Failed != 4 {
		t.Errorf("%+v", p)
	}
}

func TestToolErrorsAreShown(t *testing.T) {
	t.Parallel()
	err := toolRestoreBlob(t.Context(), filepath.Join(t.TempDir(), "absent"), offline{})
	if err == nil || !strings.Contains(err.Error(), "restore-blob") {
		t.Error(err)
	}
}

func TestReportIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "report.json")
	plan, err := newPlan(MinKeys, MixAll)
	if err != nil {
		t.Fatal(err)
	}
	r := newReport(Options{Keys: MinKeys, Mix: MixAll}, plan)
	r.Proofs = newProofs().results()
	r.end(t.Context(), errors.New("why not"), 1500*time.Millisecond)
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Version != ReportVersion || back.Outcome != "failed" || back.Error != "why not" || back.Seconds != 1.5 || len(back.Proofs) != len(proofTitles) ||
		back.PeakMemoryBytes <= 0 || back.Steps == nil || back.Platform.CPUs == 0 {
		t.Errorf("%+v", back)
	}
}

// A report that cannot be written is found out before the work, and so is a number of keys.
func TestRunRefusesBeforeTheWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(context.Context, string) (Cloud, error) { t.Error("started"); return Cloud{}, nil }
	for what, o := range map[string]Options{
		"folder absent": {Keys: MinKeys, Report: filepath.Join(dir, "absent", "r.json")},
		"a folder":      {Keys: MinKeys, Report: dir},
		"too few keys":  {Keys: 1, Report: filepath.Join(dir, "r.json")},
	} {
		o.Start, o.Out, o.TempDir = start, t.Output(), dir
		if err := Run(t.Context(), o); err == nil {
			t.Error(what)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRandomOrder(t *testing.T) {
	t.Parallel()
	first := map[int]int{}
	for range 3000 {
		order := randomOrder(holders)
		seen := map[int]bool{}
		for _, i := range order {
			seen[i] = true
		}
		if len(seen) != holders {
			t.Fatal(order)
		}
		first[order[0]]++
	}
	for i := range holders {
		if first[i] < 700 {
			t.Errorf("%d is first %d times in 3000", i, first[i])
		}
	}
}
