package arm_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/cloud"
	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/key"
)

const (
	armKeys = mine + "/keys"
	keyURI  = "https://contosomhsm.managedhsm.azure.net/keys/"
)

// withKeys is the owner of an active HSM whose administrator let the control plane manage keys.
func withKeys(s *hsmtest.Site) (client, *hsm.HSM) {
	s.T.Helper()
	d := s.Active("ContosoMHSM")
	allowKeys(s, d, "true")
	return owner(s), d
}

func allowKeys(s *hsmtest.Site, d *hsm.HSM, value string) {
	s.T.Helper()
	if _, err := d.UpdateSetting(s.T.Context(), hsmtest.Caller(hsmtest.Admin), hsm.SettingARMKeys, value); err != nil {
		s.T.Fatal(err)
	}
}

// TestKeyResources: the bodies of all five operations.
func TestKeyResources(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c, d := withKeys(s)
	const attributes = `"attributes":{"enabled":true,"created":1767323045,"updated":1767323045,"recoveryLevel":"CustomizedRecoverable+Purgeable","exportable":false}`
	id := `~/resourceGroups/ContosoResourceGroup/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM/keys/`
	uris := func(n string) string {
		return `"keyUri":"` + keyURI + n + `","keyUriWithVersion":"` + keyURI + n + `/{v}"`
	}
	ec := `{"id":"` + id + `Ec","name":"Ec","type":"Microsoft.KeyVault/managedHSMs/keys","tags":{"a":"b"},"properties":{` + attributes + `,` + uris("Ec") + `,"kty":"EC-HSM","keyOps":["sign","verify"],"curveName":"P-256"}}`
	a := c.do("PUT "+armKeys+"/Ec", `{"tags":{"a":"b"},"properties":{"kty":"EC","curveName":"P-256","keyUri":"read only","attributes":{"enabled":true,"created":1}}}`).Want(200)
	c.same(a, ec)
	c.same(c.do("PUT "+armKeys+"/ec", `{"tags":{"c":"d"},"properties":{"kty":"RSA-HSM","keySize":4096}}`).Want(200), ec) // as it is
	c.same(c.do("GET "+armKeys+"/EC", nil).Want(200), ec)

	rsa := `{"id":"` + id + `rsa","name":"rsa","type":"Microsoft.KeyVault/managedHSMs/keys","properties":{"attributes":{"enabled":false,"nbf":1767323046,"exp":1798859045,"created":1767323045,"updated":1767323045,"recoveryLevel":"CustomizedRecoverable+Purgeable","exportable":false},` +
		uris("rsa") + `,"kty":"RSA-HSM","keyOps":["wrapKey","unwrapKey"],"keySize":2048,"rotationPolicy":{"attributes":{"expiryTime":"P1Y","created":1767323045,"updated":1767323045},"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"rotate"}}]}}}`
	c.same(c.do("PUT "+armKeys+"/rsa", `{"properties":{"kty":"RSA","keySize":2048,"keyOps":["wrapKey","unwrapKey"],"attributes":{"enabled":false,"nbf":1767323046,"exp":1798859045},"rotationPolicy":{"attributes":{"expiryTime":"P1Y"},"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"rotate"}}]}}}`).Want(200), rsa)
	c.same(c.do("GET "+armKeys+"/rsa", nil).Want(200), rsa)

	item := `{"id":"` + id + `Ec","name":"Ec","type":"Microsoft.KeyVault/managedHSMs/keys","tags":{"a":"b"},"properties":{` + attributes + `,` + uris("Ec") + `}}`
	var list struct{ Value []map[string]any }
	c.do("GET "+armKeys, nil).Want(200).JSON(&list)
	if len(list.Value) != 2 {
		t.Errorf("%d keys", len(list.Value))
	}
	c.same(c.do("GET "+armKeys+"?$top=1&"+version, nil).Want(200), `{"value":[`+item+`],"nextLink":"{text}"}`)
	asVersion := strings.NewReplacer(`/Ec","name":"Ec"`, `/Ec/versions/{v}","name":"{v}"`, `managedHSMs/keys"`, `managedHSMs/keys/versions"`)
	c.same(c.do("GET "+armKeys+"/ec/versions", nil).Want(200), `{"value":[`+asVersion.Replace(item)+`]}`)
	b, err := d.GetKey(t.Context(), hsmtest.Caller(hsmtest.User), "ec", "")
	if err != nil {
		t.Fatal(err)
	}
	one := c.do("GET "+armKeys+"/ec/versions/"+string(b.Meta.Version), nil).Want(200)
	c.same(one, asVersion.Replace(ec))
	if !strings.Contains(string(one.Body), string(b.Meta.Version)) {
		t.Errorf("another version: %s", one.Body)
	}

	// What the control plane cannot make, it shows.
	if _, err := d.CreateKey(t.Context(), hsmtest.Caller(hsmtest.User), "oct", key.CreateParams{Spec: key.Spec{Type: key.Oct, Bits: 256}}); err != nil {
		t.Fatal(err)
	}
	if a := c.do("GET "+armKeys+"/oct", nil).Want(200); !strings.Contains(string(a.Body), `"kty":"oct-HSM"`) || !strings.Contains(string(a.Body), `"keySize":256`) {
		t.Errorf("%s", a.Body)
	}
}

