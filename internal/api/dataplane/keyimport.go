package dataplane

import (
	"bytes"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

var keyImportRoutes = []route{{"PUT", "keys/{name}", importKey}}

// secret64 is a byte string of the wire that is secret. It is decoded into a buffer of its own, and its text
// overwritten.
type secret64 struct{ hsm.Secret }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *secret64) UnmarshalText(text []byte) error {
	defer clear(text)
	if bytes.ContainsAny(text, "\r\n") {
		return errBytes
	}
	b, err := strictURL.AppendDecode(make([]byte, 0, strictURL.DecodedLen(len(text))), text)
	if err != nil {
		clear(b)
		return errBytes
	}
	s.Secret = hsm.NewSecret(b)
	return nil
}

// privateWebKey is a JSON web key with its private parts.
type privateWebKey struct {
	Kty    string   `json:"kty"`
	KeyOps []string `json:"key_ops"`
	Crv    string   `json:"crv"`
	N      bytes64  `json:"n"`
	E      bytes64  `json:"e"`
	X      bytes64  `json:"x"`
	Y      bytes64  `json:"y"`
	D      secret64 `json:"d"`
	P      secret64 `json:"p"`
	Q      secret64 `json:"q"`
	DP     secret64 `json:"dp"`
	DQ     secret64 `json:"dq"`
	QI     secret64 `json:"qi"`
	K      secret64 `json:"k"`
	KeyHSM bytes64  `json:"key_hsm"`
}

func (k *privateWebKey) wipe() {
	for _, s := range []secret64{k.D, k.P, k.Q, k.DP, k.DQ, k.QI, k.K} {
		s.Wipe()
	}
}

func (k *privateWebKey) material() (hsm.KeyMaterial, error) {
	t, err := key.ParseType(k.Kty)
	if err != nil {
		return hsm.KeyMaterial{}, err
	}
	crv := key.Curve(k.Crv)
	if crv == "SECP256K1" { // what az calls it
		crv = key.P256K
	}
	return hsm.KeyMaterial{Type: t, Curve: crv, N: k.N, E: k.E, X: k.X, Y: k.Y, D: k.D.Secret, P: k.P.Secret, Q: k.Q.Secret,
		DP: k.DP.Secret, DQ: k.DQ.Secret, QI: k.QI.Secret, K: k.K.Secret, Transfer: k.KeyHSM}, nil
}

// keyImportParameters has a member Hsm in the service, which says nothing here: every key is the HSM's.
type keyImportParameters struct {
	newKeyParameters
	Key privateWebKey `json:"key"`
	HSM bool          `json:"Hsm"` // every key is in the HSM, whatever this says
}

func (p *keyImportParameters) params() (hsm.ImportParams, error) {
	m, err := p.Key.material()
	if err != nil {
		return hsm.ImportParams{}, err
	}
	ops := p.Key.KeyOps
	if len(ops) == 0 { // in the JWKs of the Java client the list is empty unless its caller filled it
		ops = nil
	}
	return hsm.ImportParams{CreateParams: p.newKeyParameters.params(ops), Material: m}, nil
}

// importKey leaves no private part behind in a buffer that it can reach.
func importKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	raw, err := q.ReadBody()
	if err != nil {
		return azhttp.Reply{}, err
	}
	defer clear(raw)
	var body keyImportParameters
	defer body.Key.wipe()
	if err := decodeBody(raw, &body); err != nil {
		return azhttp.Reply{}, err
	}
	p, err := body.params()
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.ImportKey(q.Context(), q.who, n, p))
}
