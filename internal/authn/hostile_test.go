package authn

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestClaimNamesAreExact: a claim that differs from a known one in letter case is another claim.
func TestClaimNamesAreExact(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t, nil)
	b, err := json.Marshal(goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("9", 8) + object[8:]
	more := `,"OID":"` + other + `","Groups":["` + other + `"],"Upn":"mallory","TID":"x","AUD":"x","EXP":1}`
	raw := json.RawMessage(strings.TrimSuffix(string(b), "}") + more)
	id, err := v.Verify(t.Context(), sign(t, jose.RS256, keys().rsa, "k1", raw))
	if err != nil || id.Principal.ID != object || len(id.Principal.Groups) != 0 || id.Principal.UPN != "alice@contoso.example" {
		t.Errorf("%+v, %v", id, err)
	}
	c := goodClaims()
	delete(c, "oid")
	c["OID"] = object
	if id, err := v.Verify(t.Context(), sign(t, jose.RS256, keys().rsa, "k1", c)); err == nil {
		t.Errorf("OID did for oid: %+v", id)
	}
}
