// Package attestation is how an HSM vouches for its keys: the certificates of its attestation key, the signed answers of a release,
// and the evidence of a key attestation with its verifier. The device signs with it, the operator's tool verifies with
// it on a machine that has no server. It is pure: no I/O, no clock, and of private keys it sees only crypto.Signer.
//
// The formats are in docs/formats/key-attestation.md.
package attestation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"
)

// Name says which HSM an attestation key belongs to. It is in the certificates and in every statement.
type Name struct {
	HSM    string // resource name
	ID     string // UUID
	Domain string // domain id of its security domain
}

// Endorsement is the word of a security domain for the attestation root of one of its HSMs, so that a domain id is enough to
// trust it. The signature is over EndorsedText.
type Endorsement struct{ Key, Signature []byte }

// EndorsedText is what the domain signs: the HSM's UUID and the attestation root's uncompressed point.
func EndorsedText(hsmID string, root crypto.PublicKey) ([]byte, error) {
	pub, ok := root.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("not a key on P-256")
	}
	point, err := pub.Bytes()
	return append([]byte(hsmID), point...), err
}

// Identity is the attestation key of one HSM with its certificates.
type Identity struct {
	name     Name
	endorsed Endorsement
	signer   crypto.Signer
	root     []byte // certificate, DER
	leaf     []byte
	leafHash string // SHA-256 of leaf, base64url
}

// The certificates have no meaning in time: they come and go with the root of the HSM, and are the same whenever they are
// made. 9999-12-31 is RFC 5280's "no well-defined expiration".
var (
	notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// NewIdentity makes the certificates, and has the domain endorse the root (endorse signs a text). Both signers are ECDSA keys
// on P-256 and sign deterministically, so that the same keys and name give the same bytes.
func NewIdentity(root, leaf crypto.Signer, n Name, endorse func(text []byte) Endorsement) (*Identity, error) {
	root, leaf = canonical{root}, canonical{leaf}
	rootCert, err := certificate(root, leaf, n, true)
	if err != nil {
		return nil, fmt.Errorf("attestation root of %s: %w", n.HSM, err)
	}
	leafCert, err := certificate(root, leaf, n, false)
	if err != nil {
		return nil, fmt.Errorf("attestation certificate of %s: %w", n.HSM, err)
	}
	text, err := EndorsedText(n.ID, root.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(leafCert)
	return &Identity{name: n, endorsed: endorse(text), signer: leaf, root: rootCert, leaf: leafCert, leafHash: base64.RawURLEncoding.EncodeToString(sum[:])}, nil
}

func certificate(root, leaf crypto.Signer, n Name, ca bool) ([]byte, error) {
	parent, err := template(root, n, true)
	if err != nil {
		return nil, err
	}
	if ca {
		return x509.CreateCertificate(nil, parent, parent, root.Public(), root)
	}
	child, err := template(leaf, n, false)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(nil, child, parent, leaf.Public(), root)
}

func template(s crypto.Signer, n Name, ca bool) (*x509.Certificate, error) {
	pub, ok := s.Public().(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("not a key on P-256")
	}
	point, err := pub.Bytes()
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(point)
	t := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(id[12:]), NotBefore: notBefore, NotAfter: notAfter, SubjectKeyId: id[:20],
		Subject: subject(n, ca), BasicConstraintsValid: true, SignatureAlgorithm: x509.ECDSAWithSHA256, KeyUsage: x509.KeyUsageDigitalSignature}
	if ca {
		t.IsCA, t.MaxPathLenZero, t.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	return t, nil
}

const organization = "Redoubt"

func subject(n Name, ca bool) pkix.Name {
	what := "Redoubt attestation key of "
	if ca {
		what = "Redoubt attestation root of "
	}
	return pkix.Name{CommonName: what + n.HSM, Organization: []string{organization}, OrganizationalUnit: []string{n.Domain}, SerialNumber: n.ID}
}

// Certificates is the chain in PEM, leaf first.
func (i *Identity) Certificates() []byte { return chainPEM(i.leaf, i.root) }

func chainPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// Root is the fingerprint of the root certificate: what verifiers pin.
func (i *Identity) Root() string { return Fingerprint(i.root) }

// Fingerprint is the SHA-256 of a certificate (DER) in lower-case hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// JWS signs payload as a compact JWS (RFC 7515) with ES256, the chain in its header.
func (i *Identity) JWS(payload []byte) (string, error) {
	header, err := json.Marshal(struct {
		Alg string   `json:"alg"`
		Kid string   `json:"kid"`
		X5C []string `json:"x5c"`
		X5T string   `json:"x5t#S256"`
	}{"ES256", i.leafHash, []string{base64.StdEncoding.EncodeToString(i.leaf), base64.StdEncoding.EncodeToString(i.root)}, i.leafHash})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(base64.RawURLEncoding.EncodeToString(header))
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(payload))
	sig, err := i.sign([]byte(b.String()))
	if err != nil {
		return "", err
	}
	return b.String() + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// canonical signs with the smaller of the two values that an ECDSA signature can have for s, so that nobody can turn one
// signature into another. Verifiers here accept no other.
type canonical struct{ crypto.Signer }

type rs struct{ R, S *big.Int }

func parseSignature(der []byte) (v rs, ok bool) {
	rest, err := asn1.Unmarshal(der, &v)
	return v, err == nil && len(rest) == 0
}

// Sign implements crypto.Signer.
func (c canonical) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	der, err := c.Signer.Sign(rand, digest, opts)
	if err != nil {
		return nil, err
	}
	v, ok := parseSignature(der)
	if !ok {
		return nil, errors.New("not an ECDSA signature")
	}
	if v.S.Cmp(halfOrder()) > 0 {
		v.S.Sub(elliptic.P256().Params().N, v.S)
	}
	return asn1.Marshal(v)
}

// sign gives r||s (RFC 7518, 3.4) of SHA-256 of msg.
func (i *Identity) sign(msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	der, err := i.signer.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign with the attestation key: %w", err)
	}
	v, _ := parseSignature(der) // canonical made it
	out := make([]byte, 64)
	v.R.FillBytes(out[:32])
	v.S.FillBytes(out[32:])
	return out, nil
}

func halfOrder() *big.Int { return new(big.Int).Rsh(elliptic.P256().Params().N, 1) }

// verify checks a signature by sign: exactly 64 bytes, the smaller s.
func verify(pub *ecdsa.PublicKey, msg, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	if s.Cmp(halfOrder()) > 0 {
		return false
	}
	der, err := asn1.Marshal(rs{r, s})
	digest := sha256.Sum256(msg)
	return err == nil && ecdsa.VerifyASN1(pub, digest[:], der)
}
