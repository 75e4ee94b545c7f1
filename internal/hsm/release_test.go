package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/attestation"
	"redoubt/internal/key"
	"redoubt/internal/release"
	"redoubt/internal/release/authority"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// allDeeds are deeds, jobDeeds and those of this file's operations.
func allDeeds() map[Operation]func(ctx context.Context, r *testHSM, who Caller) error {
	out := maps.Clone(deeds)
	maps.Copy(out, jobDeeds)
	maps.Copy(out, map[Operation]func(ctx context.Context, r *testHSM, who Caller) error{
		OpKeyRelease: func(ctx context.Context, r *testHSM, who Caller) error {
			return second(r.Release(ctx, who, "k", "", ReleaseRequest{Target: "x"}))
		},
		OpKeyAttestation: func(ctx context.Context, r *testHSM, who Caller) error {
			return third(r.KeyAttestation(ctx, who, "k", ""))
		},
		OpSecureWrap: func(ctx context.Context, r *testHSM, who Caller) error {
			return second(r.SecureWrap(ctx, who, "k", "", "A256KW"))
		},
		OpSecureUnwrap: func(ctx context.Context, r *testHSM, who Caller) error {
			return second(r.SecureUnwrap(ctx, who, "k", "", UnwrapRequest{Alg: "A256KW", Target: "x"}))
		},
	})
	return out
}

const attester1 = "https://attest.example"

// environment is an attested environment and the service that attests it.
var environment = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func policyOn(claims ...string) *key.ReleasePolicy {
	var conds []string
	for _, c := range claims {
		conds = append(conds, `{"claim":"`+c+`","equals":true}`)
	}
	return &key.ReleasePolicy{Data: []byte(`{"version":"1.0.0","anyOf":[{"authority":"` + attester1 + `","allOf":[` + strings.Join(conds, ",") + `]}]}`)}
}

// attestToken is a token of attester1 in which these claims are true.
func attestToken(t testing.TB, now time.Time, claims ...string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString
	pub := environment().PublicKey
	c := map[string]any{"iss": attester1, "exp": now.Unix() + 60,
		"x-ms-runtime": map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "env", "use": "enc", "n": text(pub.N.Bytes()), "e": "AQAB"}}}}
	for _, name := range claims {
		c[name] = true
	}
	b, err := json.Marshal(c)
	noErr(t, err)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: jose.JSONWebKey{Key: environment(), KeyID: "k"}}, nil)
	noErr(t, err)
	jws, err := s.Sign(b)
	noErr(t, err)
	out, err := jws.CompactSerialize()
	noErr(t, err)
	return out
}

func trusted(t testing.TB) *authority.Set {
	t.Helper()
	set, err := authority.New(authority.Issuer{URL: attester1, Keys: map[string]crypto.PublicKey{"k": environment().Public()}})
	noErr(t, err)
	return set
}

// newReleasing is an Active device that trusts attester1, or verifies tokens by v.
func newReleasing(t testing.TB, v AttestationVerifier) *testHSM {
	t.Helper()
	r := newTestHSM(t)
	if v == nil {
		v = trusted(t)
	}
	r.cfg.Attestation = v
	r.restart()
	return r
}

// opened unwraps what was wrapped for environment with CKM_RSA_AES_KEY_WRAP (SHA-1), by the standard library and RFC 5649's own words.
func opened(t testing.TB, blob []byte) []byte {
	t.Helper()
	k := environment()
	kek, err := rsa.DecryptOAEP(sha1.New(), rand.Reader, k, blob[:k.Size()], nil)
	noErr(t, err)
	b, err := aes.NewCipher(kek)
	noErr(t, err)
	c := bytes.Clone(blob[k.Size():])
	n := len(c)/8 - 1
	for j := 5; j >= 0; j-- { // RFC 3394, 2.2.2
		for i := n; i >= 1; i-- {
			var in [16]byte
			copy(in[:8], c[:8])
			copy(in[8:], c[8*i:8*i+8])
			in[7] ^= byte(n*j + i)
			in[6] ^= byte((n*j + i) >> 8)
			b.Decrypt(in[:], in[:])
			copy(c[:8], in[:8])
			copy(c[8*i:8*i+8], in[8:])
		}
	}
	if !bytes.Equal(c[:4], []byte{0xA6, 0x59, 0x59, 0xA6}) {
		t.Fatal("what was wrapped does not open")
	}
	size := int(c[4])<<24 | int(c[5])<<16 | int(c[6])<<8 | int(c[7])
	return c[8 : 8+size]
}

