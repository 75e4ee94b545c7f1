package cloud

import (
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/store"
)

// maxCredentials is how many certificates, and how many federated credentials, one service principal can have.
// Entra ID allows 20 federated ones.
const maxCredentials = 20

// Certificate is one that a service principal signs its assertions with.
type Certificate struct {
	DER   []byte `json:"der"`
	Added string `json:"added"` // RFC 3339
}

// Thumbprint is the SHA-1 of the certificate in upper-case hexadecimal, the name that clients know it by (x5t, RFC
// 7515, 4.1.7). It only finds the certificate.
func (c Certificate) Thumbprint() string {
	sum := sha1.Sum(c.DER)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// ThumbprintSHA256 is the SHA-256 of the certificate, raw.
func (c Certificate) ThumbprintSHA256() [sha256.Size]byte { return sha256.Sum256(c.DER) }

// Federated names the tokens of an external issuer that are as good as a secret of the service principal. Issuer,
// subject and audience are compared with the token's byte for byte.
type Federated struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
}

// DefaultAudience is that of tokens for workload identity federation.
const DefaultAudience = "api://AzureADTokenExchange"

// Application is a service principal with what it signs in with, secrets excepted.
type Application struct {
	ServicePrincipal
	Secrets      int
	Certificates []Certificate
	Federated    []Federated
}

func (r spRecord) application() Application {
	return Application{ServicePrincipal: r.ServicePrincipal, Secrets: len(r.SecretHashes), Certificates: r.Certificates, Federated: r.Federated}
}

// Application returns one by object id or application id.
func (c *Cloud) Application(ctx context.Context, id string) (Application, error) {
	r, _, err := c.servicePrincipal(ctx, id)
	return r.application(), err
}

// Applications returns all of them, without managed identities.
func (c *Cloud) Applications(ctx context.Context) ([]Application, error) {
	all, err := loadAll[spRecord](ctx, c, "sp/")
	out := make([]Application, 0, len(all))
	for _, r := range all {
		out = append(out, r.application())
	}
	return out, err
}

// AddCertificate lets a service principal sign in with the key of a certificate (DER): RSA of 2048 to 8192 bits.
// Whether it is within its time is decided at each sign-in. Adding it again changes nothing.
func (c *Cloud) AddCertificate(ctx context.Context, id string, der []byte) (Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: not an X.509 certificate: %w", ErrInvalid, err)
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < 2048 || key.N.BitLen() > 8192 {
		return Certificate{}, fmt.Errorf("%w: the certificate's key must be RSA of 2048 to 8192 bits, which is what clients sign with", ErrInvalid)
	}
	out := Certificate{DER: slices.Clone(cert.Raw), Added: time.Now().UTC().Format(time.RFC3339)}
	return out, c.updateServicePrincipal(ctx, id, func(r *spRecord) error {
		if slices.ContainsFunc(r.Certificates, func(o Certificate) bool { return slices.Equal(o.DER, out.DER) }) {
			return nil
		}
		if len(r.Certificates) >= maxCredentials {
			return fmt.Errorf("%w: there are %d certificates already; remove one first", ErrInvalid, len(r.Certificates))
		}
		r.Certificates = append(slices.Clone(r.Certificates), out)
		return nil
	})
}

// RemoveCertificate takes one away by its thumbprint.
func (c *Cloud) RemoveCertificate(ctx context.Context, id, thumbprint string) error {
	thumbprint = strings.ReplaceAll(thumbprint, ":", "")
	return c.updateServicePrincipal(ctx, id, func(r *spRecord) error {
		i := slices.IndexFunc(r.Certificates, func(o Certificate) bool { return strings.EqualFold(o.Thumbprint(), thumbprint) })
		if i < 0 {
			return fmt.Errorf("certificate: %w", ErrNotFound)
		}
		r.Certificates = slices.Delete(slices.Clone(r.Certificates), i, i+1)
		return nil
	})
}

