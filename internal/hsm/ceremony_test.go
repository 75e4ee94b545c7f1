package hsm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// domainOf opens a security domain file with the test's holders and says whose it is.
func domainOf(t *testing.T, file []byte) string {
	t.Helper()
	data, err := securitydomain.Open(file, holders()[:2])
	if err != nil {
		t.Fatal(err)
	}
	info, err := securitydomain.ParseInfo(secretOf(data, securitydomain.TagInfo))
	if err != nil {
		t.Fatal(err)
	}
	return info.DomainID
}

func TestActivation(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	ctx := t.Context()
	if _, err := r.DownloadStatus(ctx, admin); !errors.Is(err, ErrNoOperation) {
		t.Errorf("status before any download: %v", err)
	}
	_, err := r.CreateKey(ctx, admin, "k", key.CreateParams{Spec: key.Spec{Type: key.Oct}})
	if !errors.Is(err, ErrNotActivated) { // not "assign a role", which cannot be done yet
		t.Errorf("a key by an administrator: %v", err)
	}
	if _, err := r.CreateKey(ctx, stranger, "k", key.CreateParams{Spec: key.Spec{Type: key.Oct}}); !errors.Is(err, rbac.ErrDenied) {
		t.Errorf("a key by a stranger: %v", err)
	}
	_, err = r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{})
	if !errors.Is(err, ErrNotActivated) {
		t.Errorf("roles before activation: %v", err)
	}
	mustSay(t, err, "az keyvault security-domain download", "init-recovery", "ContosoMHSM")
	if _, err := r.DownloadDomain(ctx, stranger, downloadRequest(t, holders(), 2)); !errors.Is(err, rbac.ErrDenied) {
		t.Errorf("download by a stranger: %v", err)
	}

	before := r.dev()
	local := r.inventory()
	file := r.activateByDownload()
	d := r.dev()
	if d.State != Active || d.DomainID != domainOf(t, file) || d.DomainID != securitydomain.ReadDomainID(file) || d.Epoch != 1 {
		t.Errorf("device is %+v, the file that of %s", d, domainOf(t, file))
	}
	if d.Generation == before.Generation || d.Lineage == before.Lineage || exists(r.rootFile(before.Root)) {
		t.Error("the local root or its content is still in use")
	}
	sameInventory(t, r.inventory(), local) // the bootstrap roles, under the new root
	r.sound()
	s := must[Status](t)(r.Status(ctx))
	if s.State != Active || s.DomainID != d.DomainID || s.Epoch != 1 {
		t.Errorf("status: %+v", s)
	}
	if _, err := r.UploadStatus(ctx, admin); err != nil {
		t.Error(err)
	}
	r.restart()
	r.sound()
	r.fill("")
	r.check()
}

// TestAbandonedDownload: the client dies between download and poll, or asks twice. Only the file of the
// last download counts, and the domain is never lost.
func TestAbandonedDownload(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	ctx := t.Context()
	request := downloadRequest(t, holders(), 2)
	first := must[[]byte](t)(r.DownloadDomain(ctx, admin, request))
	dropped := r.dev().Pending.Root
	if d := r.dev(); d.State != Provisioned || d.DomainID != "" {
		t.Errorf("a download alone has changed the state: %+v", d)
	}
	r.restart() // a pending domain survives
	r.sound()
	second := must[[]byte](t)(r.DownloadDomain(ctx, admin, request))
	if exists(r.rootFile(dropped)) {
		t.Error("the root of the abandoned download still exists")
	}
	r.sound()
	s := must[DomainStatus](t)(r.UploadStatus(ctx, admin)) // old clients ask here
	if s.Status != statusSuccess || !strings.Contains(s.Detail, domainOf(t, second)) {
		t.Errorf("status: %+v", s)
	}
	if d := r.dev(); d.DomainID != domainOf(t, second) || d.DomainID == domainOf(t, first) {
		t.Errorf("activated with %s", d.DomainID)
	}
	r.sound()
}

