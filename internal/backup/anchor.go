package backup

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// Scheme is how security domains sign and how they are named. The functions are package seal's
// (VerifyManifest and DomainIDOf); they are handed in, because an archive must be readable where nothing
// that can unseal is linked in.
type Scheme struct {
	// Verify tells whether sig is a signature of msg under pub.
	Verify func(pub ed25519.PublicKey, msg, sig []byte) bool
	// DomainID is the id of the domain whose signing public key is pub.
	DomainID func(pub []byte) string
}

// Trust is what a successful check of a manifest has proved.
type Trust int

const (
	// IntegrityOnly: the archive is undamaged; nothing is known about who made it.
	IntegrityOnly Trust = iota + 1
	// OfDomain: the archive was signed by an HSM of the security domain that was asked for.
	OfDomain
)

func (t Trust) String() string {
	switch t {
	case IntegrityOnly:
		return "integrity only"
	case OfDomain:
		return "signed by the security domain"
	}
	return "not verified"
}

// Anchor is what the reader of an archive trusts beforehand. The zero value trusts nothing and refuses
// every archive; make one with ByKey, ByDomainID or Unanchored.
type Anchor struct {
	scheme Scheme
	key    ed25519.PublicKey // nil = not given
	id     string            // "" = not given
}

// ByKey anchors in the domain's signing public key: what a restoring HSM uses.
func ByKey(s Scheme, pub ed25519.PublicKey) Anchor {
	return Anchor{scheme: s, key: pub, id: s.DomainID(pub)}
}

// ByDomainID anchors in a domain id, as it stands in a security-domain file: the key in the manifest must
// hash to it.
func ByDomainID(s Scheme, id string) Anchor { return Anchor{scheme: s, id: id} }

// Unanchored checks integrity only.
func Unanchored(s Scheme) Anchor { return Anchor{scheme: s} }

// check verifies the signature of m over its signed bytes and then the domain.
func (a Anchor) check(m *Manifest, object string) (Trust, error) {
	if a.scheme.Verify == nil || a.scheme.DomainID == nil {
		return 0, fmt.Errorf("verify %s: no anchor was given", object)
	}
	pub, err := base64.StdEncoding.DecodeString(m.PublicKey)
	if err != nil || len(pub) != ed25519.PublicKeySize {
		return 0, &TamperedError{object, "the public key is malformed"}
	}
	sig, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return 0, &TamperedError{object, "the signature is malformed"}
	}
	msg, err := m.signed()
	if err != nil {
		return 0, err
	}
	if !a.scheme.Verify(pub, msg, sig) {
		return 0, &TamperedError{object, "the signature does not verify"}
	}
	got := a.scheme.DomainID(pub)
	if got != m.DomainID {
		return 0, &TamperedError{object, "the domain id is not that of the signing key"}
	}
	if a.id == "" {
		return IntegrityOnly, nil
	}
	if got != a.id || a.key != nil && !a.key.Equal(ed25519.PublicKey(pub)) {
		return 0, &OtherDomainError{Want: a.id, Got: got}
	}
	return OfDomain, nil
}
