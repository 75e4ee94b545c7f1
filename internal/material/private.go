package material

import (
	"fmt"

	"redoubt/internal/secret"
)

// Private is the private parts of a key, as the members of its JWK (RFC 7518, section 6): big-endian integers,
// D and K of their full width. It is for the operator's tool, which sends keys of files to an HSM; nothing that runs
// in the HSM asks for it. The caller wipes it.
type Private struct {
	D                secret.Bytes // RSA and EC
	P, Q, DP, DQ, QI secret.Bytes // RSA
	K                secret.Bytes // oct
}

// Wipe overwrites all parts.
func (p Private) Wipe() {
	for _, s := range []secret.Bytes{p.D, p.P, p.Q, p.DP, p.DQ, p.QI, p.K} {
		s.Wipe()
	}
}

// Private returns the private parts, fresh copies.
func (k Key) Private() (Private, error) {
	h, err := k.enter()
	if err != nil {
		return Private{}, err
	}
	defer h.leave()
	switch b := h.body.(type) {
	case *rsaBody:
		pre := b.priv.Precomputed
		return Private{D: secret.New(b.priv.D.Bytes()), P: secret.New(b.priv.Primes[0].Bytes()), Q: secret.New(b.priv.Primes[1].Bytes()),
			DP: secret.New(pre.Dp.Bytes()), DQ: secret.New(pre.Dq.Bytes()), QI: secret.New(pre.Qinv.Bytes())}, nil
	case *nistBody:
		d, err := b.priv.Bytes()
		if err != nil {
			return Private{}, fmt.Errorf("read the private scalar: %w", err)
		}
		return Private{D: secret.New(d)}, nil
	case *k256Body:
		return Private{D: secret.New(b.key.scalar())}, nil
	case *octBody:
		return Private{K: b.raw.Clone()}, nil
	}
	return Private{}, fmt.Errorf("%w: %s", ErrBadMaterial, h.spec)
}
