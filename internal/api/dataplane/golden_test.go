package dataplane_test

import (
	"context"
	"crypto/sha256"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
)

// Bodies as they go over the wire, byte for byte. The clock stands at 1767323045 (2026-01-02T03:04:05Z); a
// retention of 28 days ends at 1769742245.
const (
	attributes    = `{"enabled":true,"created":1767323045,"updated":1767323045,"recoveryLevel":"CustomizedRecoverable+Purgeable","recoverableDays":28,"exportable":false,"hsmPlatform":"0"}`
	octAttributes = `{"enabled":true,"created":1767323045,"updated":1767323045,"recoveryLevel":"CustomizedRecoverable+Purgeable","recoverableDays":28,"exportable":false,"hsmPlatform":"0","key_size":256}`
	keys          = "https://" + host + "/keys/"
	rsaKey        = `{"key":{"kid":"` + keys + `Rsa/{v}","kty":"RSA-HSM","key_ops":["decrypt","encrypt","unwrapKey","sign","verify","wrapKey"],"n":"{b64}","e":"AQAB"},"attributes":` + attributes + `,"tags":{"a":"b"}}`
	ecKey         = `{"key":{"kid":"` + keys + `ec/{v}","kty":"EC-HSM","key_ops":["sign","verify"],"crv":"P-256","x":"{b64}","y":"{b64}"},"attributes":` + attributes + `}`
	octKey        = `{"key":{"kid":"` + keys + `oct/{v}","kty":"oct-HSM","key_ops":["decrypt","encrypt","unwrapKey","sign","verify","wrapKey"]},"attributes":` + octAttributes + `}`
	deletion      = `,"recoveryId":"https://` + host + `/deletedkeys/ec","deletedDate":1767323045,"scheduledPurgeDate":1769742245}`
	setting       = `{"name":"AllowKeyManagementOperationsThroughARM","value":"false","type":"boolean"}`
	allowed       = `,{"name":"AllowRSA15","value":"true","type":"boolean"},{"name":"AllowRSAOAEPSHA1","value":"true","type":"boolean"},{"name":"AllowAESCBC","value":"true","type":"boolean"}`
	importEC      = `{"Hsm":true,"key":{"kty":"EC","crv":"P-256","key_ops":["sign","verify"],"d":"AQ","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"},"attributes":{"enabled":true}}`
	guid          = "0a0a0a0a-1b1b-4c1c-8d1d-2e2e2e2e2e2e"
	assignments   = "/providers/Microsoft.Authorization/roleAssignments"
	definitions   = "/providers/Microsoft.Authorization/roleDefinitions"
	userRole      = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b"
	assignment    = `{"id":"` + assignments + `/` + guid + `","name":"` + guid + `","properties":{"principalId":"` + hsmtest.Stranger + `","roleDefinitionId":"` + userRole + `","scope":"/"},"type":"Microsoft.Authorization/roleAssignments"}`
	definition    = `{"id":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/` + guid + `","name":"` + guid + `","properties":{"roleName":"Reader","description":"reads","type":"CustomRole","permissions":[{"actions":[],"notActions":[],"dataActions":["Microsoft.KeyVault/managedHsm/keys/read/action"],"notDataActions":[]}],"assignableScopes":["/"]},"type":"Microsoft.Authorization/roleDefinitions"}`
	storage       = "https://contosobackup.blob.core.windows.net/mhsmbackupcontainer"
	sas           = `{"storageResourceUri":"` + storage + `","token":"sp=crdwl&sig=abcdefgh"}`
)

// What a client sent in the members that the service owns is not in it.
const rotationPolicy = `{"id":"` + keys + `Rsa/rotationpolicy","lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P90D","created":1767323045,"updated":1767323045}}`

var digest = b64(sha256.New().Sum(nil))

// goldenStep is one request and the answer to it. A row of hsm.Table is covered by the step that names it.
type goldenStep struct {
	route  string // as in hsm.Table; "" for another look at a covered one
	who    string
	target string
	body   string
	status int
	want   string
}