// TestReleasableKeyResource: release_policy and the operation that the data plane calls export.
func TestReleasableKeyResource(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c, d := withKeys(s)
	policy := base64.RawURLEncoding.EncodeToString([]byte(`{"version":"1.0.0","anyOf":[{"authority":"https://attest.example","allOf":[{"claim":"x","equals":"y"}]}]}`))
	body := `{"properties":{"kty":"EC-HSM","keyOps":["sign","release"],"attributes":{"exportable":true},"release_policy":{"data":"` + policy + `"}}}`
	var got struct {
		Properties struct {
			Attributes    struct{ Exportable bool }
			KeyOps        []string
			ReleasePolicy struct{ ContentType, Data string } `json:"release_policy"`
		}
	}
	c.do("PUT "+armKeys+"/out", body).Want(200).JSON(&got)
	p := got.Properties
	if !p.Attributes.Exportable || fmt.Sprint(p.KeyOps) != "[release sign]" && fmt.Sprint(p.KeyOps) != "[sign release]" || p.ReleasePolicy.Data == "" || !strings.HasPrefix(p.ReleasePolicy.ContentType, "application/json") {
		t.Errorf("%+v", p)
	}
	b, err := d.GetKey(t.Context(), hsmtest.Caller(hsmtest.User), "out", "")
	if err != nil || !b.Meta.Attributes.Exportable || len(b.Meta.Ops) != 2 {
		t.Errorf("%+v, %v", b.Meta, err)
	}
}

