package attestation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// ErrNotGenuine: the evidence was altered, is incomplete, or was not made by the HSM that was expected.
var ErrNotGenuine = errors.New("the attestation is not genuine")

func notGenuine(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotGenuine, fmt.Sprintf(format, args...))
}

// Scheme is how security domains sign and are named (package seal, which this package does not need otherwise).
type Scheme struct {
	Verify   func(pub ed25519.PublicKey, text, sig []byte) bool
	DomainID func(pub []byte) string
}

// Expect is what a verifier knows from elsewhere. Empty members demand nothing.
type Expect struct {
	Root     string // fingerprint of the HSM's attestation root, as Fingerprint gives it
	DomainID string // security domain that must have endorsed the root
}

// Proof is what evidence proves.
type Proof struct {
	Statement        // on the private key; Public is filled in from the statement on the public one
	Root      string // fingerprint of the root that vouches for it
}

// Verify checks evidence completely: the chain of certificates, both signatures, that the statements agree with each other and
// with the certificates, the domain's endorsement of the root, and what is expected. With an empty Expect it proves that the
// evidence was not altered since somebody made it, and not who that was.
func Verify(e Evidence, how Scheme, want Expect) (Proof, error) {
	if e.Version != Version {
		return Proof{}, notGenuine("unknown version %q", e.Version)
	}
	leaf, root, err := chain(e.Certificates)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Root: Fingerprint(root.Raw)}
	if want.Root != "" && p.Root != want.Root {
		return Proof{}, notGenuine("it is vouched for by the root %s, not by %s", p.Root, want.Root)
	}
	pub := leaf.PublicKey.(*ecdsa.PublicKey) // chain has looked
	if p.Statement, err = open(pub, e.Private, purposePrivate); err != nil {
		return Proof{}, err
	}
	if p.Thumbprint == "" != (len(e.Public) == 0) {
		return Proof{}, notGenuine("the statement on the public part is missing, or of another key")
	}
	if len(e.Public) > 0 {
		public, err := open(pub, e.Public, purposePublic)
		if err != nil {
			return Proof{}, err
		}
		p.Public = public.Public
		public.Purpose = purposePrivate
		if !reflect.DeepEqual(public, p.Statement) {
			return Proof{}, notGenuine("the statements on the private and on the public part differ")
		}
	}
	n := Name{HSM: p.HSM, ID: p.HSMID, Domain: p.DomainID}
	if leaf.Subject.String() != subject(n, false).String() || root.Subject.String() != subject(n, true).String() {
		return Proof{}, notGenuine("the certificates are not those of HSM %s (%s) with security domain %s", n.HSM, n.ID, n.Domain)
	}
	if err := how.endorsed(p.Statement, root); err != nil {
		return Proof{}, err
	}
	if want.DomainID != "" && p.DomainID != want.DomainID {
		return Proof{}, notGenuine("it is of security domain %s, not %s", p.DomainID, want.DomainID)
	}
	return p, nil
}

// endorsed tells whether the domain that the statement names has endorsed the root.
func (how Scheme) endorsed(s Statement, root *x509.Certificate) error {
	pub, err1 := base64.RawURLEncoding.DecodeString(s.DomainKey)
	sig, err2 := base64.RawURLEncoding.DecodeString(s.Endorsement)
	text, err3 := EndorsedText(s.HSMID, root.PublicKey)
	if err := errors.Join(err1, err2, err3); err != nil || how.DomainID(pub) != s.DomainID || !how.Verify(pub, text, sig) {
		return notGenuine("security domain %s has not endorsed the root", s.DomainID)
	}
	return nil
}

func open(pub *ecdsa.PublicKey, b []byte, purpose string) (Statement, error) {
	s, signed, sig, err := parse(b)
	if err != nil {
		return Statement{}, notGenuine("%s: %v", purpose, err)
	}
	if !verify(pub, signed, sig) {
		return Statement{}, notGenuine("%s: the signature is wrong", purpose)
	}
	if s.Purpose != purpose {
		return Statement{}, notGenuine("the statement on the %s speaks of the %s", purpose, s.Purpose)
	}
	return s, nil
}

// chain reads exactly two certificates in canonical PEM, leaf and root, and checks them against each other.
func chain(text []byte) (leaf, root *x509.Certificate, err error) {
	var certs []*x509.Certificate
	var ders [][]byte
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || len(certs) == 2 {
			return nil, nil, notGenuine("the certificates cannot be read")
		}
		certs, ders = append(certs, c), append(ders, block.Bytes)
	}
	if len(certs) != 2 || !bytes.Equal(chainPEM(ders...), text) {
		return nil, nil, notGenuine("there are not exactly two certificates in PEM")
	}
	for _, c := range certs {
		pub, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || pub.Curve != elliptic.P256() {
			return nil, nil, notGenuine("a certificate has no key on P-256")
		}
		if v, ok := parseSignature(c.Signature); !ok || v.S.Cmp(halfOrder()) > 0 {
			return nil, nil, notGenuine("the signature of a certificate is not in its canonical form")
		}
	}
	leaf, root = certs[0], certs[1]
	switch {
	case !root.IsCA || root.KeyUsage != x509.KeyUsageCertSign || root.CheckSignatureFrom(root) != nil:
		return nil, nil, notGenuine("the second certificate is not a root")
	case leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.CheckSignatureFrom(root) != nil:
		return nil, nil, notGenuine("the first certificate is not one of the second")
	case !bytes.Equal(leaf.RawIssuer, root.RawSubject):
		return nil, nil, notGenuine("the first certificate names another issuer")
	}
	return leaf, root, nil
}

// ParseFingerprint reads a pin: 64 hex digits in any letter case, with colons between the bytes or without.
func ParseFingerprint(s string) (string, error) {
	out := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if len(out) != 64 || strings.Trim(out, "0123456789abcdef") != "" {
		return "", errors.New("a root's fingerprint is 64 hexadecimal digits, the SHA-256 of its certificate")
	}
	return out, nil
}

// RootOf is the fingerprint of the root in a file of PEM certificates: of the last one that is its own issuer.
func RootOf(text []byte) (string, error) {
	found := ""
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && bytes.Equal(c.RawIssuer, c.RawSubject) {
			found = Fingerprint(c.Raw)
		}
	}
	if found == "" {
		return "", errors.New("there is no root certificate in it")
	}
	return found, nil
}
