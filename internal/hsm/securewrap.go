package hsm

import (
	"context"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/release"
)

// SecureWrap makes a 256-bit AES key that nobody sees and returns it wrapped under a key made for that (key_ops secureWrapKey).
func (h *HSM) SecureWrap(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm) (r Result, err error) {
	c, err := h.begin(ctx, who, OpSecureWrap, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	m, k, err := c.keyFor(ctx, name, version, key.OpSecureWrap, alg)
	if err != nil {
		return Result{}, err
	}
	out, err := k.SecureWrap(alg)
	return c.result(m, key.CipherOutput{Value: out}, err)
}

// UnwrapRequest is what SecureUnwrap takes.
type UnwrapRequest struct {
	Alg           key.Algorithm
	Wrapped       []byte
	Target        string // attestation token of the environment that is to have the key
	TrustedIssuer string // when set, the token's issuer must be this one
}

// SecureUnwrap opens what SecureWrap made and gives it to the environment that an attestation token speaks of, if the release policy
// of the wrapping key allows it: the result's Value is the key wrapped to that environment's RSA key as in a release
// (key.TransferSHA1). Like a release it is durable in the audit log before it leaves.
func (h *HSM) SecureUnwrap(ctx context.Context, who Caller, name key.Name, version key.Version, rq UnwrapRequest) (r Result, err error) {
	c, err := h.begin(ctx, who, OpSecureUnwrap, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	c.note("algorithm", string(rq.Alg))
	err = c.update(ctx, func() (change, error) {
		var ch change
		r, ch, err = c.buildUnwrap(ctx, name, version, rq)
		return ch, err
	})
	if err != nil {
		return Result{}, err
	}
	return r, nil
}

func (c *call) buildUnwrap(ctx context.Context, name key.Name, version key.Version, rq UnwrapRequest) (Result, change, error) {
	m, k, ch, err := c.policed(ctx, name, version, func(m key.Meta) error { return m.CheckUse(key.OpSecureUnwrap, c.h.now()) })
	if err != nil {
		return Result{}, change{}, err
	}
	to, issuer, err := c.attested(m, rq.Target)
	if err != nil {
		return Result{}, change{}, err
	}
	if rq.TrustedIssuer != "" && !release.SameAuthority(rq.TrustedIssuer, issuer) {
		return Result{}, change{}, release.Untrusted("its issuer is not the applicationTrustedIssuer of the request")
	}
	opened, err := k.SecureUnwrap(rq.Alg, rq.Wrapped)
	if err != nil {
		_, err = c.result(m, key.CipherOutput{}, err)
		return Result{}, change{}, err
	}
	wrapped, err := wrapTo(to, key.TransferSHA1, opened)
	if err != nil {
		return Result{}, change{}, err
	}
	return Result{Name: m.Name, Version: m.Version, CipherOutput: key.CipherOutput{Value: wrapped}}, ch, nil
}
