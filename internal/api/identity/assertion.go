package identity

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
)

// A client assertion (RFC 7523, section 2.2) is a JWT that a program shows in the place of a secret. There are two
// kinds. One is signed by the program itself with the key of a certificate, names it by its thumbprint and has
// the client id as issuer and subject. The other is made by an external issuer for a workload that runs there; the
// application says which issuer, subject and audience it takes for its own.

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertionLife is how far in the future an assertion signed with a certificate may expire. Clients choose ten
// minutes, Entra ID takes a day.
const maxAssertionLife = 24 * time.Hour

var (
	certificateAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256}
	federatedAlgorithms   = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512}
)

// assertion is one that could be read, before it is believed.
type assertion struct {
	raw    string
	header jose.Header
	claims jwt.Claims
}

// checkAssertion tells which application an assertion speaks for.
func (s *Server) checkAssertion(t *tokenRequest) (cloud.ServicePrincipal, error) {
	a, err := readAssertion(t)
	if err != nil {
		return cloud.ServicePrincipal{}, err
	}
	app, err := s.dir.Application(t.Context(), t.client)
	switch {
	case errors.Is(err, cloud.ErrNotFound) || err == nil && app.AppID != t.client:
		return cloud.ServicePrincipal{}, errUnknownApp(clip(t.client), s.issuer.tenant)
	case err != nil:
		return cloud.ServicePrincipal{}, fmt.Errorf("find application: %w", err)
	}
	if strings.EqualFold(a.claims.Issuer, t.client) {
		err = s.checkCertificate(t, a, app)
	} else {
		err = s.checkFederated(t.Context(), a, app)
	}
	if err != nil {
		return cloud.ServicePrincipal{}, err
	}
	if app.Disabled {
		return cloud.ServicePrincipal{}, errAppDisabled(app.AppID)
	}
	return app.ServicePrincipal, nil
}

func readAssertion(t *tokenRequest) (a assertion, err error) {
	a.raw = t.form.Get("client_assertion")
	switch {
	case t.secret != "":
		return a, badRequest("The request must contain either 'client_assertion' or 'client_secret', not both.")
	case a.raw == "" || t.form.Get("client_assertion_type") != assertionType:
		return a, badRequest("The request must contain 'client_assertion' and 'client_assertion_type' with the value '%s'.", assertionType)
	case len(a.raw) > authn.MaxTokenBytes:
		return a, errAssertion(50027, "Invalid JWT token: it is longer than %d bytes.", authn.MaxTokenBytes)
	}
	token, err := jwt.ParseSigned(a.raw, federatedAlgorithms)
	if err == nil {
		err = token.UnsafeClaimsWithoutVerification(&a.claims)
	}
	if err != nil {
		return a, errAssertion(50027, "Invalid JWT token: it cannot be read, or its algorithm is not accepted.")
	}
	a.header = token.Headers[0]
	return a, nil
}

func errAssertion(number int, format string, args ...any) *oauthError {
	return refuse(http.StatusUnauthorized, "invalid_client", number, format, args...)
}

// verified takes the claims from what the signature covers.
func (a *assertion) verified(payload []byte) error {
	a.claims = jwt.Claims{}
	if err := json.Unmarshal(payload, &a.claims); err != nil { // that of go-jose: letter case counts, nothing twice
		return errAssertion(50027, "Invalid JWT token: its claims cannot be read.")
	}
	return nil
}

// inTime holds the rules on exp and nbf.
func (a *assertion) inTime(now time.Time) bool {
	exp, nbf := a.claims.Expiry, a.claims.NotBefore
	return exp != nil && now.Before(exp.Time().Add(authn.Skew)) && (nbf == nil || !now.Add(authn.Skew).Before(nbf.Time()))
}

