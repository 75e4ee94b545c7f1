package seal

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

const someHSM = "0f0e0d0c-0000-4000-8000-000000000001"

// publicHex is the uncompressed point.
func publicHex(t *testing.T, a Attester) string {
	t.Helper()
	b, err := a.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// The attestation keys of the golden root never change: certificates that people pinned hang on them. They were computed
// once more outside this program, from the description in docs/formats/key-attestation.md.
func TestGoldenAttesters(t *testing.T) {
	t.Parallel()
	root, leaf := fixedRoot(t).Attesters(someHSM)
	for what, c := range map[string]struct {
		a    Attester
		want string
	}{
		"root": {root, "04fa483efd034b1c8d377544628e9389da8c882a6f7cfe99058ccba877a48a2a922dc1f291bc9ef41dadf6292aea63dd6bc62265ad55c17c1523dc7a91f65eccb2"},
		"leaf": {leaf, "04ac73c6b5fa7a00025c54c86d75b3812b119dfb6d268d05657f2f95b62b8eae92d3fb299ade7b6605f4779c804ce68f6eb4f7a12aaa8422eb1b7667da98e26e88"},
	} {
		if got := publicHex(t, c.a); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

func TestAttesters(t *testing.T) {
	t.Parallel()
	r := NewRoot(1)
	root, leaf := r.Attesters(someHSM)
	again, _ := recovered(t, r).Attesters(someHSM)
	other, _ := r.Attesters("0f0e0d0c-0000-4000-8000-000000000002")
	foreign, _ := NewRoot(1).Attesters(someHSM)
	if publicHex(t, root) != publicHex(t, again) {
		t.Error("the same root and HSM give another key")
	}
	for what, a := range map[string]Attester{"leaf": leaf, "another HSM": other, "another domain": foreign} {
		if publicHex(t, a) == publicHex(t, root) {
			t.Errorf("%s has the same key", what)
		}
	}
	digest := sha256.Sum256([]byte("x"))
	sig, err := leaf.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(leaf.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Fatalf("signature: %v", err)
	}
	if same, err := leaf.Sign(nil, digest[:], crypto.SHA256); err != nil || !bytes.Equal(same, sig) {
		t.Errorf("signatures differ: %v", err)
	}
	sig = r.Endorse([]byte("x"))
	for what, bad := range map[string]bool{
		"another message": VerifyEndorsement(r.PublicKey(), []byte("y"), sig), "another domain": VerifyEndorsement(NewRoot(1).PublicKey(), []byte("x"), sig),
		"a manifest's": VerifyEndorsement(r.PublicKey(), []byte("x"), r.SignManifest([]byte("x"))), "no key": VerifyEndorsement(nil, []byte("x"), sig),
	} {
		if bad {
			t.Errorf("%s: the endorsement verifies", what)
		}
	}
	if !VerifyEndorsement(r.PublicKey(), []byte("x"), sig) || VerifyManifest(r.PublicKey(), []byte("x"), sig) {
		t.Error("the endorsement does not verify, or as a manifest")
	}
	if s := fmt.Sprintf("%v %+v %#v %s %x", leaf, leaf, leaf, leaf, leaf); s != "seal.Attester seal.Attester seal.Attester seal.Attester seal.Attester" {
		t.Error(s)
	}
}