func goldenSteps(download string) []goldenStep {
	user, admin, officer := hsmtest.User, hsmtest.Admin, hsmtest.Officer
	return []goldenStep{
		{"POST /securitydomain/download", admin, "POST /securitydomain/download", download, 202, `{"value":"{json}","status":"InProgress"}`},
		{"GET /securitydomain/download/pending", admin, "GET /securitydomain/download/pending", "", 200, `{"status":"Success","status_details":"{text}"}`},
		{"GET /securitydomain/upload/pending", admin, "GET /securitydomain/upload/pending", "", 200, `{"status":"Success","status_details":"{text}"}`},

		{"", admin, "PUT " + assignments + "/11111111-2222-4333-8444-555555555501", `{"properties":{"principalId":"` + user + `","roleDefinitionId":"/` + userRole + `"}}`, 201, `{"id":"{text}","name":"{text}","properties":{"principalId":"` + user + `","roleDefinitionId":"` + userRole + `","scope":"/"},"type":"Microsoft.Authorization/roleAssignments"}`},
		{"", admin, "PUT " + assignments + "/11111111-2222-4333-8444-555555555502", `{"properties":{"principalId":"` + officer + `","roleDefinitionId":"515eb02d-2335-4d2d-92f2-b1cbdf9c3778"}}`, 201, `{{json}}`},

		{"POST /keys/{key-name}/create", user, "POST /keys/Rsa/create", `{"kty":"RSA","key_size":2048,"tags":{"a":"b"},"attributes":{"enabled":true}}`, 200, rsaKey},
		{"", user, "POST /keys/ec/create", `{"kty":"EC","crv":"P-256"}`, 200, ecKey},
		{"", user, "POST /keys/oct/create", `{"kty":"oct-HSM","key_size":256}`, 200, octKey},
		{"GET /keys/{key-name}/{key-version}", user, "GET /keys/rsa", "", 200, rsaKey},
		{"", user, "GET /keys/RSA/", "", 200, rsaKey},
		{"PATCH /keys/{key-name}/{key-version}", user, "PATCH /keys/ec/", `{"attributes":{"enabled":true}}`, 200, ecKey},
		{"GET /keys", user, "GET /keys", "", 200, `{"value":[{"kid":"` + keys + `ec","attributes":` + attributes + `},{"kid":"` + keys + `oct","attributes":` + octAttributes + `},{"kid":"` + keys + `Rsa","attributes":` + attributes + `,"tags":{"a":"b"}}],"nextLink":null}`},
		{"GET /keys/{key-name}/versions", user, "GET /keys/ec/versions", "", 200, `{"value":[{"kid":"` + keys + `ec/{v}","attributes":` + attributes + `}],"nextLink":null}`},

		{"GET /keys/{key-name}/rotationpolicy", user, "GET /keys/RSA/rotationpolicy", "", 200, `{"id":"` + keys + `Rsa/rotationpolicy","lifetimeActions":[],"attributes":{}}`},
		{"PUT /keys/{key-name}/rotationpolicy", user, "PUT /keys/rsa/rotationpolicy", `{"id":"x","lifetimeActions":[{"trigger":{"timeAfterCreate":"P18M","timeBeforeExpiry":null},"action":{"type":"rotate"}}],"attributes":{"expiryTime":"P90D","created":1}}`, 200, rotationPolicy},
		{"", user, "GET /keys/rsa/rotationPolicy", "", 200, rotationPolicy},
		{"", user, "GET /keys/rsa/rotationPolicy?api-version=7.4", "", 200, strings.Replace(rotationPolicy, "Rotate", "rotate", 1)},
		{"POST /keys/{key-name}/rotate", user, "POST /keys/rsa/rotate", "", 200, strings.Replace(rsaKey, `"enabled":true,`, `"enabled":true,"exp":1775099045,`, 1)},
		{"", user, "PUT /keys/rsa/rotationpolicy", `{"lifetimeActions":[],"attributes":{}}`, 200, `{"id":"` + keys + `Rsa/rotationpolicy","lifetimeActions":[],"attributes":{}}`},

		{"POST /keys/{key-name}/{key-version}/sign", user, "POST /keys/ec//sign", `{"alg":"ES256","value":"` + digest + `"}`, 200, `{"kid":"` + keys + `ec/{v}","value":"{b64}"}`},
		{"POST /keys/{key-name}/{key-version}/verify", user, "POST /keys/ec//verify", `{"alg":"ES256","digest":"` + digest + `","value":"` + b64(make([]byte, 64)) + `"}`, 200, `{"value":false}`},
		{"POST /keys/{key-name}/{key-version}/encrypt", user, "POST /keys/oct//encrypt", `{"alg":"A256GCM","value":"` + digest + `","aad":"AAAA"}`, 200, `{"kid":"` + keys + `oct/{v}","value":"{b64}","iv":"{b64}","tag":"{b64}","aad":"AAAA"}`},
		{"POST /keys/{key-name}/{key-version}/decrypt", user, "POST /keys/oct/decrypt", `{"alg":"A256CBC","value":"` + b64(make([]byte, 16)) + `","iv":"` + b64(make([]byte, 16)) + `"}`, 200, `{"kid":"` + keys + `oct/{v}","value":"{b64}"}`},
		{"POST /keys/{key-name}/{key-version}/wrapkey", user, "POST /keys/Rsa/wrapKey", `{"alg":"RSA-OAEP-256","value":"` + digest + `"}`, 200, `{"kid":"` + keys + `Rsa/{v}","value":"{b64}"}`},
		{"POST /rng", user, "POST /rng", `{"count":16}`, 200, `{"value":"{b64}"}`},

		{"PUT /keys/{key-name}", user, "PUT /keys/ec", importEC, 200, ecKey},
		{"POST /keys/{key-name}/backup", user, "POST /keys/ec/backup", "", 200, `{"value":"{b64}"}`},
		{"DELETE /keys/{key-name}", user, "DELETE /keys/EC", "", 200, strings.TrimSuffix(ecKey, "}") + deletion},
		{"GET /deletedkeys/{key-name}", officer, "GET /deletedKeys/ec", "", 200, strings.TrimSuffix(ecKey, "}") + deletion},
		{"GET /deletedkeys", officer, "GET /deletedkeys", "", 200, `{"value":[{"kid":"` + keys + `ec","attributes":` + attributes + deletion + `],"nextLink":null}`},
		{"POST /deletedkeys/{key-name}/recover", officer, "POST /deletedkeys/ec/recover", "", 200, ecKey},
		{"", user, "DELETE /keys/ec", "", 200, strings.TrimSuffix(ecKey, "}") + deletion},
		{"DELETE /deletedkeys/{key-name}", officer, "DELETE /deletedkeys/ec", "", 204, ""},

		{"PUT /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", admin, "PUT //" + assignments + "/" + strings.ToUpper(guid), `{"properties":{"principalId":"` + hsmtest.Stranger + `","roleDefinitionId":"` + userRole + `"}}`, 201, assignment},
		{"GET /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", admin, "GET //" + assignments + "/" + guid, "", 200, assignment},
		{"GET /{scope}/providers/Microsoft.Authorization/roleAssignments", admin, "GET //" + assignments + "?" + version + "&$filter=principalId+eq+%27" + hsmtest.Stranger + "%27", "", 200, `{"value":[` + assignment + `]}`},
		{"DELETE /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", admin, "DELETE //" + assignments + "/" + guid, "", 200, assignment},
		{"PUT /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}", admin, "PUT //" + definitions + "/" + guid, `{"properties":{"roleName":"Reader","description":"reads","type":"CustomRole","permissions":[{"dataActions":["Microsoft.KeyVault/managedHsm/keys/read/action"]}],"assignableScopes":["/"]}}`, 201, definition},
		{"GET /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}", admin, "GET " + definitions + "/" + guid, "", 200, definition},
		{"GET /{scope}/providers/Microsoft.Authorization/roleDefinitions", admin, "GET " + definitions, "", 200, `{"value":[{"id":{json}]}`},
		{"DELETE /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}", admin, "DELETE " + definitions + "/" + guid, "", 200, definition},

		{"GET /settings", admin, "GET /settings", "", 200, `{"settings":[` + setting + allowed + `]}`},
		{"GET /settings/{setting-name}", admin, "GET /settings/AllowKeyManagementOperationsThroughARM", "", 200, setting},
		{"PATCH /settings/{setting-name}", admin, "PATCH /settings/allowkeymanagementoperationsthroughARM", `{"value":"true"}`, 200, strings.Replace(setting, "false", "true", 1)},
	}
}