func TestDownloadAgain(t *testing.T) {
	t.Parallel()
	r, first := newActiveDR(t)
	before := r.dev()
	inventory := r.inventory()
	again := must[[]byte](t)(r.DownloadDomain(t.Context(), admin, downloadRequest(t, holders(), 3)))
	if bytes.Equal(first, again) {
		t.Error("the same shares again")
	}
	if domainOf2(t, again) != before.DomainID {
		t.Error("another root")
	}
	s := must[DomainStatus](t)(r.DownloadStatus(t.Context(), admin))
	if s.Status != statusSuccess || !strings.Contains(s.Detail, "again") {
		t.Errorf("status: %+v", s)
	}
	d := r.dev()
	if d.State != Active || d.Root != before.Root || d.Lineage != before.Lineage {
		t.Errorf("device is %+v", d)
	}
	sameInventory(t, r.inventory(), inventory)
	r.sound()
	r.stop()
	found := false
	for _, e := range r.auditLog() {
		found = found || e.Operation == "SecurityDomainBackup" && e.Result == "Success" && e.Details["again"] != "" &&
			e.Details["certificates"] == "3" && e.Details["quorum"] == "3" && strings.Contains(e.Details["thumbprints"], holders()[0].X5TS256)
	}
	if !found {
		t.Error("no audit entry tells of the second download")
	}
}

// domainOf2 is domainOf with all holders.
func domainOf2(t *testing.T, file []byte) string {
	t.Helper()
	data := must[[]securitydomain.Datum](t)(securitydomain.Open(file, holders()))
	return must[securitydomain.Info](t)(securitydomain.ParseInfo(secretOf(data, securitydomain.TagInfo))).DomainID
}

// jwk is a certificate as a download request carries it.
type jwk struct {
	Kty  string   `json:"kty"`
	Alg  string   `json:"alg"`
	Ops  []string `json:"key_ops"`
	X5C  []string `json:"x5c"`
	X5T  string   `json:"x5t"`
	X5T2 string   `json:"x5t#S256"`
	N    string   `json:"n"`
	E    string   `json:"e"`
}

func toJWK(der []byte, n *big.Int) jwk {
	one, two := sha1.Sum(der), sha256.Sum256(der)
	b64 := base64.RawURLEncoding.EncodeToString
	return jwk{"RSA", "RSA-OAEP-256", []string{"verify", "encrypt", "wrapKey"}, []string{base64.StdEncoding.EncodeToString(der)}, b64(one[:]), b64(two[:]), b64(n.Bytes()), "AQAB"}
}

func rawRequest(t *testing.T, required int, certs ...jwk) []byte {
	t.Helper()
	return must[[]byte](t)(json.Marshal(map[string]any{"certificates": certs, "required": required}))
}

func TestDownloadRefused(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	var c []jwk
	for _, h := range holders() {
		c = append(c, toJWK(h.DER, h.Public.N))
	}
	eleven := append(append(append(append([]jwk{}, c...), c...), c...), c[:2]...)
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	ec := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weak"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	smallDER := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, tmpl, small.Public(), small))
	ecDER := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, tmpl, ec.Public(), ec))
	mixed := c[2]
	mixed.N = c[0].N
	for _, tc := range []struct {
		name  string
		body  []byte
		words []string
	}{
		{"two certificates", rawRequest(t, 2, c[:2]...), []string{"2 certificates", "3 to 10"}},
		{"eleven", rawRequest(t, 2, eleven...), []string{"11 certificates", "3 to 10"}},
		{"quorum 1", rawRequest(t, 1, c...), []string{"quorum of 1", "at least 2"}},
		{"quorum above N", rawRequest(t, 4, c...), []string{"quorum of 4", "never be reached"}},
		{"duplicate", rawRequest(t, 2, c[0], c[1], c[0]), []string{"certificates 1 and 3", "same"}},
		{"RSA-1024", rawRequest(t, 2, c[0], toJWK(smallDER, small.N), c[1]), []string{"certificate 2", "1024 bits", "2048"}},
		{"EC", rawRequest(t, 2, c[0], c[1], toJWK(ecDER, big.NewInt(3))), []string{"certificate 3", "ECDSA", "RSA"}},
		{"n of another key", rawRequest(t, 2, c[0], c[1], mixed), []string{"certificate 3", `"n"`}},
		{"not JSON", []byte("{"), []string{"request"}},
	} {
		before := r.raw()
		_, err := r.DownloadDomain(t.Context(), admin, tc.body)
		if !errors.Is(err, ErrBadSecurityDomain) {
			t.Errorf("%s: %v", tc.name, err)
		}
		mustSay(t, err, tc.words...)
		if !maps.Equal(r.raw(), before) {
			t.Errorf("%s: something was written", tc.name)
		}
	}
	r.sound()
}

