package dataplane

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

// FuzzByteString: what is accepted has one encoding, and it is the one that went in.
func FuzzByteString(f *testing.F) {
	for _, s := range []string{`""`, `"AAAA"`, `"AA"`, `"AB"`, `"a_-9"`, `"a+/9"`, `"AA=="`, `"A\nAA"`, "null", "1", `"\u0041A"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var got struct {
			B bytes64 `json:"b"`
		}
		var inPlace struct {
			B borrowed64 `json:"b"`
		}
		err, err2 := decodeBody([]byte(`{"b":`+in+`}`), &got), decodeBody([]byte(`{"b":`+in+`}`), &inPlace)
		if (err == nil) != (err2 == nil) || !bytes.Equal(got.B, inPlace.B) {
			t.Fatalf("%s: %x, %v; in place: %x, %v", in, got.B, err, inPlace.B, err2)
		}
		if err != nil {
			return
		}
		out, err := json.Marshal(got.B)
		if err != nil {
			t.Fatal(err)
		}
		var text struct {
			B *string `json:"b"`
		}
		if err := json.Unmarshal([]byte(`{"b":`+in+`}`), &text); err != nil {
			t.Fatalf("%s was accepted and is no string", in)
		}
		if text.B != nil && `"`+*text.B+`"` != string(out) {
			t.Errorf("%s became %s", in, out)
		}
	})
}

// FuzzCreateBody: whatever a creation carries, what comes of it is a key that can be, or a refusal.
func FuzzCreateBody(f *testing.F) {
	for _, s := range []string{`{"kty":"RSA-HSM","key_size":2048}`, `{"kty":"EC"}`, `{"kty":"oct","key_size":256,"attributes":{"exportable":true}}`, `{"kty":"RSA","public_exponent":-1,"tags":{"a":"b"}}`,
		`{"kty":null,"key_ops":[]}`, `{"attributes":{"exp":1e18,"nbf":-1}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var body keyCreateParameters
		if decodeBody([]byte(in), &body) != nil {
			return
		}
		p, err := body.params()
		if err != nil {
			return
		}
		if again, err := key.NewSpec(p.Spec.Type, p.Spec.Bits, p.Spec.Curve, 0); err != nil || again.Type != p.Spec.Type {
			t.Errorf("%s: %+v, %v", in, p.Spec, err)
		}
	})
}

// FuzzImportBody: the private parts of an import are taken out of its body, and what goes to the device is of one
// of the kinds of key.
func FuzzImportBody(f *testing.F) {
	for _, s := range []string{`{"Hsm":false,"key":{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"}}`, `{"key":{"kty":"EC","crv":"SECP256K1","d":"AQ","x":"AQ","y":"AQ"},"tags":{"a":"b"}}`,
		`{"key":{"kty":"RSA-HSM","key_hsm":"e30","key_ops":["import"]}}`, `{"key":{"k":"AA==","d":"A\n"}}`, `{"key":{"kty":"oct","k":"\u0041A"}}`, `{"key":null}`, `{"key":{"kty":"oct","k":"AAAA","k":"AAAA"}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		raw := []byte(in)
		var body keyImportParameters
		if decodeBody(raw, &body) != nil {
			return
		}
		var all struct {
			Members map[string]json.RawMessage
			Key     map[string]any
		}
		_ = json.Unmarshal([]byte(in), &all.Members)
		_ = json.Unmarshal(all.Members["key"], &all.Key) // by exact names, as strictjson reads them
		for _, name := range []string{"d", "k"} {
			s, _ := all.Key[name].(string)
			if len(s) >= 16 && strings.Count(in, s) == 1 && bytes.Contains(raw, []byte(s)) {
				t.Errorf("%s: %q is still in the body", in, s)
			}
		}
		p, err := body.params()
		body.Key.wipe()
		if err != nil {
			return
		}
		if m := p.Material; m.Type != key.RSA && m.Type != key.EC && m.Type != key.Oct || m.Curve == "SECP256K1" {
			t.Errorf("%s: %s %s", in, m.Type, m.Curve)
		}
	})
}

// FuzzFilter: a filter that is taken selects by scope, by one principal, or not at all.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "atScope()", "principalId eq '11111111-1111-4111-8111-111111111111'", "principalId eq {11111111-1111-4111-8111-111111111111}", "principalId ne 'x'", "atScope() and principalId eq 'x'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		a, err := parseFilter(in)
		if err != nil {
			return
		}
		if _, err := rbac.ParseGUID(a.Principal); a.Principal != "" && (err != nil || a.AtScope) {
			t.Errorf("%q: %+v", in, a)
		}
	})
}

// FuzzPaging: whatever a client puts into the query, a page is never larger than 25.
func FuzzPaging(f *testing.F) {
	for _, s := range []string{"", "maxresults=1", "maxresults=26", "maxresults=1&maxresults=99", "$skiptoken=%00", "%24skiptoken=a2V5&api-version=7.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q := &request{Request: &azhttp.Request{Request: &http.Request{Host: "h", URL: &url.URL{Path: "/keys", RawQuery: query}}}}
		after, limit, err := q.paging()
		if err != nil {
			return
		}
		if limit < 1 || limit > maxPage {
			t.Fatalf("%q: %d", query, limit)
		}
		if after == "" {
			return
		}
		u, err := url.Parse(*q.nextLink(after, limit))
		if err != nil {
			t.Fatal(err)
		}
		q.URL = u
		if again, size, err := q.paging(); err != nil || again != after || size != limit {
			t.Errorf("%q: %q became %q, %d %v", query, after, again, size, err)
		}
	})
}

// FuzzRotationPolicyBody: whatever a policy carries, it is refused, or it is one that shows as it was set and that
// setting again leaves as it is.
func FuzzRotationPolicyBody(f *testing.F) {
	for _, s := range []string{`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M","timeBeforeExpiry":null},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P2Y"}}`,
		`{"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P28D"},"action":{"type":"rotate"}}],"attributes":{"expiryTime":"P1Y","created":"x"}}`, `{"lifetimeActions":[],"attributes":{}}`,
		`{"lifetimeActions":[{"action":{"type":"Notify"}}]}`, `{"lifetimeActions":[null,{}]}`, `{"attributes":{"expiryTime":"P99999Y"}}`, `null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var body policyRequest
		if decodeBody([]byte(in), &body) != nil {
			return
		}
		p, err := body.policy().Check()
		if err != nil {
			return
		}
		if p.Blank() != (len(body.Actions) == 0 && body.Attributes.ExpiryTime == "") {
			t.Errorf("%s: blank is %v", in, p.Blank())
		}
		q := &request{Request: &azhttp.Request{Request: &http.Request{Host: "h", URL: &url.URL{Path: "/keys/k/rotationpolicy"}}}}
		shown, err := json.Marshal(q.rotationPolicy(hsm.Rotation{Name: "k", Policy: &p}))
		if err != nil {
			t.Fatal(err)
		}
		var again policyRequest
		if err := decodeBody(shown, &again); err != nil {
			t.Fatal(err)
		}
		if back, err := again.policy().Check(); err != nil || !reflect.DeepEqual(back, p) {
			t.Errorf("%s: %+v became %+v, %v", in, p, back, err)
		}
	})
}