// TestKeysNeedSettingAndRight: the setting is the administrator's of the HSM, the right is the control plane's; one
// without the other gives nothing, and neither gives access to the data plane.
func TestKeysNeedSettingAndRight(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active("ContosoMHSM")
	c := owner(s)
	asks := []string{"PUT " + armKeys + "/k", "GET " + armKeys + "/k", "GET " + armKeys, "GET " + armKeys + "/k/versions", "GET " + armKeys + "/k/versions/" + strings.Repeat("0", 32)}
	body := func(ask string) any {
		if strings.HasPrefix(ask, "PUT") {
			return `{"properties":{"kty":"EC-HSM"}}`
		}
		return nil
	}
	for _, ask := range asks {
		c.do(ask, body(ask)).WantError(400, "BadRequest", "", "enable the setting 'AllowKeyManagementOperationsThroughARM'", "az keyvault setting update --hsm-name ContosoMHSM --name AllowKeyManagementOperationsThroughARM --value true")
	}
	allowKeys(s, d, "true")
	roles := map[string]struct {
		role         string
		reads, makes bool
	}{
		"contributor": {cloud.RoleContributor, true, true}, "HSM contributor": {cloud.RoleManagedHSMContributor, true, true}, "reader": {cloud.RoleReader, true, false},
		"identity operator": {cloud.RoleManagedIdentityOperator, false, false}, "nobody": {"", false, false}, "the HSM's own administrator": {"", false, false},
	}
	for name, r := range roles {
		who := hsmtest.NewGUID()
		if name == "the HSM's own administrator" {
			who = hsmtest.Admin
		}
		if r.role != "" {
			assign(s, who, r.role, c.sub())
		}
		for i, ask := range asks {
			got := c.as(who).do(strings.Replace(ask, "/keys/k", "/keys/k-"+strings.NewReplacer(" ", "", "'", "").Replace(name), 1), body(ask))
			allowed := r.reads && i > 0 || r.makes
			if allowed == (got.Status == 403) || !allowed && !strings.Contains(string(got.Body), "AuthorizationFailed") {
				t.Errorf("%s: %s: %d %s", name, ask, got.Status, got.Body)
			}
		}
		if name != "the HSM's own administrator" {
			a := c.Do(hsmtest.Ask{Method: "GET", Host: "contosomhsm.managedhsm.azure.net", Path: "/keys?api-version=7.4", Token: c.Token(who, hsmtest.Devices)})
			a.WantError(403, "AccessDenied", "")
		}
	}
	// A role at one key is one for that key.
	one := hsmtest.NewGUID()
	assign(s, one, cloud.RoleManagedHSMContributor, c.sub()+strings.TrimPrefix(armKeys, "~")+"/mykey")
	c.as(one).do("PUT "+armKeys+"/mykey", body("PUT")).Want(200)
	c.as(one).do("GET "+armKeys+"/mykey/versions", nil).Want(200)
	c.as(one).do("GET "+armKeys+"/other", nil).WantError(403, "AuthorizationFailed", "")
	c.as(one).do("GET "+armKeys, nil).WantError(403, "AuthorizationFailed", "")
	c.as(one).do("GET "+mine, nil).WantError(403, "AuthorizationFailed", "")
}

func assign(s *hsmtest.Site, who, role, scope string) {
	s.T.Helper()
	if _, _, err := s.Cloud.CreateRoleAssignment(s.T.Context(), cloud.RoleAssignment{Name: hsmtest.NewGUID(), Scope: scope, Role: role, PrincipalID: who}); err != nil {
		s.T.Fatal(err)
	}
}

// TestKeyResourcePaging: lists go on where they stopped.
func TestKeyResourcePaging(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c, d := withKeys(s)
	for i := range 30 {
		if _, err := d.CreateKey(t.Context(), hsmtest.Caller(hsmtest.User), key.Name(fmt.Sprintf("k-%02d", i)), key.CreateParams{Spec: key.Spec{Type: key.EC, Curve: key.P256}}); err != nil {
			t.Fatal(err)
		}
	}
	next, names := "GET "+armKeys, ""
	for pages := 0; next != ""; pages++ {
		var p struct {
			Value    []struct{ Name string }
			NextLink string
		}
		c.do(next, nil).Want(200).JSON(&p)
		for _, v := range p.Value {
			names += v.Name
		}
		if pages == 0 && len(p.Value) != 25 || pages > 1 {
			t.Fatalf("page %d has %d keys", pages, len(p.Value))
		}
		if next = ""; p.NextLink != "" {
			u, err := url.Parse(p.NextLink)
			if err != nil || u.Host != "management.azure.com" || u.Query().Get("api-version") == "" {
				t.Fatalf("nextLink %q", p.NextLink)
			}
			next = "GET " + u.RequestURI()
		}
	}
	want := ""
	for i := range 30 {
		want += fmt.Sprintf("k-%02d", i)
	}
	if names != want {
		t.Errorf("%s", names)
	}
	c.do("GET "+armKeys+"?$skiptoken=%00&"+version, nil).WantError(400, "InvalidParameter", "", "$skiptoken")
	c.do("GET "+armKeys+"?$skiptoken="+base64.RawURLEncoding.EncodeToString([]byte("../x"))+"&"+version, nil).WantError(400, "BadParameter", "", "continuation")
}

