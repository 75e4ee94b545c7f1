// Package authority verifies attestation tokens: it knows whose are believed, and their keys. Both come from
// configuration; nothing is fetched.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/release"
)

// Issuer is one trusted maker of attestation tokens: an attestation service.
type Issuer struct {
	URL  string                      // https; a token's iss is the same, but for a slash at the end
	Keys map[string]crypto.PublicKey // *rsa.PublicKey of 2048 bits or more, *ecdsa.PublicKey; by kid
}

// Set is what a site trusts. It never changes and may be used from any goroutine.
type Set struct{ issuers []Issuer }

// New makes a set. No issuers is a set that believes nobody.
func New(issuers ...Issuer) (*Set, error) {
	for i, is := range issuers {
		if err := release.CheckAuthority(is.URL); err != nil {
			return nil, fmt.Errorf("attestation issuer: %w", err)
		}
		for _, other := range issuers[:i] {
			if release.SameAuthority(is.URL, other.URL) {
				return nil, fmt.Errorf("attestation issuer %s stands twice", is.URL)
			}
		}
		for kid, k := range is.Keys {
			if kid == "" || !usable(k) {
				return nil, fmt.Errorf("attestation issuer %s: key %q is neither RSA of 2048 bits or more nor on P-256, P-384 or P-521", is.URL, kid)
			}
		}
	}
	return &Set{issuers: issuers}, nil
}

func usable(k crypto.PublicKey) bool {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return k.N != nil && k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return curveAlg(k) != ""
	}
	return false
}

func curveAlg(k *ecdsa.PublicKey) jose.SignatureAlgorithm {
	switch k.Curve {
	case elliptic.P256():
		return jose.ES256
	case elliptic.P384():
		return jose.ES384
	case elliptic.P521():
		return jose.ES512
	}
	return ""
}

// algorithms are asymmetric ones only: with a shared secret everybody who verifies tokens could make them.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
}

// Verify believes a token that a trusted issuer has signed and that holds at now. Errors are release.ErrBadToken and
// release.ErrUntrusted.
func (s *Set) Verify(token string, now time.Time) (release.Assertion, error) {
	t, err := release.ParseToken(token)
	if err != nil {
		return release.Assertion{}, err
	}
	key, err := s.key(t)
	if err != nil {
		return release.Assertion{}, err
	}
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return release.Assertion{}, release.Untrusted("its algorithm is not one of RS, PS or ES with 256, 384 or 512")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return release.Assertion{}, release.Untrusted("its signature is not that of its issuer")
	}
	a, err := release.ParseClaims(payload)
	if err != nil {
		return release.Assertion{}, err
	}
	return a, a.CheckTimes(now.Unix())
}

// key finds the issuer's key that the token names, if it goes with the token's algorithm.
func (s *Set) key(t release.Token) (crypto.PublicKey, error) {
	for _, is := range s.issuers {
		if !release.SameAuthority(is.URL, t.Issuer) {
			continue
		}
		k, ok := is.Keys[t.Kid]
		if !ok {
			return nil, release.Untrusted("its issuer has no key of that kid")
		}
		fits := false
		switch k := k.(type) {
		case *rsa.PublicKey:
			fits = strings.HasPrefix(t.Alg, "RS") || strings.HasPrefix(t.Alg, "PS")
		case *ecdsa.PublicKey:
			fits = t.Alg == string(curveAlg(k))
		}
		if !fits {
			return nil, release.Untrusted("its algorithm does not go with its issuer's key")
		}
		return k, nil
	}
	return nil, release.Untrusted("its issuer is not one that this HSM trusts")
}