// The policy that counts is the key's, and the current one: older versions have no policy of their own.
func TestPolicyIsTheKeys(t *testing.T) {
	t.Parallel()
	r := newReleasing(t, nil)
	ctx := t.Context()
	yes := true
	first, err := r.CreateKey(ctx, user, "k", key.CreateParams{Spec: octSpec, Exportable: &yes, Release: policyOn("a")})
	noErr(t, err)
	second2, err := r.CreateKey(ctx, user, "k", key.CreateParams{Spec: octSpec, Release: policyOn("b")})
	noErr(t, err)
	if !second2.Meta.Attributes.Exportable || second2.Meta.Attributes.Created == 0 {
		t.Errorf("%+v", second2.Meta.Attributes)
	}
	onlyA, onlyB := attestToken(t, r.clock.Now(), "a"), attestToken(t, r.clock.Now(), "b")
	for _, v := range []key.Version{first.Meta.Version, second2.Meta.Version, ""} {
		wantErr(t, "the former policy", second(r.Release(ctx, user, "k", v, ReleaseRequest{Target: onlyA})), release.ErrNotMet)
		noErr(t, second(r.Release(ctx, user, "k", v, ReleaseRequest{Target: onlyB})))
	}
	b, err := r.GetKey(ctx, user, "k", first.Meta.Version)
	noErr(t, err)
	if !bytes.Equal(b.Meta.Release.Data, second2.Meta.Release.Data) {
		t.Errorf("the old version shows %s", b.Meta.Release.Data)
	}
	wantErr(t, "policy of an old version", second(r.UpdateKey(ctx, user, "k", first.Meta.Version, key.Change{Release: policyOn("c")})), key.ErrBadParameter)
	off := false
	b, err = r.UpdateKey(ctx, user, "k", first.Meta.Version, key.Change{Enabled: &off})
	noErr(t, err)
	if !bytes.Equal(b.Meta.Release.Data, second2.Meta.Release.Data) {
		t.Errorf("the updated old version shows %s", b.Meta.Release.Data)
	}
	wantErr(t, "disabled", second(r.Release(ctx, user, "k", first.Meta.Version, ReleaseRequest{Target: onlyB})), key.ErrDisabled)
	noErr(t, second(r.UpdateKey(ctx, user, "k", "", key.Change{Release: policyOn("c")})))
	wantErr(t, "after the policy was changed", second(r.Release(ctx, user, "k", "", ReleaseRequest{Target: onlyB})), release.ErrNotMet)
	r.check()
}

// interfering is a verifier during whose work something happens.
type interfering struct {
	*authority.Set
	once sync.Once
	what func()
}

func (i *interfering) Verify(token string, now time.Time) (release.Assertion, error) {
	i.once.Do(i.what)
	return i.Set.Verify(token, now)
}

// A policy that is tightened while a release is being judged counts: the release is judged anew.
func TestPolicyChangedMeanwhile(t *testing.T) {
	t.Parallel()
	v := &interfering{Set: trusted(t)}
	r := newReleasing(t, v)
	ctx := t.Context()
	yes, off := true, false
	noErr(t, second(r.CreateKey(ctx, user, "k", key.CreateParams{Spec: octSpec, Exportable: &yes, Release: policyOn("a")})))
	token := attestToken(t, r.clock.Now(), "a")
	v.what = func() { noErr(t, second(r.UpdateKey(ctx, user, "k", "", key.Change{Release: policyOn("b")}))) }
	wantErr(t, "tightened", second(r.Release(ctx, user, "k", "", ReleaseRequest{Target: token})), release.ErrNotMet)
	noErr(t, second(r.UpdateKey(ctx, user, "k", "", key.Change{Release: policyOn("a")})))
	v.once, v.what = sync.Once{}, func() { noErr(t, second(r.UpdateKey(ctx, user, "k", "", key.Change{Enabled: &off}))) }
	wantErr(t, "disabled", second(r.Release(ctx, user, "k", "", ReleaseRequest{Target: token})), key.ErrDisabled)
}

