package dataplane_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/key"
)

type keyPage struct {
	Value []struct {
		Kid        string
		Attributes map[string]any
		RecoveryID string
	}
	NextLink *string
}

// follow walks a paged list as clients do: nextLink verbatim.
func follow(t *testing.T, c client, target string) (names []string, sizes []int) {
	t.Helper()
	for {
		var p keyPage
		c.do("GET "+target, nil).Want(200).JSON(&p)
		sizes = append(sizes, len(p.Value))
		for _, k := range p.Value {
			names = append(names, k.Kid[strings.LastIndex(k.Kid, "/")+1:])
		}
		if p.NextLink == nil {
			return names, sizes
		}
		rest, ok := strings.CutPrefix(*p.NextLink, "https://"+host)
		u, err := url.Parse(*p.NextLink)
		if err != nil || !ok || u.Query().Get("api-version") != "7.6-preview.2" {
			t.Fatalf("nextLink %s", *p.NextLink)
		}
		target = rest
	}
}

func TestPaging(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	want := make([]string, 60)
	for i := range want {
		want[i] = fmt.Sprintf("key-%02d", i)
		if _, err := d.CreateKey(t.Context(), hsmtest.Caller(hsmtest.User), key.Name(want[i]), key.CreateParams{Spec: key.Spec{Type: key.Oct, Bits: 128}}); err != nil {
			t.Fatal(err)
		}
	}
	c := as(s.Serve(), hsmtest.User)
	for _, path := range []string{"/keys", "/keys/", "//Keys"} {
		names, sizes := follow(t, c, path+"?api-version=7.6-preview.2")
		if !slices.Equal(names, want) || !slices.Equal(sizes, []int{25, 25, 10}) {
			t.Errorf("%s: %q in pages of %v", path, names, sizes)
		}
	}
	if names, sizes := follow(t, c, "/keys?maxresults=7&api-version=7.6-preview.2"); !slices.Equal(names, want) || len(sizes) != 9 || sizes[0] != 7 || sizes[8] != 4 {
		t.Errorf("maxresults=7: %q in pages of %v", names, sizes)
	}
	for _, bad := range []string{"0", "-1", "26", "x", "1e1"} {
		c.do("GET /keys?maxresults="+bad, nil).WantError(400, "BadParameter", "", "maxresults")
	}
	for _, bad := range []string{"!!", b64([]byte("a/b")), b64([]byte{0}), b64([]byte("\xff")), b64(make([]byte, 4000))} {
		c.do("GET /keys?$skiptoken="+url.QueryEscape(bad), nil).WantError(400, "BadParameter", "", "token")
		c.do("GET /keys/key-00/versions?$skiptoken="+url.QueryEscape(bad), nil).WantError(400, "BadParameter", "", "token")
	}

	for _, n := range want[:30] {
		c.do("DELETE /keys/"+n, nil).Want(200)
	}
	officer := as(c.Web, hsmtest.Officer)
	if names, sizes := follow(t, officer, "/deletedkeys?api-version=7.6-preview.2"); !slices.Equal(names, want[:30]) || !slices.Equal(sizes, []int{25, 5}) {
		t.Errorf("deleted: %q in pages of %v", names, sizes)
	}
	for range 29 {
		c.do("POST /keys/key-59/create", `{"kty":"oct","key_size":128}`).Want(200)
	}
	names, sizes := follow(t, c, "/keys/KEY-59/versions?api-version=7.6-preview.2")
	if slices.Sort(names); len(slices.Compact(names)) != 30 || !slices.Equal(sizes, []int{25, 5}) {
		t.Errorf("versions: %d in pages of %v", len(names), sizes)
	}
	c.do("GET /keys/nothing/versions", nil).WantError(404, "KeyNotFound", "")
}