// TestBadKeyResources: what cannot be made is refused, and nothing is made.
func TestBadKeyResources(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c, d := withKeys(s)
	for body, word := range map[string]string{
		``:                                 "JSON body",
		`{`:                                "not valid",
		`[]`:                               "JSON array",
		`{}`:                               "needs properties",
		`{"properties":{}}`:                "kty",
		`{"properties":{"kty":"oct-HSM"}}`: "az keyvault key create",
		`{"properties":{"kty":"DSA"}}`:     "DSA",
		`{"properties":{"kty":7}}`:         "kty",
		`{"properties":{"kty":"RSA","keySize":1024}}`:                                                                                          "1024",
		`{"properties":{"kty":"RSA","keySize":"2048"}}`:                                                                                        "keySize",
		`{"properties":{"kty":"EC","curveName":"P-999"}}`:                                                                                      "P-999",
		`{"properties":{"kty":"EC","keyOps":["encrypt"]}}`:                                                                                     "encrypt",
		`{"properties":{"kty":"EC","keyOps":["release"]}}`:                                                                                     "exportable",
		`{"properties":{"kty":"EC","attributes":{"exportable":true}}}`:                                                                         "release policy",
		`{"properties":{"kty":"EC","attributes":{"nbf":2,"exp":1}}}`:                                                                           "exp",
		`{"properties":{"kty":"EC","attributes":{"exp":"2030-01-01T00:00:00Z"}}}`:                                                              "exp",
		`{"properties":{"kty":"EC","release_policy":{"data":"+/=="}}}`:                                                                         "base64url",
		`{"properties":{"kty":"EC","rotationPolicy":{"attributes":{"expiryTime":"soon"}}}}`:                                                    "soon",
		`{"properties":{"kty":"EC","rotationPolicy":{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"notify"}}]}}}`: "otify",
		`{"tags":{"a":7},"properties":{"kty":"EC"}}`:                                                                                           "tags",
		`{"tags":{"a":"` + strings.Repeat("x", 300) + `"},"properties":{"kty":"EC"}}`:                                                          "256",
	} {
		a := c.do("PUT "+armKeys+"/bad", body)
		if a.Status != 400 || !strings.Contains(string(a.Body), word) {
			t.Errorf("%.100s: %d %s", body, a.Status, a.Body)
		}
	}
	good := `{"properties":{"kty":"EC"}}`
	for _, name := range []string{"a_b", "a%2Fb", "..", strings.Repeat("x", 128), "%C3%A4"} {
		if a := c.do("PUT "+armKeys+"/"+name, good); a.Status != 400 {
			t.Errorf("name %q: %d %s", name, a.Status, a.Body)
		}
	}
	c.do("GET "+armKeys+"/bad", nil).WantError(404, "KeyNotFound", "")
	c.do("GET "+armKeys+"/bad/versions", nil).WantError(404, "KeyNotFound", "")
	c.do("GET "+armKeys+"/bad/versions/xyz", nil).WantError(400, "BadParameter", "")
	c.do("DELETE "+armKeys+"/bad", nil).WantError(404, "NotFound", "")
	c.do("PATCH "+armKeys+"/bad", good).WantError(404, "NotFound", "")
	c.do("PUT "+armKeys+"/bad?api-version=2022-07-01", good).WantError(400, "NoRegisteredProviderFound", "")
	c.do("PUT "+hsms+"/none/keys/k", good).WantError(404, "ResourceNotFound", "")
	c.do("GET ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM/keys", nil).WantError(404, "ResourceNotFound", "")

	c.do("PUT "+armKeys+"/gone", good).Want(200)
	if _, err := d.DeleteKey(t.Context(), hsmtest.Caller(hsmtest.User), "gone"); err != nil {
		t.Fatal(err)
	}
	c.do("PUT "+armKeys+"/gone", good).WantError(409, "Conflict", "ObjectIsDeletedButRecoverable", "az keyvault key recover")
	var all struct{ Value []any }
	if c.do("GET "+armKeys, nil).Want(200).JSON(&all); len(all.Value) != 0 {
		t.Errorf("%v", all)
	}
	c.do("DELETE "+mine, nil).Want(200)
	c.do("GET "+armKeys, nil).WantError(404, "ResourceNotFound", "")
}