// AddFederated lets a service principal sign in with tokens of an external issuer. An empty audience is
// DefaultAudience. ErrExists when the name, or the same triple, is there.
func (c *Cloud) AddFederated(ctx context.Context, id string, f Federated) error {
	if f.Audience == "" {
		f.Audience = DefaultAudience
	}
	if !keySafe(f.Name) || f.Subject == "" || len(f.Subject) > 600 || len(f.Audience) > 600 {
		return fmt.Errorf("%w: a federated credential needs a name and a subject", ErrInvalid)
	}
	if _, err := IssuerURL(f.Issuer); err != nil {
		return err
	}
	return c.updateServicePrincipal(ctx, id, func(r *spRecord) error {
		for _, o := range r.Federated {
			if strings.EqualFold(o.Name, f.Name) || o.Issuer == f.Issuer && o.Subject == f.Subject && o.Audience == f.Audience {
				return fmt.Errorf("federated credential %q: %w", o.Name, ErrExists)
			}
		}
		if len(r.Federated) >= maxCredentials {
			return fmt.Errorf("%w: there are %d federated credentials already; remove one first", ErrInvalid, len(r.Federated))
		}
		r.Federated = append(slices.Clone(r.Federated), f)
		return nil
	})
}

// RemoveFederated takes one away by its name.
func (c *Cloud) RemoveFederated(ctx context.Context, id, name string) error {
	return c.updateServicePrincipal(ctx, id, func(r *spRecord) error {
		i := slices.IndexFunc(r.Federated, func(o Federated) bool { return strings.EqualFold(o.Name, name) })
		if i < 0 {
			return fmt.Errorf("federated credential: %w", ErrNotFound)
		}
		r.Federated = slices.Delete(slices.Clone(r.Federated), i, i+1)
		return nil
	})
}

// ExternalIssuer is an issuer of federated tokens whose keys are known here.
type ExternalIssuer struct {
	URL  string          `json:"url"`
	JWKS json.RawMessage `json:"jwks"` // RFC 7517
}

// IssuerURL reads the name of an external issuer.
func IssuerURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || len(s) > 600 || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: %q is not the URL of an issuer", ErrInvalid, s)
	}
	return u, nil
}

func issuerKey(issuer string) string {
	sum := sha256.Sum256([]byte(issuer))
	return "fi/" + hex.EncodeToString(sum[:])
}

const maxJWKS = 1 << 18

// PutIssuer stores an issuer with its keys, in the place of those that it had.
func (c *Cloud) PutIssuer(ctx context.Context, i ExternalIssuer) error {
	if _, err := IssuerURL(i.URL); err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if len(i.JWKS) > maxJWKS || json.Unmarshal(i.JWKS, &set) != nil || len(set.Keys) == 0 {
		return fmt.Errorf("%w: the keys are no JSON Web Key Set with at least one key", ErrInvalid)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || !k.Valid() {
			return fmt.Errorf("%w: the key set must hold public keys only", ErrInvalid)
		}
	}
	_, err := c.s.Txn(ctx, nil, []store.Op{put(issuerKey(i.URL), i)})
	if err != nil {
		return fmt.Errorf("write dev cloud: %w", err)
	}
	return nil
}

// Issuer returns an issuer whose keys are known, or ErrNotFound.
func (c *Cloud) Issuer(ctx context.Context, issuer string) (ExternalIssuer, error) {
	i, _, err := load[ExternalIssuer](ctx, c, issuerKey(issuer))
	return i, err
}

// Issuers returns all of them.
func (c *Cloud) Issuers(ctx context.Context) ([]ExternalIssuer, error) {
	return loadAll[ExternalIssuer](ctx, c, "fi/")
}

// RemoveIssuer forgets an issuer's keys. Credentials that name it stay, and nobody signs in with them.
func (c *Cloud) RemoveIssuer(ctx context.Context, issuer string) error {
	key := issuerKey(issuer)
	_, err := c.s.Txn(ctx, []store.Cond{store.Exists(root + key)}, []store.Op{remove(key)})
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return fmt.Errorf("issuer %q: %w", issuer, ErrNotFound)
	}
	return err
}