// TestGolden goes through every operation that needs no recovery or storage, and TestGoldenRecovery and TestGoldenJobs
// through the others; covered makes sure that none is forgotten.
func TestGolden(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	w := s.Serve()
	for _, st := range goldenSteps(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2))) {
		var body any
		if st.body != "" {
			body = st.body
		}
		a := as(w, st.who).do(st.target, body)
		if a.Status != st.status {
			t.Fatalf("%s: %d %s, want %d", st.target, a.Status, a.Body, st.status)
		}
		if st.target != "GET "+definitions && !strings.Contains(st.want, "{{json}}") {
			same(t, a, st.want)
		}
		goldenHeaders(t, st.target, a)
	}
}

// goldenHeaders are those of every success.
func goldenHeaders(t *testing.T, what string, a hsmtest.Answer) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-cache", "Content-Security-Policy": "default-src 'self'", "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "X-Ms-Keyvault-Region": "westus3"} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: header %s is %q, want %q", what, name, got, want)
		}
	}
	if a.Header.Get("X-Ms-Request-Id") == "" {
		t.Errorf("%s: no request id", what)
	}
	if got := a.Header.Get("X-Ms-Keyvault-Network-Info"); got != "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=Ipv4;" {
		t.Errorf("%s: network info %q", what, got)
	}
	if _, err := strconv.ParseUint(a.Header.Get("X-Ms-Server-Latency"), 10, 32); err != nil {
		t.Errorf("%s: latency %q", what, a.Header.Get("X-Ms-Server-Latency"))
	}
	managed := regexp.MustCompile(`(?i)^[A-Z]+ /*(securitydomain|(pre)?backup|(pre)?restore|settings|providers)\b`).MatchString(what)
	if _, there := a.Header["X-Ms-Build-Version"]; there != managed {
		t.Errorf("%s: build version %q", what, a.Header["X-Ms-Build-Version"])
	}
	if len(a.Body) > 0 && a.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%s: content type %q", what, a.Header.Get("Content-Type"))
	}
}

