package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// KeySet verifies the signature of a compact JWS and returns its payload. It has the shape of go-oidc's
// KeySet, so that library's remote key sets fit as they are. Implementations must be safe for concurrent use
// and must not accept a key of one kind for an algorithm of another.
type KeySet interface {
	VerifySignature(ctx context.Context, jwt string) (payload []byte, err error)
}

// algorithms that an issuer may be configured with: asymmetric ones only, because a shared secret would make
// every service that verifies tokens able to mint them (RFC 8725, 3.1).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
}

// Issuer is one trusted maker of tokens.
type Issuer struct {
	URL        string // compared with "iss" byte for byte
	Keys       KeySet
	Algorithms []string // allowed "alg" values; nil means RS256 and ES256
	// Tenant is the tenant of tokens that carry no "tid", as those of issuers other than Entra ID. Empty:
	// tokens must carry one.
	Tenant string
	// SubjectIsID takes "sub" for the object id when the token has no "oid".
	SubjectIsID bool
	// Audiences, when there are any, are what tokens of this issuer may be made for, in the place of the
	// Verifier's; see Audiences.
	Audiences []string
	Claims    ClaimNames
	// GroupNames says that groups are named in tokens and not given by object id: every name stands for the id
	// that GroupID gives it.
	GroupNames bool

	audiences Audiences
	want      string // named in ErrWrongAudience
}

// complete checks an issuer and fills in what it leaves open.
func (is Issuer) complete(audiences []string) (Issuer, error) {
	if is.URL == "" || is.Keys == nil {
		return is, errors.New("authn: an issuer needs a URL and a key set")
	}
	if is.Algorithms == nil {
		is.Algorithms = []string{string(jose.RS256), string(jose.ES256)}
	}
	for _, a := range is.Algorithms {
		if !slices.Contains(algorithms, jose.SignatureAlgorithm(a)) {
			return is, fmt.Errorf("authn: algorithm %q is not one of %v", a, algorithms)
		}
	}
	var err error
	if is.Claims, err = is.Claims.complete(); err != nil {
		return is, fmt.Errorf("%w (issuer %q)", err, is.URL)
	}
	if is.Audiences == nil {
		is.Audiences = audiences
	}
	if is.audiences, err = NewAudiences(is.Audiences); err != nil {
		return is, err
	}
	is.want = strings.TrimRight(is.Audiences[0], "/")
	is.Tenant = strings.ToLower(is.Tenant)
	if is.Tenant != "" && !isGUID(is.Tenant) {
		return is, fmt.Errorf("authn: tenant %q of issuer %q is not a GUID", is.Tenant, is.URL)
	}
	return is, nil
}

func (is Issuer) allows(alg string) bool { return slices.Contains(is.Algorithms, alg) }

// StaticKeys is a KeySet of known public keys (*rsa.PublicKey or *ecdsa.PublicKey) by key id.
type StaticKeys map[string]crypto.PublicKey

// VerifySignature implements KeySet. The token must name its key with "kid".
func (k StaticKeys) VerifySignature(_ context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, algorithms)
	if err != nil {
		return nil, fmt.Errorf("parse token: %w", err)
	}
	pub, ok := k[jws.Signatures[0].Protected.KeyID]
	if !ok {
		return nil, errors.New("the token names an unknown key")
	}
	switch pub.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, fmt.Errorf("key of unsupported type %T", pub)
	}
	return jws.Verify(pub)
}

// strong tells whether a published key is of a kind and size that may verify tokens.
func strong(k jose.JSONWebKey) bool {
	switch pub := k.Key.(type) {
	case *rsa.PublicKey:
		return pub.N.BitLen() >= 2048 && pub.N.BitLen() <= 8192
	case *ecdsa.PublicKey:
		return true
	}
	return false
}
