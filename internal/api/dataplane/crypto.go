package dataplane

import (
	"context"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

// cryptoRoutes serve both forms of the path: an empty version means the current one.
var cryptoRoutes = []route{
	{"POST", "keys/{name}/{version}/sign", sign},
	{"POST", "keys/{name}/sign", sign},
	{"POST", "keys/{name}/{version}/verify", verify},
	{"POST", "keys/{name}/verify", verify},
	{"POST", "keys/{name}/{version}/encrypt", cipher((*hsm.HSM).Encrypt)},
	{"POST", "keys/{name}/encrypt", cipher((*hsm.HSM).Encrypt)},
	{"POST", "keys/{name}/{version}/decrypt", cipher((*hsm.HSM).Decrypt)},
	{"POST", "keys/{name}/decrypt", cipher((*hsm.HSM).Decrypt)},
	{"POST", "keys/{name}/{version}/wrapkey", cipher((*hsm.HSM).Wrap)},
	{"POST", "keys/{name}/wrapkey", cipher((*hsm.HSM).Wrap)},
	{"POST", "keys/{name}/{version}/unwrapkey", cipher((*hsm.HSM).Unwrap)},
	{"POST", "keys/{name}/unwrapkey", cipher((*hsm.HSM).Unwrap)},
}

type operationResult struct {
	Kid   string  `json:"kid"`
	Value bytes64 `json:"value"`
	IV    bytes64 `json:"iv,omitempty"`
	Tag   bytes64 `json:"tag,omitempty"`
	AAD   bytes64 `json:"aad,omitempty"`
}

func (q *request) resultReply(r hsm.Result, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(operationResult{Kid: q.kid(r.Name, r.Version), Value: r.Value, IV: r.IV, Tag: r.Tag, AAD: r.AAD})
}

func sign(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Alg   key.Algorithm `json:"alg"`
		Value borrowed64    `json:"value"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	return q.resultReply(q.hsm.Sign(q.Context(), q.who, n, v, body.Alg, body.Value))
}

func verify(q *request) (azhttp.Reply, error) {
	n, v, err := q.nameAndVersion()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		Alg    key.Algorithm `json:"alg"`
		Digest borrowed64    `json:"digest"`
		Value  borrowed64    `json:"value"`
	}
	if err := q.Decode(&body); err != nil {
		return azhttp.Reply{}, err
	}
	ok, err := q.hsm.Verify(q.Context(), q.who, n, v, body.Alg, body.Digest, body.Value)
	return azhttp.Reply{Body: struct {
		Value bool `json:"value"`
	}{ok}}, err
}

type cipherFunc func(h *hsm.HSM, ctx context.Context, who hsm.Caller, n key.Name, v key.Version, alg key.Algorithm, in key.CipherInput) (hsm.Result, error)

// cipher is the handler of the four operations that share their shape.
func cipher(do cipherFunc) func(*request) (azhttp.Reply, error) {
	return func(q *request) (azhttp.Reply, error) {
		n, v, err := q.nameAndVersion()
		if err != nil {
			return azhttp.Reply{}, err
		}
		var body struct {
			Alg   key.Algorithm `json:"alg"`
			Value borrowed64    `json:"value"`
			IV    borrowed64    `json:"iv"`
			AAD   borrowed64    `json:"aad"`
			Tag   borrowed64    `json:"tag"`
		}
		if err := q.Decode(&body); err != nil {
			return azhttp.Reply{}, err
		}
		return q.resultReply(do(q.hsm, q.Context(), q.who, n, v, body.Alg, key.CipherInput{Value: body.Value, IV: body.IV, AAD: body.AAD, Tag: body.Tag}))
	}
}