// TestBuiltInRoles: the list has them all, in the shape that clients index into.
func TestBuiltInRoles(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	var body struct {
		Value []struct {
			ID, Name, Type string
			Properties     struct {
				RoleName, Type   string
				AssignableScopes []string
				Permissions      []map[string][]string
			}
		}
	}
	as(s.Serve(), hsmtest.Admin).do("GET ///"+definitions[1:], nil).Want(200).JSON(&body)
	if len(body.Value) != 9 {
		t.Errorf("%d roles", len(body.Value))
	}
	for _, d := range body.Value {
		p := d.Properties
		if d.ID != "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"+d.Name || d.Type != "Microsoft.Authorization/roleDefinitions" ||
			p.Type != "AKVBuiltInRole" || len(p.AssignableScopes) != 1 || p.AssignableScopes[0] != "/" || len(p.Permissions) != 1 {
			t.Errorf("%+v", d)
		}
		for _, list := range []string{"actions", "notActions", "dataActions", "notDataActions"} {
			if p.Permissions[0][list] == nil {
				t.Errorf("%s: %s is not a list", p.RoleName, list)
			}
		}
	}
}

// TestGoldenRecovery is the ceremony on a fresh HSM, over the wire.
func TestGoldenRecovery(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	file := s.Activate(s.Provisioned("source"))
	s.Provisioned(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	a := c.do("GET /securitydomain/upload", nil).Want(200)
	same(t, a, `{"key_format":"jwk","transfer_key":"{json}"}`)
	var key struct {
		TransferKey string `json:"transfer_key"` // a text, not an object
	}
	a.JSON(&key)
	same(t, c.do("GET /securitydomain/upload/pending", nil).Want(200), `{"status":"InProgress","status_details":"{text}"}`)
	upload := map[string]string{"value": string(hsmtest.RestoreBlob(t, file, []byte(key.TransferKey)))}
	a = c.do("POST /securitydomain/upload", upload).Want(202)
	same(t, a, `{"status":"Success","status_details":"{text}"}`)
	lro(t, a, "https://ContosoMHSM.managedhsm.azure.net/securitydomain/upload/pending")
	a = c.do("GET /securitydomain/upload/pending", nil).Want(200)
	same(t, a, `{"status":"Success","status_details":"{text}"}`)
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After of a pending answer is %q", a.Header.Get("Retry-After"))
	}
	c.do("POST /securitydomain/upload", upload).WantError(409, "Conflict", "AlreadyActivated", "create a new HSM")
	c.do("GET /securitydomain/upload", nil).WantError(409, "Conflict", "AlreadyActivated")
	c.do("POST /securitydomain/upload", map[string]string{}).WantError(409, "Conflict", "AlreadyActivated")
}

