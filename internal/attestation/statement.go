package attestation

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/key"
)

// Version is the version of the evidence, as the member version of attributes.attestation has it.
const Version = "1.0"

// Purposes of a statement.
const (
	purposePrivate = "private-key"
	purposePublic  = "public-key"
)

// Statement is what an HSM says of one version of a key at one time. The order of the members is that of the JSON text.
type Statement struct {
	Purpose  string `json:"purpose"`
	HSM      string `json:"hsm"`
	HSMID    string `json:"hsmId"`
	DomainID string `json:"domainId"`

	DomainKey   string `json:"domainKey"`   // Ed25519 public key of the domain, base64url
	Endorsement string `json:"endorsement"` // of the attestation root by that key, base64url

	Time       int64    `json:"time"` // of the statement, Unix seconds
	Key        string   `json:"key"`  // /keys/NAME/VERSION
	Kty        string   `json:"kty"`
	Bits       int      `json:"bits,omitempty"` // RSA, oct
	Crv        string   `json:"crv,omitempty"`
	Origin     string   `json:"origin"` // generated or imported
	Exportable bool     `json:"exportable"`
	Enabled    bool     `json:"enabled"`
	KeyOps     []key.Op `json:"keyOps"`
	Created    int64    `json:"created"`
	Policy     *Policy  `json:"releasePolicy,omitempty"`

	Thumbprint string `json:"thumbprint,omitempty"` // of the public part; RFC 7638 with SHA-256
	Public     *JWK   `json:"publicKey,omitempty"`  // in the statement on the public part only
}

// Policy names a release policy without repeating it.
type Policy struct {
	SHA256    string `json:"sha256"` // of the policy's text, base64url
	Immutable bool   `json:"immutable"`
}

// JWK is a public key. The order of the members is that of a thumbprint's text (RFC 7638, 3.2).
type JWK struct {
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

// Origins of key material.
const (
	originGenerated = "generated"
	originImported  = "imported"
)

// Describe says what m is, at time now.
func (i *Identity) Describe(m key.Meta, now int64) Statement {
	text := base64.RawURLEncoding.EncodeToString
	s := Statement{HSM: i.name.HSM, HSMID: i.name.ID, DomainID: i.name.Domain,
		DomainKey: text(i.endorsed.Key), Endorsement: text(i.endorsed.Signature), Time: now, Key: "/keys/" + string(m.Name) + "/" + string(m.Version),
		Kty: string(m.Spec.Type), Bits: m.Spec.Bits, Crv: string(m.Spec.Curve), Origin: originGenerated, Exportable: m.Attributes.Exportable,
		Enabled: m.Attributes.Enabled, KeyOps: m.Ops, Created: m.Attributes.Created}
	if m.Imported {
		s.Origin = originImported
	}
	if s.KeyOps == nil {
		s.KeyOps = []key.Op{}
	}
	if m.Release != nil {
		sum := sha256.Sum256(m.Release.Data)
		s.Policy = &Policy{SHA256: text(sum[:]), Immutable: m.Release.Immutable}
	}
	if jwk, ok := publicJWK(m); ok {
		s.Thumbprint, s.Public = jwk.Thumbprint(), &jwk
	}
	return s
}

func publicJWK(m key.Meta) (JWK, bool) {
	text := base64.RawURLEncoding.EncodeToString
	switch m.Spec.Type {
	case key.RSA:
		return JWK{Kty: "RSA", N: text(m.Public.N), E: text(m.Public.E)}, true
	case key.EC:
		return JWK{Kty: "EC", Crv: string(m.Spec.Curve), X: text(m.Public.X), Y: text(m.Public.Y)}, true
	case key.Oct:
	}
	return JWK{}, false
}

// Thumbprint is the key's name everywhere (RFC 7638), SHA-256 in base64url.
func (k JWK) Thumbprint() string {
	b, err := json.Marshal(k)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Evidence is what the wire's attributes.attestation carries. Public is empty for symmetric keys.
type Evidence struct {
	Certificates    []byte // PEM
	Private, Public []byte
	Version         string
}

// Attest signs the statements about one key.
func (i *Identity) Attest(s Statement) (Evidence, error) {
	e := Evidence{Certificates: i.Certificates(), Version: Version}
	public := s.Public
	var err error
	if public != nil {
		s.Purpose = purposePublic
		if e.Public, err = i.seal(s); err != nil {
			return Evidence{}, err
		}
	}
	s.Purpose, s.Public = purposePrivate, nil
	e.Private, err = i.seal(s)
	return e, err
}

const (
	magic     = "RDA1"
	label     = "redoubt/attestation/v1/statement\n" // before the statement, under the signature; no JWS begins like that
	overhead  = len(magic) + 4 + 64
	maxLength = 64 << 10
)

// seal writes a signed statement: magic, length (u32), JSON text, signature (64 bytes).
func (i *Identity) seal(s Statement) ([]byte, error) {
	b, err := s.encode()
	if err != nil {
		return nil, err
	}
	sig, err := i.sign(append([]byte(label), b...))
	if err != nil {
		return nil, err
	}
	out := append([]byte(magic), binary.BigEndian.AppendUint32(nil, uint32(len(b)))...)
	return append(append(out, b...), sig...), nil
}

func (s Statement) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

var errShape = errors.New("it is not evidence of this format (" + magic + ")")

// parse takes signed evidence apart. It accepts exactly what seal writes; the signature is not looked at.
func parse(b []byte) (s Statement, signed, sig []byte, err error) {
	if len(b) < overhead || len(b) > maxLength || !bytes.HasPrefix(b, []byte(magic)) {
		return Statement{}, nil, nil, errShape
	}
	if n := binary.BigEndian.Uint32(b[len(magic):]); uint64(n) != uint64(len(b)-overhead) {
		return Statement{}, nil, nil, errShape
	}
	text, sig := b[len(magic)+4:len(b)-64], b[len(b)-64:]
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Statement{}, nil, nil, errShape
	}
	if again, err := s.encode(); err != nil || !bytes.Equal(again, text) {
		return Statement{}, nil, nil, errShape
	}
	return s, append([]byte(label), text...), sig, s.check()
}

// check refuses a statement that no HSM makes.
func (s Statement) check() error {
	switch {
	case s.Purpose != purposePrivate && s.Purpose != purposePublic:
		return fmt.Errorf("unknown purpose %q", s.Purpose)
	case s.Origin != originGenerated && s.Origin != originImported:
		return fmt.Errorf("unknown origin %q", s.Origin)
	case !strings.HasPrefix(s.Key, "/keys/") || s.KeyOps == nil:
		return errShape
	case s.Purpose == purposePublic && (s.Public == nil || s.Public.Thumbprint() != s.Thumbprint):
		return errors.New("the public key is not the one of the thumbprint")
	case s.Purpose == purposePrivate && s.Public != nil:
		return errShape
	}
	return nil
}