// TestKeyTypes: both spellings of a type come back as the one of an HSM, exportable is always there, and no
// answer ever carries private material.
func TestKeyTypes(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	for i, k := range []struct{ body, kty, crv string }{
		{`"kty":"RSA"`, "RSA-HSM", ""}, {`"kty":"RSA-HSM","key_size":2048,"public_exponent":65537`, "RSA-HSM", ""},
		{`"kty":"EC"`, "EC-HSM", "P-256"}, {`"kty":"EC-HSM","crv":"P-384"`, "EC-HSM", "P-384"}, {`"kty":"EC","crv":"P-521"`, "EC-HSM", "P-521"}, {`"kty":"EC","crv":"P-256K"`, "EC-HSM", "P-256K"},
		{`"kty":"oct","key_size":192`, "oct-HSM", ""}, {`"kty":"oct-HSM","key_size":256`, "oct-HSM", ""},
	} {
		created := c.do(fmt.Sprintf("POST /keys/k%d/create", i), "{"+k.body+`,"key_ops":null,"attributes":{"exportable":false}}`).Want(200)
		for _, a := range []hsmtest.Answer{created, c.do(fmt.Sprintf("GET /keys/k%d", i), nil).Want(200)} {
			var b struct {
				Key        map[string]any
				Attributes map[string]any
			}
			a.JSON(&b)
			if b.Key["kty"] != k.kty || k.crv != "" && b.Key["crv"] != k.crv || b.Attributes["exportable"] != false {
				t.Errorf("%s: %s", k.body, a.Body)
			}
			for member := range b.Key {
				if !slices.Contains([]string{"kid", "kty", "key_ops", "n", "e", "crv", "x", "y"}, member) {
					t.Errorf("%s: member %q in %s", k.body, member, a.Body)
				}
			}
		}
	}
	if a := c.do("POST /keys/usual/create", `{"kty":"RSA","public_exponent":0}`).Want(200); !strings.Contains(string(a.Body), `"e":"AQAB"`) {
		t.Errorf("exponent 0: %s", a.Body)
	}
	if a := c.do("POST /keys/three/create", `{"kty":"RSA","public_exponent":3}`).Want(200); !strings.Contains(string(a.Body), `"e":"Aw"`) {
		t.Errorf("exponent 3: %s", a.Body)
	}
	for body, inner := range map[string]string{`{"kty":"PQC"}`: "KeyTypeNotSupported", `{}`: "KeyTypeNotSupported", `{"kty":"RSA","key_size":1024}`: "", `{"kty":"RSA","key_size":2047}`: "", `{"kty":"EC","crv":"P-192"}`: "",
		`{"kty":"oct","key_size":64}`: "", `{"kty":"EC","key_ops":["fly"]}`: "", `{"kty":"RSA","public_exponent":4}`: "", `{"kty":"RSA","public_exponent":1}`: "", `{"kty":"RSA","public_exponent":2147483649}`: ""} {
		c.do("POST /keys/refused/create", body).WantError(400, "BadParameter", inner)
	}
	c.do("POST /keys/refused/create", `{"kty":"EC","attributes":{"exportable":true}}`).WantError(400, "BadParameter", "", "Exportable keys must have release policy")
	for _, name := range []string{"a_b", "%20", "a%2Fb", "%00", strings.Repeat("a", 128), "%F0%9F%94%91"} {
		c.do("POST /keys/"+name+"/create", `{"kty":"EC"}`).WantError(400, "BadParameter", "", "key name")
	}
	c.do("GET /keys/refused", nil).WantError(404, "KeyNotFound", "")
	c.do("GET /keys/k0/notaversion", nil).WantError(400, "BadParameter", "", "version")
	a := c.do("POST /keys/none/create", `{"kty":"EC","key_ops":[]}`).Want(200)
	if !strings.Contains(string(a.Body), `"key_ops":[]`) {
		t.Errorf("no operations: %s", a.Body)
	}
	c.do("POST /keys/none//sign", `{"alg":"ES256","value":"`+digest+`"}`).WantError(403, "Forbidden", "KeyOperationForbidden")
}

