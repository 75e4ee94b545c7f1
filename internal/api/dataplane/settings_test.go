package dataplane_test

import (
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestBadSettings: names that are not there and values of another kind are refused with what there is, and nothing
// changes.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	admin := as(w, hsmtest.Admin)
	const arm = "/settings/AllowKeyManagementOperationsThroughARM"
	before := string(admin.do("GET /settings", nil).Want(200).Body)
	for body, word := range map[string]string{
		``:                                 "needs a JSON body",
		`{`:                                "not valid",
		`[]`:                               "not valid",
		`{}`:                               "true or false",
		`{"value":null}`:                   "true or false",
		`{"value":""}`:                     "true or false",
		`{"value":"True"}`:                 "true or false, in lower case",
		`{"value":"TRUE"}`:                 "lower case",
		`{"value":"1"}`:                    "true or false",
		`{"value":"yes"}`:                  "true or false",
		`{"value":" true"}`:                "true or false",
		`{"value":true}`:                   "value",
		`{"value":1}`:                      "value",
		`{"value":["true"]}`:               "value",
		`{"value":{"v":""}}`:               "value",
		`{"Value":"true"}`:                 "true or false", // another member
		`{"value":"true","value":"false"}`: "twice",
	} {
		admin.do("PATCH "+arm, body).WantError(400, "BadParameter", "", word)
	}
	for _, name := range []string{"nothing", "AllowKeyManagementOperationsThroughARM2", "..", "%20", "a%2Fb", strings.Repeat("x", 2000), "%C3%A4"} {
		admin.do("GET /settings/"+name, nil).WantError(404, "SettingNotFound", "", "az keyvault setting list --hsm-name ContosoMHSM")
		admin.do("PATCH /settings/"+name, `{"value":"true"}`).WantError(404, "SettingNotFound", "")
	}
	for target, body := range map[string]string{"PUT " + arm: `{"value":"true"}`, "DELETE " + arm: "", "POST /settings": "{}", "GET " + arm + "/x": ""} {
		admin.do(target, body).WantError(404, "NotFound", "")
	}
	admin.do("GET "+arm+"?api-version=7.3", nil).WantError(404, "NotFound", "") // settings came with 7.4
	as(w, hsmtest.User).do("PATCH "+arm, `{"value":"true"}`).WantError(403, "AccessDenied", "")
	as(w, hsmtest.Stranger).do("GET "+arm, nil).WantError(403, "AccessDenied", "")
	if after := string(admin.do("GET /settings", nil).Want(200).Body); after != before {
		t.Errorf("refused changes left %s", after)
	}
}