// TestExpiredCertificate: allowed, with a warning in the status.
func TestExpiredCertificate(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	old := makeHolders(1, 1, 1_600_000_000)
	keys := append(old, holders()[:2]...)
	must[[]byte](t)(r.DownloadDomain(t.Context(), admin, downloadRequest(t, keys, 2)))
	s := must[DomainStatus](t)(r.DownloadStatus(t.Context(), admin))
	if s.Status != statusSuccess {
		t.Errorf("status: %+v", s)
	}
	mustSay(t, errors.New(s.Detail), "warning", "certificate 1", "expired on 2020-09-13", old[0].X5TS256)
	if w := must[Status](t)(r.Status(t.Context())).Warnings; len(w) != 1 {
		t.Errorf("warnings: %q", w)
	}
	// The next download with fresh certificates takes the warning back.
	must[[]byte](t)(r.DownloadDomain(t.Context(), admin, downloadRequest(t, holders(), 2)))
	if w := must[Status](t)(r.Status(t.Context())).Warnings; len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := newDR(t)
	ctx := t.Context()
	local := r.inventory()
	_, err := r.UploadDomain(ctx, admin, s.blob)
	if !errors.Is(err, ErrNoExchangeKey) {
		t.Errorf("upload before init-recovery: %v", err)
	}
	mustSay(t, err, "az keyvault security-domain init-recovery --hsm-name ContosoMHSM --sd-exchange-key")

	// A download that nobody polled is given up by init-recovery.
	must[[]byte](t)(r.DownloadDomain(ctx, admin, downloadRequest(t, holders(), 2)))
	k := must[TransferKey](t)(r.ExchangeKey(ctx, admin))
	again := must[TransferKey](t)(r.ExchangeKey(ctx, admin))
	if k != again || k.Format != "jwk" {
		t.Error("another exchange key the second time")
	}
	r.sound()
	r.restart()
	r.sound()
	if again = must[TransferKey](t)(r.ExchangeKey(ctx, admin)); k != again {
		t.Error("another exchange key after a restart")
	}
	if st := must[Status](t)(r.Status(ctx)); st.State != Recovering || st.ExchangeFingerprint != k.Fingerprint {
		t.Errorf("status: %+v", st)
	}
	if st := must[DomainStatus](t)(r.UploadStatus(ctx, admin)); st.Status != statusInProgress {
		t.Errorf("status: %+v", st)
	}
	_, err = r.DownloadDomain(ctx, admin, downloadRequest(t, holders(), 2))
	if !errors.Is(err, ErrNotActivated) {
		t.Errorf("download while recovering: %v", err)
	}
	if _, err = r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{}); !errors.Is(err, ErrNotActivated) {
		t.Errorf("roles while recovering: %v", err)
	}
	mustSay(t, err, "az keyvault security-domain upload --hsm-name ContosoMHSM")

	exchange := must[securitydomain.Certificate](t)(securitydomain.ParseExchangeCertificate([]byte(k.Key)))
	if exchange.NotBefore > r.now() || exchange.Expired(r.now()) {
		t.Error("the exchange certificate is not valid by the HSM's clock")
	}
	st := must[DomainStatus](t)(r.UploadDomain(ctx, admin, restoreBlob(t, s.file, exchange)))
	if st.Status != statusSuccess || !strings.Contains(st.Detail, s.domainID) {
		t.Errorf("status: %+v", st)
	}
	d := r.dev()
	if d.State != Active || d.DomainID != s.domainID || d.Exchange != "" {
		t.Errorf("device: %+v", d)
	}
	sameInventory(t, r.inventory(), local)
	r.sound()
	r.restart()
	r.sound()

	before := r.raw()
	if _, err = r.UploadDomain(ctx, admin, s.blob); !errors.Is(err, ErrAlreadyActive) {
		t.Errorf("second upload: %v", err)
	}
	if _, err = r.ExchangeKey(ctx, admin); !errors.Is(err, ErrAlreadyActive) {
		t.Errorf("init-recovery on an active HSM: %v", err)
	}
	mustSay(t, err, "already activated", "create a new HSM")
	if !maps.Equal(r.raw(), before) {
		t.Error("something was written")
	}
	if st := must[DomainStatus](t)(r.DownloadStatus(ctx, admin)); st.Status != statusSuccess {
		t.Errorf("status: %+v", st)
	}
}

