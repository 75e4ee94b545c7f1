package dataplane_test

import (
	"strings"
	"testing"
	"time"

	"redoubt/internal/hsmtest"
)

// TestRotationPolicyRefusals: every rule of Managed HSM is a 400 that names it, and what was there stays.
func TestRotationPolicyRefusals(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST /keys/k/create", `{"kty":"oct"}`).Want(200)
	c.do("POST /keys/k/rotate", nil).WantError(400, "BadParameter", "", "az keyvault key rotation-policy update --hsm-name ContosoMHSM --name k --value")
	kept := c.do("PUT /keys/k/rotationpolicy", `{"attributes":{"expiryTime":"P1Y"}}`).Want(200).Body
	action := func(trigger, typ string) string {
		return `{"lifetimeActions":[{"trigger":{` + trigger + `},"action":{"type":"` + typ + `"}}],"attributes":{"expiryTime":"P56D"}}`
	}
	for body, word := range map[string]string{
		``:                                     "needs a JSON body",
		`[]`:                                   "not valid",
		`{"attributes":{"expiryTime":"P27D"}}`: "at least 28 days",
		`{"attributes":{"expiryTime":90}}`:     "cannot be a JSON number",
		`{"attributes":{"expiryTime":"90 days"}}`:                                                            "ISO 8601",
		`{"lifetimeActions":{}}`:                                                                             "cannot be a JSON object",
		action(`"timeAfterCreate":"P30D"`, "Notify"):                                                         "for vaults only",
		action(`"timeAfterCreate":"P30D"`, ""):                                                               "use Rotate",
		action(`"timeAfterCreate":"P27D"`, "rotate"):                                                         "every 28 days",
		action(`"timeBeforeExpiry":"P29D"`, "rotate"):                                                        "leaves less than 28 days of expiryTime P56D",
		action(`"timeBeforeExpiry":"P9D","timeAfterCreate":"P30D"`, "Rotate"):                                "either timeAfterCreate or timeBeforeExpiry",
		action(``, "Rotate"):                                                                                 "either timeAfterCreate or timeBeforeExpiry",
		strings.Replace(action(`"timeBeforeExpiry":"P29D"`, "rotate"), `"expiryTime":"P56D"`, "", 1):         "needs attributes.expiryTime",
		`{"lifetimeActions":[{"action":{"type":"Rotate"}},{"action":{"type":"Notify"}}]}`:                    "has 2 entries",
		`{"lifetimeActions":[null]}`:                                                                         "cannot be a JSON null",
		`{"lifetimeActions":[{"trigger":{"timeAfterCreate":"` + strings.Repeat("P", 5000) + `"}}]}`:          "use Rotate",
		`{"attributes":{"expiryTime":"` + strings.Repeat("P", 5000) + `"}}`:                                  "ISO 8601",
		`{"lifetimeActions":[{"action":{"type":"rotate"},"trigger":{"timeAfterCreate":"P30D"}}],"attributes`: "not valid",
	} {
		c.do("PUT /keys/k/rotationpolicy", body).WantError(400, "BadParameter", "", word)
	}
	same(t, c.do("GET /keys/k/rotationpolicy", nil).Want(200), string(kept))
	for _, target := range []string{"POST /keys/none/rotate", "GET /keys/none/rotationpolicy", "PUT /keys/none/rotationpolicy"} {
		c.do(target, `{"attributes":{"expiryTime":"P1Y"}}`).WantError(404, "KeyNotFound", "")
	}
	as(c.Web, hsmtest.Auditor).do("PUT /keys/k/rotationpolicy", `{}`).WantError(403, "AccessDenied", "", "keys/write/action on /keys/k")
	as(c.Web, hsmtest.Auditor).do("POST /keys/k/rotate", nil).WantError(403, "AccessDenied", "", "keys/rotate/action on /keys/k")
	as(c.Web, hsmtest.Auditor).do("GET /keys/k/rotationpolicy", nil).Want(200)
}

// TestBlankPolicyRemoves: every form in which clients take a policy away does so; then nothing rotates the key.
func TestBlankPolicyRemoves(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST /keys/k/create", `{"kty":"oct"}`).Want(200)
	for _, blank := range []string{`{}`, `{"lifetimeActions":[],"attributes":{}}`, `{"lifetimeActions":null,"attributes":null}`, `{"attributes":{"expiryTime":null}}`, `{"attributes":{"expiryTime":""}}`} {
		c.do("PUT /keys/k/rotationpolicy", `{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P30D","timeBeforeExpiry":""},"action":{"type":"ROTATE"}}]}`).Want(200)
		same(t, c.do("PUT /keys/k/rotationpolicy", blank).Want(200), `{"id":"`+keys+`k/rotationpolicy","lifetimeActions":[],"attributes":{}}`)
		c.do("POST /keys/k/rotate", nil).WantError(400, "BadParameter", "", "no rotation policy")
	}
}

// TestPolicyTimes: created stays, updated moves, a policy taken away begins anew.
func TestPolicyTimes(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST /keys/k/create", `{"kty":"oct"}`).Want(200)
	put := func(body, want string) {
		t.Helper()
		a := c.do("PUT /keys/k/rotationpolicy", body).Want(200)
		same(t, a, want)
		same(t, c.do("GET /keys/k/rotationpolicy", nil).Want(200), string(a.Body))
		s.Clock.Advance(time.Second)
	}
	const id = `{"id":"` + keys + `k/rotationpolicy","lifetimeActions":[],"attributes":`
	put(`{"attributes":{"expiryTime":"P1Y"}}`, id+`{"expiryTime":"P1Y","created":1767323045,"updated":1767323045}}`)
	put(`{"attributes":{"expiryTime":"P2Y"}}`, id+`{"expiryTime":"P2Y","created":1767323045,"updated":1767323046}}`)
	put(`{}`, id+`{}}`)
	put(`{"attributes":{"expiryTime":"P1Y"}}`, id+`{"expiryTime":"P1Y","created":1767323048,"updated":1767323048}}`)
}
