package dataplane

import (
	"bytes"
	"encoding/base64"
	"errors"

	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

// bytes64 is a byte string of the wire: base64url without padding (RFC 4648 section 5).
type bytes64 []byte

// MarshalJSON implements json.Marshaler.
func (b bytes64) MarshalJSON() ([]byte, error) {
	out := make([]byte, base64.RawURLEncoding.EncodedLen(len(b))+2)
	out[0], out[len(out)-1] = '"', '"'
	base64.RawURLEncoding.Encode(out[1:], b)
	return out, nil
}

// strictURL refuses trailing bits, so that one value has one encoding.
var strictURL = base64.RawURLEncoding.Strict()

// UnmarshalText implements encoding.TextUnmarshaler, by which bodies are read. It refuses padding, line ends
// and the other alphabet.
func (b *bytes64) UnmarshalText(s []byte) error {
	out, err := decode64(make([]byte, strictURL.DecodedLen(len(s))), s)
	*b = out
	return err
}

// borrowed64 is a byte string of a body that is decoded where it lies in the body, so that it is wiped with it
// when the answer has been sent. For operations that keep nothing of what they are given.
type borrowed64 []byte

// UnmarshalText is that of bytes64.
func (b *borrowed64) UnmarshalText(s []byte) error {
	out, err := decode64(s, s) // what is written stays behind what is still to be read; FuzzByteString
	*b = out
	return err
}

func decode64(dst, s []byte) ([]byte, error) {
	if bytes.ContainsAny(s, "\r\n") { // which package base64 would pass over
		return nil, errBytes
	}
	n, err := strictURL.Decode(dst, s)
	if err != nil {
		return nil, errBytes
	}
	return dst[:n], nil
}

var errBytes = errors.New("byte strings are base64url text (RFC 4648 section 5) without padding")

type jsonWebKey struct {
	Kid    string   `json:"kid"`
	Kty    string   `json:"kty"`
	KeyOps []key.Op `json:"key_ops"`
	N      bytes64  `json:"n,omitempty"`
	E      bytes64  `json:"e,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	X      bytes64  `json:"x,omitempty"`
	Y      bytes64  `json:"y,omitempty"`
}

type attributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       int64  `json:"nbf,omitempty"`
	Expires         int64  `json:"exp,omitempty"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
	Exportable      bool   `json:"exportable"`
	HSMPlatform     string `json:"hsmPlatform,omitempty"`
	KeySize         int    `json:"key_size,omitempty"`

	Attestation *keyAttestation `json:"attestation,omitempty"`
}

// deletion is what the Deleted forms add.
type deletion struct {
	RecoveryID         string `json:"recoveryId,omitempty"`
	DeletedDate        int64  `json:"deletedDate,omitempty"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate,omitempty"`
}

type keyBundle struct {
	Key        jsonWebKey        `json:"key"`
	Attributes attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	Release    *releasePolicy    `json:"release_policy,omitempty"`
	deletion
}

type keyItem struct {
	Kid        string            `json:"kid"`
	Attributes attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	deletion
}

func (q *request) kid(n key.Name, v key.Version) string {
	if v == "" {
		return "https://" + q.Host + "/keys/" + string(n)
	}
	return "https://" + q.Host + "/keys/" + string(n) + "/" + string(v)
}

func (q *request) bundle(b hsm.Bundle) keyBundle {
	m := b.Meta
	if m.Ops == nil {
		m.Ops = []key.Op{} // clients expect a list
	}
	return keyBundle{Key: jsonWebKey{Kid: q.kid(m.Name, m.Version), Kty: string(m.Spec.Type), KeyOps: m.Ops, Crv: string(m.Spec.Curve),
		N: m.Public.N, E: m.Public.E, X: m.Public.X, Y: m.Public.Y}, Attributes: q.attributes(b), Tags: m.Tags, Release: shownPolicy(m.Release), deletion: q.deletion(b)}
}

// item is the list form; version is empty where the list shows names.
func (q *request) item(b hsm.Bundle, version key.Version) keyItem {
	return keyItem{Kid: q.kid(b.Meta.Name, version), Attributes: q.attributes(b), Tags: b.Meta.Tags, deletion: q.deletion(b)}
}

// attributes leaves out what the asked api-version does not have.
func (q *request) attributes(b hsm.Bundle) attributes {
	a := b.Meta.Attributes
	out := attributes{Enabled: a.Enabled, NotBefore: a.NotBefore, Expires: a.Expires, Created: a.Created, Updated: a.Updated,
		RecoveryLevel: b.RecoveryLevel, RecoverableDays: b.RecoverableDays, Exportable: a.Exportable}
	if q.version.has(sinceHSM) {
		out.HSMPlatform = "0" // software
	}
	if b.Meta.Spec.Type == key.Oct && q.version.has(sinceKeySize) {
		out.KeySize = b.Meta.Spec.Bits
	}
	return out
}

func (q *request) deletion(b hsm.Bundle) deletion {
	if b.Deletion == nil {
		return deletion{}
	}
	return deletion{RecoveryID: q.base() + "/deletedkeys/" + string(b.Meta.Name), DeletedDate: b.Deletion.DeletedAt, ScheduledPurgeDate: b.Deletion.PurgeAt}
}
