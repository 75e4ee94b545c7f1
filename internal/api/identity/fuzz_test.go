package identity

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/cloud"
)

// FuzzAssertion: whatever is sent as an assertion, nothing panics, and nobody gets a token: the fuzzer does not
// know a key.
func FuzzAssertion(f *testing.F) {
	s := newCertified(f)
	o := newOutside(f)
	if err := s.cloud.AddFederated(f.Context(), s.app, cloud.Federated{Name: "f", Issuer: cluster, Subject: workload}); err != nil {
		f.Fatal(err)
	}
	if err := s.cloud.PutIssuer(f.Context(), cloud.ExternalIssuer{URL: cluster, JWKS: o.jwks}); err != nil {
		f.Fatal(err)
	}
	// The signatures of these seeds were made with keys that the site does not know.
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256} {
		f.Add(signed(f, alg, issuerKey(), map[jose.HeaderKey]any{"x5t": x5t(s.der)}, s.claims()))
	}
	f.Add(newOutside(f).token(f))
	f.Add("..")
	f.Add("eyJhbGciOiJSUzI1NiIsIng1dCI6MX0.e30.AA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, raw string) {
		form := url.Values{"client_assertion": {raw}, "client_assertion_type": {assertionType}, "scope": {hsmAud}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, login, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.server.clientCredentials(&tokenRequest{request: request{Request: r, base: login, tenant: s.acct.Tenant.ID}, form: form, client: s.app})
		if err == nil {
			t.Fatalf("%q bought %+v", raw, resp)
		}
		if strings.Contains(err.Error(), raw) && len(raw) > 100 {
			t.Errorf("the error repeats the assertion")
		}
	})
}