// edited decodes JSON, lets edit change it and encodes it again.
func edited(t *testing.T, b []byte, edit func(map[string]any)) []byte {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	edit(v)
	return must[[]byte](t)(json.Marshal(v))
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := recoveringHSM(t)
	data := func(v map[string]any) []any { return v["EncData"].(map[string]any)["data"].([]any) }
	setData := func(v map[string]any, d []any) { v["EncData"].(map[string]any)["data"] = d }
	other := must[*securitydomain.ExchangeKey](t)(securitydomain.NewExchangeKey("other", 1, 2))
	foreign := func(tags ...string) []byte {
		var ds []securitydomain.Datum
		for _, tag := range tags {
			v := secret.Random(32)
			if tag == securitydomain.TagInfo {
				v = securitydomain.EncodeInfo(securitydomain.Info{Epoch: 1, DomainID: s.domainID})
			}
			ds = append(ds, securitydomain.Datum{Tag: tag, Value: v})
		}
		return must[[]byte](t)(securitydomain.Reencrypt(ds, sharedExchangeKey().Certificate()))
	}
	flip := func(compact string, part int) string {
		parts := strings.Split(compact, ".")
		b := []byte(parts[part])
		if b[0] == 'A' {
			b[0] = 'B'
		} else {
			b[0] = 'A'
		}
		parts[part] = string(b)
		return strings.Join(parts, ".")
	}
	for _, tc := range []struct {
		name  string
		blob  []byte
		words []string
	}{
		{"another exchange key", restoreBlob(t, s.file, other.Certificate()), []string{other.Fingerprint(), sharedExchangeKey().Fingerprint(), "init-recovery --hsm-name ContosoMHSM"}},
		{"missing datum", edited(t, s.blob, func(v map[string]any) { setData(v, data(v)[:2]) }), []string{"redoubt-info", "missing"}},
		{"added datum", foreign(append(securitydomain.Tags(), "extra")...), []string{"extra", "does not know"}},
		{"repeated datum", edited(t, s.blob, func(v map[string]any) { setData(v, append(data(v), data(v)[0])) }), []string{"redoubt-root"}},
		{"tampered datum", edited(t, s.blob, func(v map[string]any) {
			d := data(v)[0].(map[string]any)
			d["compact_jwe"] = flip(d["compact_jwe"].(string), 3)
		}), []string{"redoubt-root", "make the blob again"}},
		{"tag not 32 bytes", edited(t, s.blob, func(v map[string]any) {
			d := data(v)[0].(map[string]any)
			c := d["compact_jwe"].(string)
			d["compact_jwe"] = c[:strings.LastIndexByte(c, '.')+1] + "AAAA"
		}), []string{"redoubt-root"}},
		{"tampered wrapped key", edited(t, s.blob, func(v map[string]any) {
			w := v["WrappedKey"].(map[string]any)
			w["enc_key"] = flip(w["enc_key"].(string), 3)
		}), []string{"wrapped key"}},
		{"seed of another domain", foreign(securitydomain.Tags()...), []string{s.domainID, "signing seed", "make the blob again"}},
		{"the security domain itself", s.file, nil},
		{"nothing", nil, nil},
	} {
		before := r.raw()
		_, err := r.UploadDomain(t.Context(), admin, tc.blob)
		if !errors.Is(err, ErrBadSecurityDomain) {
			t.Errorf("%s: %v", tc.name, err)
		}
		mustSay(t, err, append(tc.words, "security domain refused")...)
		if !maps.Equal(r.raw(), before) {
			t.Errorf("%s: something was written", tc.name)
		}
		r.sound()
	}
	// And after all that the right one is still accepted.
	must[DomainStatus](t)(r.UploadDomain(t.Context(), admin, s.blob))
	r.sound()
}