// checkCertificate checks an assertion that the application has signed itself.
func (s *Server) checkCertificate(t *tokenRequest, a assertion, app cloud.Application) error {
	cert, err := certificateOf(a.header, app)
	if err != nil {
		return err
	}
	jws, err := jose.ParseSignedCompact(a.raw, certificateAlgorithms)
	if err != nil {
		return errAssertion(700027, "Client assertion failed signature validation: the algorithm must be RS256 or PS256.")
	}
	payload, err := jws.Verify(cert.PublicKey)
	if err != nil {
		return errAssertion(700027, "Client assertion failed signature validation: it was not signed with the key of the certificate that it names.")
	}
	if err := a.verified(payload); err != nil {
		return err
	}
	now := s.issuer.now()
	switch {
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return errAssertion(700027, "The certificate used to sign the client assertion is valid from %s to %s; add another one with 'redoubtd identity app add-certificate'.",
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	case !strings.EqualFold(a.claims.Issuer, app.AppID) || !strings.EqualFold(a.claims.Subject, app.AppID):
		return errAssertion(700021, "Client assertion application identifier doesn't match 'client_id' parameter: iss and sub must be the client id.")
	case !a.inTime(now):
		return errAssertion(700024, "Client assertion is not within its valid time range; compare the clocks, and sign a new one.")
	case a.claims.Expiry.Time().After(now.Add(maxAssertionLife)):
		return errAssertion(700024, "Client assertion is not within its valid time range: it is valid for more than a day.")
	case !s.addressed(t.request, a.claims.Audience):
		return errAssertion(700023, "Client assertion audience claim does not match Realm issuer: aud must be the token endpoint.")
	case a.claims.ID == "":
		return errAssertion(50027, "Invalid JWT token: it has no jti.")
	}
	switch s.replays.take(app.AppID, a.claims.ID, t.scopes.resource, a.claims.Expiry.Time().Add(authn.Skew)) {
	case useAgain:
		return errAssertion(50027, "Invalid JWT token: the client assertion was used before for this resource; sign a new one.")
	case useTooMany:
		return refuse(http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "Too many client assertions are alive; sign them for a shorter time.")
	case useFresh:
	}
	return nil
}

// certificateOf finds the application's certificate that the header names by x5t#S256 or x5t, or both.
func certificateOf(h jose.Header, app cloud.Application) (*x509.Certificate, error) {
	sha2, sha1 := thumbprint(h, "x5t#S256"), thumbprint(h, "x5t")
	if sha2 == nil && sha1 == nil {
		return nil, errAssertion(700027, "Client assertion failed signature validation: its header must name the certificate with x5t or x5t#S256.")
	}
	for _, c := range app.Certificates {
		sum := c.ThumbprintSHA256()
		is2 := sha2 == nil || subtle.ConstantTimeCompare(sha2, sum[:]) == 1
		if is2 && (sha1 == nil || strings.EqualFold(hex.EncodeToString(sha1), c.Thumbprint())) {
			return x509.ParseCertificate(c.DER)
		}
	}
	return nil, errAssertion(700027, "The certificate with identifier used to sign the client assertion is not registered on application '%s'; add it with 'redoubtd identity app add-certificate'.", app.AppID)
}

// standardAlphabet is turned into that of base64url.
var standardAlphabet = strings.NewReplacer("+", "-", "/", "_", "=", "")

// thumbprint reads a header in base64url. MSAL for Python leaves the padding on it, and MSAL for Go writes the
// standard alphabet.
func thumbprint(h jose.Header, name jose.HeaderKey) []byte {
	text, _ := h.ExtraHeaders[name].(string)
	b, err := base64.RawURLEncoding.DecodeString(standardAlphabet.Replace(text))
	if err != nil || len(b) == 0 {
		return nil
	}
	return b
}

// addressed tells whether an assertion was made for this token endpoint, under any of its addresses.
func (s *Server) addressed(r request, audience jwt.Audience) bool {
	for _, base := range s.bases {
		for _, path := range []string{s.issuer.tenant, strings.ToLower(r.tenant)} {
			for _, end := range []string{"/oauth2/v2.0/token", "/oauth2/token"} {
				for _, aud := range audience {
					if strings.EqualFold(aud, base+"/"+path+end) {
						return true
					}
				}
			}
		}
	}
	return false
}
