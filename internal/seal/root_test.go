package seal

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/secret"
)

// fixedRoot is the root of the golden files: bytes 0 to 31 and 32 to 63, epoch 7.
func fixedRoot(t testing.TB) *Root {
	t.Helper()
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i)
	}
	r, err := FromDomain(secret.New(b[:32]), secret.New(b[32:]), 7)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recovered is what another HSM makes of r's security domain.
func recovered(t testing.TB, r *Root) *Root {
	t.Helper()
	other, err := FromDomain(r.Domain())
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func TestDomainAndExportGiveTheSameRoot(t *testing.T) {
	t.Parallel()
	r := NewRoot(3)
	imported, err := Import(r.Export())
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("manifest")
	for name, other := range map[string]*Root{"domain": recovered(t, r), "export": imported} {
		if other.DomainID() != r.DomainID() || other.Epoch() != 3 || !other.PublicKey().Equal(r.PublicKey()) || !other.Export().Equal(r.Export()) {
			t.Errorf("%s: %v, want %v", name, other, r)
		}
		if !bytes.Equal(other.SignManifest(msg), r.SignManifest(msg)) {
			t.Errorf("%s: signatures differ", name)
		}
		if !bytes.Equal(other.LocalSigner("hsm").Public(), r.LocalSigner("hsm").Public()) {
			t.Errorf("%s: local signers differ", name)
		}
	}
}

func TestNewRootsDiffer(t *testing.T) {
	t.Parallel()
	a, b := NewRoot(1), NewRoot(1)
	rootA, seedA, _ := a.Domain()
	rootB, seedB, _ := b.Domain()
	if rootA.Equal(rootB) || seedA.Equal(seedB) || rootA.Equal(seedA) || a.DomainID() == b.DomainID() {
		t.Error("two fresh roots share secrets")
	}
}

// What Domain and Export hand out is the caller's to wipe.
func TestHandedOutSecretsAreCopies(t *testing.T) {
	t.Parallel()
	root, seed := secret.Random(32), secret.Random(32)
	r, err := FromDomain(root, seed, 1)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Export()
	root.Wipe()
	seed.Wipe()
	a, b, _ := r.Domain()
	a.Wipe()
	b.Wipe()
	c := r.Export()
	c.Wipe()
	r.PublicKey()[0] ^= 1
	r.LocalSigner("x").Public()[0] ^= 1
	if !r.Export().Equal(before) || DomainIDOf(r.PublicKey()) != r.DomainID() {
		t.Error("the root changed with a copy")
	}
}

func TestFromDomainAndImportAreStrict(t *testing.T) {
	t.Parallel()
	for _, n := range [][2]int{{31, 32}, {32, 31}, {33, 32}, {32, 64}, {0, 32}, {32, 0}} {
		if _, err := FromDomain(secret.Random(n[0]), secret.Random(n[1]), 1); !errors.Is(err, ErrBadRoot) {
			t.Errorf("lengths %v: %v", n, err)
		}
	}
	good := NewRoot(1).Export().Expose()
	for i := range 4 {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := Import(secret.New(bad)); !errors.Is(err, ErrBadRoot) {
			t.Errorf("magic byte %d changed: %v", i, err)
		}
	}
	for i := range good {
		if _, err := Import(secret.New(bytes.Clone(good[:i]))); !errors.Is(err, ErrBadRoot) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := Import(secret.New(append(bytes.Clone(good), 0))); !errors.Is(err, ErrBadRoot) {
		t.Errorf("a byte added: %v", err)
	}
}

func TestDomainID(t *testing.T) {
	t.Parallel()
	r := fixedRoot(t)
	// Recorded when the format was made; it is in security-domain files and manifests.
	if want := "sd-1724d90081632cad2bc5297eeefe707d"; r.DomainID() != want {
		t.Errorf("domain id %s, want %s", r.DomainID(), want)
	}
	if len(r.DomainID()) != 35 || DomainIDOf(r.PublicKey()) != r.DomainID() {
		t.Errorf("domain id %q", r.DomainID())
	}
	other := r.PublicKey()
	other[31] ^= 1
	if DomainIDOf(other) == r.DomainID() {
		t.Error("another key has the same id")
	}
}

func TestManifestSignature(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	msg := []byte("a manifest")
	sig := r.SignManifest(msg)
	if !VerifyManifest(r.PublicKey(), msg, sig) {
		t.Fatal("own signature does not verify")
	}
	if VerifyManifest(NewRoot(1).PublicKey(), msg, sig) || VerifyManifest(r.PublicKey(), msg[1:], sig) || VerifyManifest(r.PublicKey(), nil, sig) {
		t.Error("verifies for another key or message")
	}
	for i := range sig {
		bad := bytes.Clone(sig)
		bad[i] ^= 1
		if VerifyManifest(r.PublicKey(), msg, bad) {
			t.Errorf("verifies with byte %d changed", i)
		}
	}
	for _, pub := range []ed25519.PublicKey{nil, {1}, append(r.PublicKey(), 0)} {
		if VerifyManifest(pub, msg, sig) {
			t.Errorf("verifies with a key of %d bytes", len(pub))
		}
	}
	if VerifyManifest(r.PublicKey(), msg, nil) || VerifyManifest(r.PublicKey(), msg, sig[:63]) {
		t.Error("verifies with a short signature")
	}
	if ed25519.Verify(r.PublicKey(), msg, sig) {
		t.Error("the signature is over the bare message: no domain separation")
	}
}

func TestLocalSigner(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	a, b := r.LocalSigner("a"), r.LocalSigner("b")
	msg := []byte("checkpoint")
	if !ed25519.Verify(a.Public(), msg, a.Sign(msg)) {
		t.Error("own signature does not verify")
	}
	later, err := FromDomain(func() (secret.Bytes, secret.Bytes, uint32) { x, y, _ := r.Domain(); return x, y, 2 }())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{string(r.PublicKey()): "domain"}
	for name, s := range map[string]Signer{"a": a, "b": b, "a in epoch 2": later.LocalSigner("a"), "a of another": NewRoot(1).LocalSigner("a")} {
		if other, ok := seen[string(s.Public())]; ok {
			t.Errorf("%s and %s are the same key", name, other)
		}
		seen[string(s.Public())] = name
	}
}

func TestPrintingShowsNothing(t *testing.T) {
	t.Parallel()
	r := fixedRoot(t)
	s := r.LocalSigner("x")
	all := ""
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		all += fmt.Sprintf(verb, r) + fmt.Sprintf(verb, *r) + fmt.Sprintf(verb, s) + fmt.Sprintf(verb, struct{ r Root }{*r})
	}
	for _, leak := range []string{"04050607", "4 5 6 7", "0x4, 0x5", "24252627", "36 37 38"} {
		if strings.Contains(all, leak) {
			t.Errorf("prints secrets: %s", leak)
		}
	}
}