// The audit entry of a release is in the store before the key leaves: if it cannot be, nothing leaves.
func TestReleaseIsAuditedFirst(t *testing.T) {
	t.Parallel()
	r := newReleasing(t, nil)
	ctx := t.Context()
	yes := true
	noErr(t, second(r.CreateKey(ctx, user, "k", key.CreateParams{Spec: octSpec, Exportable: &yes, Release: policyOn("a")})))
	noErr(t, second(r.CreateKey(ctx, user, "w", key.CreateParams{Spec: octSpec, Ops: []string{"secureWrapKey", "secureUnwrapKey"}, Release: policyOn("a")})))
	wrapped, err := r.SecureWrap(ctx, user, "w", "", "A256KW")
	noErr(t, err)
	token := attestToken(t, r.clock.Now(), "a")
	failing := &failingTxn{Store: r.faults}
	r.cfg.Store = failing
	r.restart()
	failing.fail.Store(true)
	jws, err := r.Release(ctx, user, "k", "", ReleaseRequest{Target: token})
	wantErr(t, "release", err, ErrUnavailable)
	if jws != "" {
		t.Error("the key left")
	}
	res, err := r.SecureUnwrap(ctx, user, "w", "", UnwrapRequest{Alg: "A256KW", Wrapped: wrapped.Value, Target: token})
	wantErr(t, "secure unwrap", err, ErrUnavailable)
	if res.Value != nil {
		t.Error("the key left")
	}
	failing.fail.Store(false)
	jws, err = r.Release(ctx, user, "k", "", ReleaseRequest{Target: token, Nonce: "n"})
	noErr(t, err)
	if jws == "" {
		t.Error("nothing left")
	}
	res, err = r.SecureUnwrap(ctx, user, "w", "", UnwrapRequest{Alg: "A256KW", Wrapped: wrapped.Value, Target: token})
	noErr(t, err)
	if k := opened(t, res.Value); len(k) != 32 {
		t.Errorf("a key of %d bytes", len(k))
	}
	r.stop()
	released := 0
	for _, e := range r.auditLog() {
		if e.Operation == "KeyRelease" && e.Result == "Success" {
			released++
			if e.Details["authority"] != attester1 || e.Details["recipient"] != "env" || e.Details["algorithm"] != "CKM_RSA_AES_KEY_WRAP" || len(e.Details["keyVersion"]) != 32 {
				t.Errorf("%+v", e)
			}
		}
	}
	if released != 1 {
		t.Errorf("%d releases in the audit log", released)
	}
}

// A restarted HSM has the same attestation key; one that got another root has another.
func TestAttestationKeyIsStable(t *testing.T) {
	t.Parallel()
	r := newReleasing(t, nil)
	ctx := t.Context()
	r.create("k", ecSpec)
	_, before, err := r.KeyAttestation(ctx, auditor, "k", "")
	noErr(t, err)
	pin, err := attestation.RootOf(before.Certificates)
	noErr(t, err)
	r.restart()
	b, after, err := r.KeyAttestation(ctx, auditor, "K", "")
	noErr(t, err)
	p, err := attestation.Verify(after, attestation.Scheme{Verify: seal.VerifyEndorsement, DomainID: seal.DomainIDOf}, attestation.Expect{Root: pin, DomainID: r.view().dev.DomainID})
	noErr(t, err)
	if !bytes.Equal(before.Certificates, after.Certificates) || p.HSM != "ContosoMHSM" || p.HSMID != r.ID() || p.Key != "/keys/k/"+string(b.Meta.Version) || p.Time != r.clock.Now().Unix() || p.Origin != "generated" {
		t.Errorf("%+v", p)
	}
	s, err := r.Status(ctx)
	noErr(t, err)
	if s.AttestationRoot != pin {
		t.Errorf("status shows root %s, the evidence has %s", s.AttestationRoot, pin)
	}
}

// failingTxn is a store whose transactions fail on demand; what was asked for is not written.
type failingTxn struct {
	store.Store
	fail atomic.Bool
}

func (f *failingTxn) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	if f.fail.Load() {
		return 0, store.ErrUnavailable
	}
	return f.Store.Txn(ctx, ifs, then)
}