// TestKeysAndNetworkRules: with bypass AzureServices the control plane comes to keys whatever the rules say, with None
// they count for its clients.
func TestKeysAndNetworkRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c, _ := withKeys(s)
	rules := func(properties string) { c.do("PATCH "+mine, `{"properties":`+properties+`}`).Want(200) }
	rules(`{"networkAcls":{"defaultAction":"Deny"},"publicNetworkAccess":"Disabled"}`)
	c.do("GET "+armKeys, nil).Want(200)
	rules(`{"networkAcls":{"bypass":"None"}}`)
	c.do("GET "+armKeys, nil).WantError(403, "Forbidden", "ForbiddenByConnection")
	rules(`{"publicNetworkAccess":"Enabled"}`)
	c.do("GET "+armKeys, nil).WantError(403, "Forbidden", "ForbiddenByFirewall", "127.0.0.1")
	rules(`{"networkAcls":{"ipRules":[{"value":"127.0.0.1"},{"value":"::1"}]}}`)
	c.do("GET "+armKeys, nil).Want(200)
}

// TestKeysOfAFreshHSM: before activation the state is told, as in the data plane.
func TestKeysOfAFreshHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned("ContosoMHSM")
	owner(s).do("GET "+armKeys, nil).WantError(403, "Forbidden", "NotActivated", "az keyvault security-domain download")
}

// TestKeysAreOnRecord: what is done through the control plane has the caller's own entry, refusals included.
func TestKeysAreOnRecord(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active("ContosoMHSM")
	c := owner(s)
	want := map[string]string{} // by request id
	note := func(a hsmtest.Answer, outcome string) { want[a.Header.Get("X-Ms-Request-Id")] = outcome }
	note(c.do("GET "+armKeys, nil).Want(400), "KeyList Failed 400")
	allowKeys(s, d, "true")
	note(c.do("PUT "+armKeys+"/k", `{"properties":{"kty":"EC"}}`).Want(200), "KeyCreate Success 200")
	note(c.do("PUT "+armKeys+"/k", `{"properties":{"kty":"RSA"}}`).Want(200), "KeyCreate Success 200 existed")
	note(c.do("GET "+armKeys+"/none", nil).Want(404), "KeyGet Failed 404")
	note(c.do("GET "+armKeys+"/k/versions", nil).Want(200), "KeyListVersions Success 200")
	c.do("PATCH "+mine, `{"properties":{"networkAcls":{"bypass":"None","defaultAction":"Deny"}}}`).Want(200)
	note(c.do("GET "+armKeys+"/k", nil).Want(403), "KeyGet Denied 403")
	s.Restart()
	raw, err := os.ReadFile(s.AuditFile(d.ID()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Verify(bytes.NewReader(raw), "", func(e audit.Entry) error {
		outcome, ok := want[e.RequestID]
		if !ok {
			return nil
		}
		delete(want, e.RequestID)
		got := fmt.Sprint(e.Operation, " ", e.Result, " ", e.Status)
		if e.Details["existed"] != "" {
			got += " existed"
		}
		if got != outcome || e.Details["through"] != "ARM" || e.Principal != s.Account.User.ObjectID || e.CallerIP != "127.0.0.1" || e.Version != "2026-02-01" || !strings.HasPrefix(e.RequestURI, "https://management.azure.com/subscriptions/") {
			t.Errorf("%s: %+v", outcome, e)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(want) > 0 {
		t.Errorf("no entry: %v", want)
	}
}