// lro wants the two headers of a long-running operation. Its host has the letter case of the resource.
func lro(t *testing.T, a hsmtest.Answer, address string) {
	t.Helper()
	got := a.Header.Get("Azure-Asyncoperation")
	if !strings.HasPrefix(got, address) || a.Header.Get("Retry-After") != "1" {
		t.Errorf("Azure-AsyncOperation %q, Retry-After %q", got, a.Header.Get("Retry-After"))
	}
}

// TestGoldenJobs is backup, restore and selective restore, over the wire.
func TestGoldenJobs(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	as(c.Web, hsmtest.User).do("POST /keys/ec/create", `{"kty":"EC"}`).Want(200)
	id := func(a hsmtest.Answer) string { s, _ := a.Map()["jobId"].(string); return s }

	a := c.do("POST /backup", sas).Want(202)
	same(t, a, `{"azureStorageBlobContainerUri":null,"endTime":null,"error":null,"jobId":"{v}","startTime":1767323045,"status":"InProgress","statusDetails":null}`)
	lro(t, a, "https://ContosoMHSM.managedhsm.azure.net/backup/"+id(a)+"/pending")
	done := s.Wait(d.BackupStatus, id(a))
	a = c.do("GET /backup/"+id(a)+"/pending?api-version=", nil).Want(200) // polls come without api-version
	same(t, a, `{"azureStorageBlobContainerUri":"`+storage+`/mhsm-ContosoMHSM-2026010203040500","endTime":1767323045,"error":null,"jobId":"{v}","startTime":1767323045,"status":"Succeeded","statusDetails":"{text}"}`)
	if a.Header.Get("Retry-After") != "1" {
		t.Error("no Retry-After on a pending answer")
	}
	folder := done.FolderURL[strings.LastIndex(done.FolderURL, "/")+1:]

	a = c.do("PUT /restore", `{"sasTokenParameters":`+sas+`,"folderToRestore":"`+folder+`"}`).Want(202)
	same(t, a, `{"endTime":null,"error":null,"jobId":"{v}","startTime":1767323045,"status":"InProgress","statusDetails":null}`)
	lro(t, a, "https://ContosoMHSM.managedhsm.azure.net/restore/"+id(a)+"/pending")
	s.Wait(d.RestoreStatus, id(a))
	same(t, c.do("GET /restore/"+id(a)+"/pending", nil).Want(200), `{"endTime":1767323045,"error":null,"jobId":"{v}","startTime":1767323045,"status":"Succeeded","statusDetails":"{text}"}`)

	selective := `{"sasTokenParameters":` + sas + `,"folder":"` + folder + `"}`
	c.do("PUT /keys/ec/restore", selective).WantError(409, "Conflict", "", "az keyvault key delete --hsm-name ContosoMHSM --name ec")
	as(c.Web, hsmtest.User).do("DELETE /keys/ec", nil).Want(200)
	c.do("PUT /keys/ec/restore", selective).WantError(409, "Conflict", "ObjectIsDeletedButRecoverable", "purge")
	as(c.Web, hsmtest.Officer).do("DELETE /deletedkeys/ec", nil).Want(204)
	a = c.do("PUT /keys/ec/restore", selective).Want(202)
	same(t, a, `{"endTime":null,"error":null,"jobId":"{v}","startTime":1767323045,"status":"InProgress","statusDetails":null}`)
	lro(t, a, "https://ContosoMHSM.managedhsm.azure.net/restore/"+id(a)+"/pending")
	s.Wait(d.RestoreStatus, id(a))
	same(t, c.do("GET /restore/"+id(a)+"/pending", nil).Want(200), `{"endTime":1767323045,"error":null,"jobId":"{v}","startTime":1767323045,"status":"Succeeded","statusDetails":"{text}"}`)
	as(c.Web, hsmtest.User).do("GET /keys/ec", nil).Want(200)

	// A job that fails says so in its document, with the status 200.
	a = c.do("PUT /keys/other/restore", selective).Want(202)
	s.Wait(d.RestoreStatus, id(a))
	same(t, c.do("GET /restore/"+id(a)+"/pending", nil).Want(200), `{"endTime":1767323045,"error":{"code":"KeyNotFound","innererror":null,"message":"{text}"},"jobId":"{v}","startTime":1767323045,"status":"Failed","statusDetails":null}`)

	c.do("GET /backup/"+id(a)+"/pending", nil).WantError(404, "NotFound", "")
	c.do("GET /restore/..%2F/pending", nil).WantError(404, "NotFound", "")
}