// TestKeyErrors: the refusals that clients tell apart by their codes.
func TestKeyErrors(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	officer := as(c.Web, hsmtest.Officer)
	sign := `{"alg":"ES256","value":"` + digest + `"}`
	now := s.Clock.Now().Unix()
	c.do("POST /keys/off/create", `{"kty":"EC","attributes":{"enabled":false}}`).Want(200)
	c.do("POST /keys/off//sign", sign).WantError(403, "Forbidden", "KeyDisabled")
	c.do("POST /keys/early/create", fmt.Sprintf(`{"kty":"EC","attributes":{"nbf":%d}}`, now+60)).Want(200)
	c.do("POST /keys/early//sign", sign).WantError(403, "Forbidden", "KeyNotYetValid")
	c.do("POST /keys/late/create", fmt.Sprintf(`{"kty":"EC","attributes":{"exp":%d}}`, now-60)).Want(200)
	c.do("POST /keys/late//sign", sign).WantError(403, "Forbidden", "KeyExpired")
	c.do("POST /keys/ok/create", `{"kty":"EC"}`).Want(200)
	c.do("POST /keys/ok//sign", `{"alg":"RS256","value":"`+digest+`"}`).WantError(400, "BadParameter", "")
	c.do("POST /keys/nothing//sign", sign).WantError(404, "KeyNotFound", "", "nothing")
	c.do("POST /keys/off/0123456789abcdef0123456789abcdef/sign", sign).WantError(404, "KeyNotFound", "")
	c.do("DELETE /keys/off", nil).Want(200)
	c.do("GET /keys/off", nil).WantError(404, "KeyNotFound", "")
	c.do("POST /keys/off/create", `{"kty":"EC"}`).WantError(409, "Conflict", "ObjectIsDeletedButRecoverable", "az keyvault key recover")
	officer.do("POST /deletedkeys/early/recover", nil).WantError(404, "KeyNotFound", "")
	officer.do("DELETE /deletedkeys/early", nil).WantError(404, "KeyNotFound", "")
	c.do("POST /rng", `{"count":0}`).WantError(400, "BadParameter", "", "128")
	c.do("POST /rng", `{"count":129}`).WantError(400, "BadParameter", "", "128")
	c.do("POST /keys/oct/create", `{"kty":"oct-HSM"}`).Want(200)
	as(c.Web, hsmtest.Admin).do("PATCH /settings/AllowAESCBC", `{"value":"false"}`).Want(200)
	c.do("POST /keys/oct//decrypt", `{"alg":"A256CBCPAD","value":"AAAAAAAAAAAAAAAAAAAAAA","iv":"AAAAAAAAAAAAAAAAAAAAAA"}`).WantError(403, "Forbidden", "AlgorithmNotAllowed")
	as(c.Web, hsmtest.Admin).do("GET /settings/nothing", nil).WantError(404, "SettingNotFound", "")
	as(c.Web, hsmtest.Admin).do("PATCH /settings/AllowKeyManagementOperationsThroughARM", `{"value":"True"}`).WantError(400, "BadParameter", "")
}

