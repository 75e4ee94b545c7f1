package arm

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/key"
)

// FuzzHSMBody: whatever a PUT carries, decoding it neither panics nor takes nonsense for days.
func FuzzHSMBody(f *testing.F) {
	for _, s := range []string{`{"location":"westus3","properties":{"softDeleteRetentionInDays":"28"}}`, `{"properties":{"softDeleteRetentionInDays":90,"networkAcls":null}}`,
		`{"identity":{"type":"UserAssigned","userAssignedIdentities":{"/a":{},"/b":null}}}`, `{"properties":{"softDeleteRetentionInDays":"x"}}`, `{"sku":1}`, `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var body hsmBody
		if json.Unmarshal([]byte(s), &body) != nil {
			return
		}
		if _, err := json.Marshal(body.Properties.RetentionDays); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzKeyBody: what a key's PUT carries is refused in the wire's words, or asks for a key of one of the two kinds.
func FuzzKeyBody(f *testing.F) {
	for _, s := range []string{`{"tags":{"a":"b"},"properties":{"kty":"RSA-HSM","keySize":2048,"keyOps":["sign","release"],"attributes":{"enabled":false,"nbf":1,"exp":2,"exportable":true},"release_policy":{"data":"e30"}}}`,
		`{"properties":{"kty":"EC","curveName":"P-256K","rotationPolicy":{"attributes":{"expiryTime":"P1Y"},"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"rotate"}}]}}}`,
		`{"properties":{"kty":"oct-HSM"}}`, `{"properties":null}`, `{"properties":{"release_policy":{"data":"="}}}`, `{}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var body keyBody
		if azhttp.DecodeBody([]byte(s), &body) != nil {
			return
		}
		p, policy, err := body.params()
		if err != nil {
			if azhttp.StatusOf(err) != http.StatusBadRequest {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if p.Spec.Type != key.RSA && p.Spec.Type != key.EC || len(policy.Actions) != 0 && body.Properties.Rotation == nil || (p.Release == nil) != (body.Properties.Release == nil) {
			t.Fatalf("%q: %+v, %+v", s, p, policy)
		}
	})
}

// FuzzEqualsFilter: a value that is found stands in the filter.
func FuzzEqualsFilter(f *testing.F) {
	for _, s := range []string{"roleName eq 'Reader'", "atScope() and principalId eq 'x'", "principalId eq", "' ' ' eq '", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, ok := equalsFilter(s, "principalId"); ok && !strings.Contains(s, v) {
			t.Fatalf("%q: %q", s, v)
		}
	})
}

// FuzzFilter: whatever $filter holds, it is refused or understood; what is understood holds for a resource that has
// the values of its first alternative.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"resourceType eq 'Microsoft.KeyVault/managedHSMs' and location eq 'westus3'", "tagName eq 'o''k' or name ne 'x'", "name eq 'x' and", "''", "name eq '", " or "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := parseFilter(s)
		if err != nil || len(parsed) == 0 {
			return
		}
		r := &genericResource{Tags: map[string]string{}}
		set := map[string]string{}
		for _, term := range parsed[0] {
			if _, twice := set[term.property]; twice || term.not {
				return
			}
			set[term.property] = term.value
		}
		r.Type, r.group, r.Name, r.Location = set["resourcetype"], set["resourcegroup"], set["name"], set["location"]
		r.Tags[set["tagname"]] = set["tagvalue"]
		if !parsed.holds(r) {
			t.Fatalf("%q does not hold for %+v", s, r)
		}
	})
}

// FuzzPage: a place in a list comes back out of the nextLink that names it.
func FuzzPage(f *testing.F) {
	f.Add("contosomhsm|microsoft.keyvault/managedhsms", "2")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, place, top string) {
		ask := func(rawQuery string) *request {
			return &request{Request: &azhttp.Request{Request: &http.Request{URL: &url.URL{Path: "/x", RawQuery: rawQuery}}},
				h: &Handler{cfg: Config{Endpoints: func(string) Endpoints { return Endpoints{ResourceManager: "https://management.azure.com"} }}}}
		}
		q := ask(url.Values{"$top": {top}, "api-version": {"2026-02-01"}}.Encode())
		n, after, err := q.page()
		if err != nil {
			return
		}
		if n < 1 || n > maxPage || after != "" {
			t.Fatalf("%d, %q", n, after)
		}
		if len(place) == 0 || len(place) > 1024 {
			return
		}
		l, ok := paged(q, []string{"x"}, place, true).Body.(list[string])
		next, perr := url.Parse(l.NextLink)
		if !ok || perr != nil {
			t.Fatal(l, perr)
		}
		again, after, err := ask(next.RawQuery).page()
		if err != nil || again != n || after != place {
			t.Fatalf("%d, %q, %v; want %d, %q", again, after, err, n, place)
		}
	})
}

// FuzzKeyVaultType: whatever the path, what is found is a type of the provider.
func FuzzKeyVaultType(f *testing.F) {
	for _, s := range []string{"", "x", "providers", "providers/Microsoft.KeyVault", "a/providers/microsoft.keyvault/managedHSMs/h/keys/k/versions/v", "providers/Microsoft.KeyVault/managedHSMs/h/providers/Microsoft.Resources/tags/default"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := keyVaultType(strings.FieldsFunc(s, func(r rune) bool { return r == '/' }))
		if got != "" && !slices.ContainsFunc(types, func(k struct{ name, since string }) bool { return k.name == got }) {
			t.Fatalf("%q is %q", s, got)
		}
	})
}
