package dataplane

import (
	"redoubt/internal/api/azhttp"
	"redoubt/internal/attestation"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

// releaseRoutes serve both forms of the path: an empty version means the current one. They stand before keyRoutes, or "attestation"
// would be taken for a version.
var releaseRoutes = []route{
	{"POST", "keys/{name}/{version}/release", releaseKey},
	{"POST", "keys/{name}/release", releaseKey},
	{"GET", "keys/{name}/{version}/attestation", attestKey},
	{"GET", "keys/{name}/attestation", attestKey},
	{"POST", "keys/{name}/{version}/securewrapkey", secureWrap},
	{"POST", "keys/{name}/securewrapkey", secureWrap},
	{"POST", "keys/{name}/{version}/secureunwrapkey", secureUnwrap},
	{"POST", "keys/{name}/secureunwrapkey", secureUnwrap},
}

// releasePolicy is release_policy of creations, imports and updates.
type releasePolicy struct {
	ContentType string  `json:"contentType"`
	Data        bytes64 `json:"data"`
	Immutable   bool    `json:"immutable"`
}

// domain is the policy as the device takes it; nil stays nil.
func (p *releasePolicy) domain() *key.ReleasePolicy {
	if p == nil {
		return nil
	}
	return &key.ReleasePolicy{ContentType: p.ContentType, Data: p.Data, Immutable: p.Immutable}
}

// shownPolicy is release_policy of bundles.
func shownPolicy(p *key.ReleasePolicy) *releasePolicy {
	if p == nil {
		return nil
	}
	return &releasePolicy{ContentType: p.ContentType, Data: p.Data, Immutable: p.Immutable}
}

func releaseKey(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Target string       `json:"target"`
		Nonce  string       `json:"nonce"`
		Enc    key.Transfer `json:"enc"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	jws, err := q.hsm.Release(q.Context(), q.who, n, v, hsm.ReleaseRequest{Target: body.Target, Nonce: body.Nonce, Enc: body.Enc, Base: q.base(),
		APIVersion: q.version.String()})
	return azhttp.Reply{Body: value{jws}}, err
}

// keyAttestation is attributes.attestation.
type keyAttestation struct {
	Certificates bytes64 `json:"certificatePemFile"`
	Private      bytes64 `json:"privateKeyAttestation"`
	Public       bytes64 `json:"publicKeyAttestation,omitempty"`
	Version      string  `json:"version"`
}

func attestKey(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	b, e, err := q.hsm.KeyAttestation(q.Context(), q.who, n, v)
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(q.attested(b, e))
}

func (q *request) attested(b hsm.Bundle, e attestation.Evidence) keyBundle {
	out := q.bundle(b)
	out.Attributes.Attestation = &keyAttestation{Certificates: e.Certificates, Private: e.Private, Public: e.Public, Version: e.Version}
	return out
}

// secureResult is the answer to secure wrap and unwrap. Unlike that of other operations it repeats the algorithm.
type secureResult struct {
	Kid   string        `json:"kid"`
	Alg   key.Algorithm `json:"alg"`
	Value bytes64       `json:"value"`
}

func (q *request) secureReply(alg key.Algorithm, r hsm.Result, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(secureResult{Kid: q.kid(r.Name, r.Version), Alg: alg, Value: r.Value})
}

func secureWrap(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Alg key.Algorithm `json:"alg"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	r, err := q.hsm.SecureWrap(q.Context(), q.who, n, v, body.Alg)
	return q.secureReply(body.Alg, r, err)
}

func secureUnwrap(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Alg    key.Algorithm `json:"alg"`
		Value  bytes64       `json:"value"`
		Target string        `json:"target"`
		Issuer string        `json:"applicationTrustedIssuer"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	if body.Issuer == "" && q.version.has(sinceTrustedIssuer) {
		return azhttp.Reply{}, azhttp.Bad("applicationTrustedIssuer is required by this api-version: the issuer of the attestation token in target.")
	}
	r, err := q.hsm.SecureUnwrap(q.Context(), q.who, n, v, hsm.UnwrapRequest{Alg: body.Alg, Wrapped: body.Value, Target: body.Target, TrustedIssuer: body.Issuer})
	return q.secureReply(body.Alg, r, err)
}
