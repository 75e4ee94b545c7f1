package release

import (
	"encoding/base64"
	"strings"

	"redoubt/internal/key"
)

// Released is what the signed answer to a release says.
type Released struct {
	Base       string      // the HSM's URL as the client sees it, without a slash at the end
	APIVersion string      // of the request
	Asked      key.Version // version in the request's path, "" for the current one
	Nonce      string      // the client's, or ""
	Enc        key.Transfer
	Recipient  string // kid of the key that the material was wrapped to
	Wrapped    []byte // the material, wrapped

	Meta            key.Meta
	RecoveryLevel   string
	RecoverableDays int
}

// The members are in the order in which the service writes them: by name.
type payload struct {
	Request struct {
		APIVersion string       `json:"api-version"`
		Enc        key.Transfer `json:"enc"`
		Kid        string       `json:"kid"`
		Nonce      string       `json:"nonce,omitempty"`
	} `json:"request"`
	Response struct {
		Key bundle `json:"key"`
	} `json:"response"`
}

type bundle struct {
	Attributes attributes        `json:"attributes"`
	Key        jwk               `json:"key"`
	Policy     policy            `json:"release_policy"`
	Tags       map[string]string `json:"tags,omitempty"`
}

type attributes struct {
	Created         int64  `json:"created"`
	Enabled         bool   `json:"enabled"`
	Expires         int64  `json:"exp,omitempty"`
	Exportable      bool   `json:"exportable"`
	NotBefore       int64  `json:"nbf,omitempty"`
	RecoverableDays int    `json:"recoverableDays"`
	RecoveryLevel   string `json:"recoveryLevel"`
	Updated         int64  `json:"updated"`
}

type jwk struct {
	Crv    string   `json:"crv,omitempty"`
	E      string   `json:"e,omitempty"`
	HSM    string   `json:"key_hsm"`
	KeyOps []key.Op `json:"key_ops"`
	Kid    string   `json:"kid"`
	Kty    string   `json:"kty"`
	N      string   `json:"n,omitempty"`
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`
}

type policy struct {
	ContentType string `json:"contentType"`
	Data        string `json:"data"`
	Immutable   bool   `json:"immutable"`
}

type transferBlob struct {
	Ciphertext string `json:"ciphertext"`
	Header     struct {
		Alg string       `json:"alg"`
		Enc key.Transfer `json:"enc"`
		Kid string       `json:"kid"`
	} `json:"header"`
	Version string `json:"schema_version"`
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Payload is the JSON text that the HSM signs (docs/formats/key-release.md).
func (r Released) Payload() []byte {
	m := r.Meta
	var p payload
	p.Request.APIVersion, p.Request.Enc, p.Request.Nonce = r.APIVersion, r.Enc, r.Nonce
	p.Request.Kid = r.kid(r.Asked)
	p.Response.Key = bundle{Tags: m.Tags,
		Attributes: attributes{Created: m.Attributes.Created, Enabled: m.Attributes.Enabled, Expires: m.Attributes.Expires, Exportable: m.Attributes.Exportable,
			NotBefore: m.Attributes.NotBefore, RecoverableDays: r.RecoverableDays, RecoveryLevel: r.RecoveryLevel, Updated: m.Attributes.Updated},
		Key: jwk{Crv: string(m.Spec.Curve), E: text(m.Public.E), HSM: text(r.blob()), KeyOps: m.Ops, Kid: r.kid(m.Version),
			Kty: strings.TrimSuffix(string(m.Spec.Type), "-HSM"), N: text(m.Public.N), X: text(m.Public.X), Y: text(m.Public.Y)}}
	if m.Release != nil {
		p.Response.Key.Policy = policy{ContentType: m.Release.ContentType, Data: text(m.Release.Data), Immutable: m.Release.Immutable}
	}
	if m.Ops == nil {
		p.Response.Key.Key.KeyOps = []key.Op{}
	}
	return must(encode(p))
}

func (r Released) kid(v key.Version) string {
	s := r.Base + "/keys/" + string(r.Meta.Name)
	if v != "" {
		s += "/" + string(v)
	}
	return s
}

// blob is key_hsm: the wrapped material in the shape of a transfer blob.
func (r Released) blob() []byte {
	b := transferBlob{Ciphertext: text(r.Wrapped), Version: "1.0"}
	b.Header.Alg, b.Header.Enc, b.Header.Kid = "dir", r.Enc, r.Recipient
	return must(encode(b))
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic("release: " + err.Error()) // plain structs of ours
	}
	return b
}
