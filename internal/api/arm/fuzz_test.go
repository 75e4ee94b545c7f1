package arm

import (
	"encoding/json"
	"strings"
	"testing"
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