// TestRoleErrors: likewise for roles.
func TestRoleErrors(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	body := `{"properties":{"principalId":"` + hsmtest.Stranger + `","roleDefinitionId":"` + userRole + `"}}`
	for _, scope := range []string{"", "/keys", "//keys/k1", "/Keys/K1/"} {
		id := hsmtest.NewGUID()
		a := c.do("PUT "+scope+assignments+"/"+id, body)
		if scope == "/Keys/K1/" {
			a.WantError(409, "RoleAssignmentExists", "")
			continue
		}
		a.Want(201)
		var got struct {
			ID         string
			Properties struct{ Scope string }
		}
		a.JSON(&got)
		trimmed := strings.TrimRight(strings.Replace(scope, "//", "/", 1), "/")
		if got.ID != trimmed+assignments+"/"+id || got.Properties.Scope != "/"+strings.TrimPrefix(trimmed, "/") {
			t.Errorf("%q: %+v", scope, got)
		}
		c.do("GET "+scope+assignments+"/"+id, nil).Want(200)
	}
	c.do("GET "+assignments+"/"+guid, nil).WantError(404, "RoleAssignmentNotFound", "", "Requested role assignment not found")
	c.do("DELETE "+assignments+"/"+guid, nil).WantError(404, "RoleAssignmentNotFound", "", "Requested role assignment not found")
	// Only 404 tells azurerm, which asks by the name of the HSM, that it may make a role definition.
	c.do("GET "+definitions+"/"+hsmName, nil).WantError(404, "RoleDefinitionNotFound", "", "Requested role definition not found: "+hsmName)
	c.do("GET "+definitions+"/21DBD100-6940-42C2-9190-5D6CB909625B", nil).Want(200)
	c.do("GET "+assignments+"/notaguid", nil).WantError(404, "RoleAssignmentNotFound", "")
	for _, list := range []string{assignments, definitions} {
		c.do("DELETE "+list+"/notaguid", nil).WantError(400, "BadParameter", "", "GUID")
		c.do("PUT "+list+"/notaguid", body).WantError(400, "BadParameter", "", "GUID")
	}
	c.do("GET /elsewhere"+assignments, nil).WantError(400, "BadParameter", "", "scope")
	c.do("GET "+assignments+"?$filter=nonsense", nil).WantError(400, "BadParameter", "", "$filter")
	c.do("PUT "+assignments+"/"+guid, `{"properties":{"principalId":"alice","roleDefinitionId":"`+userRole+`"}}`).WantError(400, "BadParameter", "")
	c.do("PUT "+assignments+"/"+guid, `{"properties":{"principalId":"`+hsmtest.User+`","roleDefinitionId":"`+guid+`"}}`).WantError(404, "RoleDefinitionNotFound", "")
	c.do("DELETE "+definitions+"/21dbd100-6940-42c2-9190-5d6cb909625b", nil).WantError(403, "Forbidden", "")
	c.do("PUT "+definitions+"/21dbd100-6940-42c2-9190-5d6cb909625b", `{"properties":{"roleName":"x","permissions":[]}}`).WantError(403, "Forbidden", "")
	c.do("GET "+definitions+"/"+guid, nil).WantError(404, "RoleDefinitionNotFound", "")
	c.do("PUT "+definitions+"/"+guid, `{"properties":{"roleName":"x","permissions":[{"dataActions":["Microsoft.KeyVault/nonsense"]}]}}`).WantError(400, "BadParameter", "")
	// Lists at "/" and "/keys" show what is assigned at these two; a principal's are shown wherever they are.
	for query, n := range map[string]int{"": 6, "&$filter=atScope()": 6, "&$filter=principalId+eq+'" + hsmtest.Stranger + "'": 3} {
		var list struct{ Value []map[string]any }
		c.do("GET "+assignments+"?"+version+query, nil).Want(200).JSON(&list)
		if len(list.Value) != n {
			t.Errorf("filter %q: %d assignments, want %d", query, len(list.Value), n)
		}
	}
}

// TestStateErrors: before activation and while recovering, the answer names the next command.
func TestStateErrors(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	c.do("GET "+assignments, nil).WantError(403, "Forbidden", "NotActivated", "az keyvault security-domain download --hsm-name ContosoMHSM", "init-recovery")
	c.do("POST /backup", sas).WantError(403, "Forbidden", "NotActivated", "security-domain download")
	c.do("GET /securitydomain/download/pending", nil).WantError(404, "NotFound", "")
	c.do("POST /securitydomain/upload", `{"value":"{}"}`).WantError(409, "Conflict", "NoExchangeKey", "az keyvault security-domain init-recovery --hsm-name ContosoMHSM")
	c.do("GET /securitydomain/upload", nil).Want(200)
	c.do("GET "+assignments, nil).WantError(403, "Forbidden", "NotActivated", "az keyvault security-domain upload --hsm-name ContosoMHSM")
	c.do("POST /securitydomain/download", hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)).WantError(403, "Forbidden", "NotActivated", "waiting for a security domain")
	c.do("POST /securitydomain/upload", `{"value":"{}"}`).WantError(400, "BadParameter", "SecurityDomainRefused")
	c.do("POST /securitydomain/upload", `{"other":1}`).WantError(400, "BadParameter", "SecurityDomainRefused")
	d, err := s.HSM(hsmName).Status(t.Context())
	if err != nil || d.State != hsm.Recovering {
		t.Errorf("%+v, %v", d, err)
	}
}
