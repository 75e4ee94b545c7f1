package dataplane_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
)

// setNetwork changes the network rules of the site's HSM by way of the control plane.
func setNetwork(w *hsmtest.Web, properties string) {
	w.T.Helper()
	path := "/subscriptions/" + w.Account.Subscription.ID + "/resourceGroups/ContosoResourceGroup/providers/Microsoft.KeyVault/managedHSMs/" + hsmName
	w.Do(hsmtest.Ask{Method: "PATCH", Host: "management.azure.com", Path: path + "?api-version=2026-02-01", Token: w.Token(w.Account.User.ObjectID, hsmtest.Control), Body: `{"properties":` + properties + `}`}).Want(200)
}

const denyAll = `{"networkAcls":{"defaultAction":"Deny"}}`

// TestEveryOperationIsBehindTheNetworkRules: whoever is kept out can do nothing, whatever their roles and the
// request, and it is on record. The control plane is not behind the rules: an administrator who locked everybody out
// undoes it there.
func TestEveryOperationIsBehindTheNetworkRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	setNetwork(w, denyAll)
	admin := as(w, hsmtest.Admin)
	want := make(map[string]string) // operation by request id
	asked := samples(string(hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)))
	for _, row := range hsm.Table() {
		st := asked[row.Route]
		a := admin.do(strings.ReplaceAll(st.target, "{key}", "k"), st.body)
		a.WantError(403, "Forbidden", "ForbiddenByFirewall",
			"Client address is not authorized and caller is not a trusted service.\r\nClient address: 127.0.0.1\r\nCaller: oid="+hsmtest.Admin,
			"az keyvault network-rule add --hsm-name ContosoMHSM --ip-address 127.0.0.1", "Activity ID")
		want[a.Header.Get("X-Ms-Request-Id")] = row.Name
	}
	for _, target := range []string{"GET /keys/none?api-version=1", "GET /keys/none?api-version=", "GET /no/such/route", "POST /keys//create", "GET /"} {
		admin.do(target, nil).WantError(403, "Forbidden", "ForbiddenByFirewall")
	}
	admin.do("POST /keys/k/create", "not JSON").WantError(403, "Forbidden", "ForbiddenByFirewall")

	// Who has no token is asked for one first: clients begin so, and the refusal names the caller.
	a := as(w, "").do("GET /keys", nil).Want(401)
	if !strings.HasPrefix(a.Header.Get("Www-Authenticate"), "Bearer ") {
		t.Errorf("no challenge: %v", a.Header)
	}
	w.Do(hsmtest.Ask{Method: "GET", Host: host, Path: "/keys?" + version, Token: "x.y.z"}).Want(401)

	setNetwork(w, `{"networkAcls":{"ipRules":[{"value":"127.0.0.0/8"},{"value":"::1"}]}}`)
	admin.do("GET /settings", nil).Want(200)
	setNetwork(w, `{"publicNetworkAccess":"Disabled"}`)
	admin.do("GET /settings", nil).WantError(403, "Forbidden", "ForbiddenByConnection", "Public network access is disabled", "az keyvault update-hsm --hsm-name ContosoMHSM --public-network-access Enabled")
	setNetwork(w, `{"publicNetworkAccess":"Enabled"}`)
	admin.do("GET /settings", nil).Want(200)

	_, entries := audited(t, s, d.ID())
	for _, e := range entries {
		name, ok := want[e.RequestID]
		if !ok {
			continue
		}
		delete(want, e.RequestID)
		if e.Operation != name || e.Result != "Denied" || e.Status != 403 || e.Principal != hsmtest.Admin || e.CallerIP != "127.0.0.1" || e.Version != "2026-04-01" ||
			!strings.HasPrefix(e.RequestURI, "https://"+host) || !strings.Contains(e.Reason, "Client address: 127.0.0.1") {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if len(want) > 0 {
		t.Errorf("without an entry: %v", want)
	}
}

// TestRefusalsByNetworkAreFew: they cannot fill the disk.
func TestRefusalsByNetworkAreFew(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	setNetwork(w, denyAll)
	h, token := s.DataPlane(), s.Token(hsmtest.Admin, hsmtest.Devices)
	for range 1000 {
		if got := from(t, h, token, "198.51.100.1:443"); got != http.StatusForbidden {
			t.Fatalf("status %d", got)
		}
	}
	if _, entries := audited(t, s, d.ID()); len(entries) > 300 {
		t.Errorf("%d entries", len(entries))
	}
}

// from asks for the settings from an address, as net/http gives it.
func from(t *testing.T, h http.Handler, token, remote string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/settings?"+version, nil)
	r.RemoteAddr = remote
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-Forwarded-For", "10.1.2.3") // believed from nobody
	r.Header.Set("Forwarded", "for=10.1.2.3")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Code
}

// TestClientAddresses: the address that counts is that of the connection, in whatever form it comes.
func TestClientAddresses(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	setNetwork(w, `{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"10.1.0.0/16"},{"value":"2001:db8::/32"},{"value":"fe80::/10"},{"value":"203.0.113.7"}]}}`)
	token := s.Token(hsmtest.Admin, hsmtest.Devices)
	for _, when := range []string{"set", "after a restart"} {
		h := s.DataPlane()
		for remote, want := range map[string]int{
			"10.1.0.1:1": 200, "10.1.255.255:65535": 200, "[::ffff:10.1.2.3]:443": 200, "[2001:db8::1]:443": 200, "[fe80::1%eth0]:443": 200, "203.0.113.7:1": 200,
			"10.2.0.1:1": 403, "127.0.0.1:1": 403, "[::1]:1": 403, "203.0.113.8:1": 403, "[2001:db9::1]:443": 403, "": 403, "@": 403, "10.1.0.1": 403, "pipe": 403,
		} {
			if got := from(t, h, token, remote); got != want {
				t.Errorf("%s: from %q: %d, want %d", when, remote, got, want)
			}
		}
		s.Restart()
	}
}

// TestNetworkRulesOfEachHSM: one HSM's rules are nothing to another, and they stay with the resource.
func TestNetworkRulesOfEachHSM(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	s.Active("OtherMHSM")
	w := s.Serve()
	setNetwork(w, denyAll)
	ask := func(label string) int {
		return w.Do(hsmtest.Ask{Method: "GET", Host: label + ".managedhsm.azure.net", Path: "/settings?" + version, Token: s.Token(hsmtest.Admin, hsmtest.Devices)}).Status
	}
	if got := fmt.Sprint(ask("contosomhsm"), ask("CONTOSOMHSM"), ask("othermhsm")); got != "403 403 200" {
		t.Errorf("after the change: %s", got)
	}
	if _, err := s.Delete(t.Context(), hsmName); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recover(t.Context(), hsmName); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(ask("contosomhsm"), ask("othermhsm")); got != "403 200" {
		t.Errorf("after deletion and recovery: %s", got)
	}
}

// TestRestoreLeavesTheNetworkRules: the rules are the resource's and stay through a restore; the settings are content
// and come back.
func TestRestoreLeavesTheNetworkRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	ctx, admin := t.Context(), hsmtest.Caller(hsmtest.Admin)
	allow := func(value string) {
		if _, err := d.UpdateSetting(ctx, admin, hsm.SettingARMKeys, value); err != nil {
			t.Fatal(err)
		}
	}
	run := func(j hsm.Job, err error) hsm.Job {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		poll := d.BackupStatus
		if j.Kind != hsm.KindBackup {
			poll = d.RestoreStatus
		}
		if j = s.Wait(poll, j.ID); j.Status != hsm.JobSucceeded {
			t.Fatalf("%+v", j)
		}
		return j
	}
	target := hsm.Target{URI: storage, SAS: func() string { return "sp=crdwl&sig=abcdefgh" }}
	allow("true")
	setNetwork(w, `{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"127.0.0.0/8"},{"value":"::1"}]}}`)
	old := run(d.StartBackup(ctx, admin, target))
	allow("false")
	setNetwork(w, `{"networkAcls":{"ipRules":[]}}`)
	s.Clock.Advance(time.Second)
	run(d.StartBackup(ctx, admin, target))
	run(d.StartRestore(ctx, admin, target, old.FolderURL[strings.LastIndexByte(old.FolderURL, '/')+1:]))
	as(w, hsmtest.Admin).do("GET /settings", nil).WantError(403, "Forbidden", "ForbiddenByFirewall")
	st, err := d.GetSetting(ctx, admin, hsm.SettingARMKeys)
	if err != nil || st.Value != "true" {
		t.Errorf("the setting: %+v, %v", st, err)
	}
}