// TestGoldenChecks is what stands before a backup and a restore. The body is optional, and each of its members.
func TestGoldenChecks(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	check := func(target, kind string, body any, head string, status func(context.Context, hsm.Caller, string) (hsm.Job, error)) {
		t.Helper()
		a := c.do(target, body).Want(202)
		same(t, a, `{`+head+`"endTime":null,"error":null,"jobId":"{v}","startTime":1767323045,"status":"InProgress","statusDetails":null}`)
		id, _ := a.Map()["jobId"].(string)
		lro(t, a, "https://ContosoMHSM.managedhsm.azure.net/"+kind+"/"+id+"/pending")
		goldenHeaders(t, target, a)
		s.Wait(status, id)
		same(t, c.do("GET /"+kind+"/"+id+"/pending", nil).Want(200), `{`+head+`"endTime":1767323045,"error":null,"jobId":"{v}","startTime":1767323045,"status":"Succeeded","statusDetails":"{text}"}`)
	}
	for _, body := range []any{nil, `{}`, `{"token":null,"storageResourceUri":null,"useManagedIdentity":false}`, sas} {
		check("POST /prebackup", "backup", body, `"azureStorageBlobContainerUri":null,`, d.BackupStatus)
	}
	c.do("PUT /prerestore", `{}`).WantError(400, "BadRequest", "NoRestorePoint", "az keyvault backup start")
	j := c.do("POST /backup", sas).Want(202)
	done := s.Wait(d.BackupStatus, j.Map()["jobId"].(string))
	folder := done.FolderURL[strings.LastIndex(done.FolderURL, "/")+1:]
	for _, body := range []any{nil, `{}`, `{"sasTokenParameters":null}`, `{"sasTokenParameters":` + sas + `}`, `{"sasTokenParameters":` + sas + `,"folderToRestore":"` + folder + `"}`} {
		check("PUT /prerestore", "restore", body, "", d.RestoreStatus)
	}
	c.do("PUT /prerestore", `{"folderToRestore":"`+folder+`"}`).WantError(400, "BadRequest", "", "sasTokenParameters")
	c.do("POST /prebackup?api-version=7.5", `{}`).WantError(404, "NotFound", "")
	c.do("PUT /prerestore?api-version=7.5", `{}`).WantError(404, "NotFound", "")
	c.do("POST /prebackup?api-version=7.6-preview.1", `{"unknown`).WantError(400, "BadParameter", "")
}

// TestEveryOperationIsCovered holds the tests of this file against the table of operations.
func TestEveryOperationIsCovered(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{"GET /securitydomain/upload": true, "POST /securitydomain/upload": true, "POST /backup": true, "GET /backup/{jobId}/pending": true,
		"PUT /restore": true, "GET /restore/{jobId}/pending": true, "PUT /keys/{keyName}/restore": true, "POST /prebackup": true, "PUT /prerestore": true, "POST /keys/{key-name}/{key-version}/unwrapkey": true, "POST /keys/restore": true}
	for _, st := range goldenSteps("") {
		covered[st.route] = true
	}
	for _, route := range goldenRelease {
		covered[route] = true
	}
	for _, row := range hsm.Table() {
		if !covered[row.Route] {
			t.Errorf("%s has no golden answer", row.Route)
		}
		delete(covered, row.Route)
	}
	delete(covered, "")
	for route := range covered {
		t.Errorf("%s is not an operation", route)
	}
}

// TestUnwrap: wrapping and unwrapping are inverse, through both forms of the path.
func TestUnwrap(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	c := as(s.Serve(), hsmtest.User)
	c.do("POST /keys/oct/create", `{"kty":"oct","key_size":128}`).Want(200)
	var r struct{ Kid, Value string }
	c.do("POST /keys/oct//wrapkey", `{"alg":"A128KW","value":"`+digest+`"}`).Want(200).JSON(&r)
	path := strings.TrimPrefix(r.Kid, "https://"+host)
	a := c.do("POST "+path+"/unwrapkey", `{"alg":"A128KW","value":"`+r.Value+`"}`).Want(200)
	same(t, a, `{"kid":"`+r.Kid+`","value":"`+digest+`"}`)
	c.do("POST "+path+"/unwrapkey", `{"alg":"A128KW","value":"`+b64(make([]byte, 40))+`"}`).WantError(http.StatusBadRequest, "BadParameter", "")
}
