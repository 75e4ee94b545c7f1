package arm_test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/hsmtest"
)

// trail reads the control plane's audit log.
func trail(t *testing.T, s *hsmtest.Site) (out []audit.Entry) {
	t.Helper()
	if _, err := audit.VerifyFiles([]string{s.TrailFile()}, audit.Expect{Growing: true}, func(e audit.Entry) error { out = append(out, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestControlPlaneIsOnRecord: every change has an entry that it was begun and one with its outcome; refusals have one; reads
// that succeed have none.
func TestControlPlaneIsOnRecord(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	const write, del = "Microsoft.KeyVault/managedHSMs/write", "Microsoft.KeyVault/managedHSMs/delete"
	const purge = "Microsoft.KeyVault/locations/deletedManagedHsms/purge/action"
	const assign = group + "/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-999999999999"
	reader := `{"properties":{"roleDefinitionId":"acdd72a7-3385-48ef-bd42-f606fba81ae7","principalId":"` + hsmtest.Stranger + `","principalType":"User"}}`
	var want []string
	step := func(who client, target string, body any, status int, entries ...string) {
		t.Helper()
		a := who.do(target, body).Want(status)
		for _, e := range entries {
			want = append(want, a.Header.Get("X-Ms-Request-Id")+" "+e)
		}
	}
	change := func(target string, body any, status int, action string) {
		t.Helper()
		step(c, target, body, status, action+" Started 0", fmt.Sprint(action, " Success ", status))
	}
	change("PUT "+group, `{"location":"westus3"}`, 201, "Microsoft.Resources/subscriptions/resourceGroups/write")
	change("PUT "+mine, c.hsmBody(""), 200, write)
	change("PATCH "+mine, `{"tags":{"a":"b"}}`, 200, write)
	step(c, "PATCH "+mine, `{"properties":`, 400, write+" Started 0", write+" Failed 400")
	change("PUT "+identities+"x", `{"location":"westus3"}`, 201, "Microsoft.ManagedIdentity/userAssignedIdentities/write")
	change("DELETE "+identities+"x", nil, 200, "Microsoft.ManagedIdentity/userAssignedIdentities/delete")
	change("PUT "+assign, reader, 201, "Microsoft.Authorization/roleAssignments/write")
	change("DELETE "+assign, nil, 200, "Microsoft.Authorization/roleAssignments/delete")
	stranger := c.as(hsmtest.Stranger)
	step(stranger, "DELETE "+mine, nil, 403, del+" Denied 403")
	step(stranger, "GET "+mine, nil, 403, "Microsoft.KeyVault/managedHSMs/read Denied 403")
	step(c, "GET "+mine, nil, 200)
	step(c, "GET ~/nonsense", nil, 404, "UnknownOperation Failed 404")
	a := c.Do(hsmtest.Ask{Method: "DELETE", Host: host, Path: strings.Replace(mine, "~", c.sub(), 1) + "?" + version}).Want(401)
	want = append(want, a.Header.Get("X-Ms-Request-Id")+" Authentication Failed 401")
	change("DELETE "+mine, nil, 200, del)
	change("PUT "+mine, c.hsmBody(`,"createMode":"recover"`), 200, write)
	change("DELETE "+mine, nil, 200, del)
	change("POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/ContosoMHSM/purge", nil, 202, purge)

	got := trail(t, s)
	var said []string
	for _, e := range got {
		said = append(said, fmt.Sprint(e.RequestID, " ", e.Operation, " ", e.Result, " ", e.Status))
		known := e.Operation == "Authentication" || e.Principal == c.who || e.Principal == hsmtest.Stranger
		if !known || e.CallerIP != "127.0.0.1" || e.ClientInfo == "" || !strings.HasPrefix(e.RequestURI, "https://management.azure.com/") || e.Details["method"] == "" || e.Target == "" || e.Resource == nil || e.Resource.Tenant == "" {
			t.Errorf("%+v", e)
		}
		if strings.Contains(strings.ToLower(e.Target), "managedhsms/") && (e.Resource.Name != "ContosoMHSM" || e.Resource.Group != "ContosoResourceGroup" && e.Operation != purge || e.Resource.Type != "") {
			t.Errorf("%s is about %+v", e.Target, e.Resource)
		}
	}
	if !slices.Equal(said, want) {
		t.Errorf("the log says\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	detail := func(name string) (n int) {
		for _, e := range got {
			if e.Details[name] != "" {
				n++
			}
		}
		return n
	}
	if detail("createMode") != 1 || detail("principalId") != 2 || detail("created") != 1 {
		t.Error("the entries do not say what was made and who was given a role")
	}
}

// TestNoRecordNoChange: while the control plane's log takes nothing, nothing is changed; reads go on.
func TestNoRecordNoChange(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	if err := s.Trail.Close(); err != nil {
		t.Fatal(err)
	}
	before := s.State()
	for _, target := range []string{"DELETE " + mine, "PATCH " + mine, "DELETE " + group, "PUT " + identities + "x"} {
		c.do(target, `{"location":"westus3","tags":{"x":"y"}}`).WantError(503, "ServiceUnavailable", "AuditUnavailable", "audit log of the control plane")
	}
	c.do("GET "+mine, nil).Want(200)
	c.as(hsmtest.Stranger).do("GET "+mine, nil).Want(403)
	for k, v := range s.State() {
		if before[k] != v {
			t.Errorf("%s was changed", k)
		}
	}
}

// TestNoSecretOnRecord: of a body, a token or a query nothing gets into the control plane's log, nor into the server's.
func TestNoSecretOnRecord(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	log := new(lockedBuffer)
	s.Config.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	s.Restart()
	c := owner(s)
	n := 0
	canary := func() string { n++; return fmt.Sprintf("canary%03dcanary", n) }
	c.do("PUT "+group, `{"location":"westus3","tags":{"x":"`+canary()+`"}}`).Want(201)
	c.do("PUT "+mine, c.hsmBody(`,"secret":"`+canary()+`"`)).Want(200)
	for _, target := range []string{"PUT " + mine, "PATCH " + mine, "PUT " + identities + "x", "PUT " + accounts + "conta", "POST " + accounts + "conta/listKeys", "PUT " + group + "/providers/Microsoft.Authorization/roleAssignments/x",
		"POST ~/providers/Microsoft.KeyVault/checkMhsmNameAvailability", "PUT ~/nonsense", "GET " + mine} {
		for _, body := range []string{`{"location":"westus3","tags":{"x":"%s"},"secret":"%[1]s","properties":{"secret":"%[1]s"}}`, `{"secret":"%s"`, `["%s"]`} {
			for _, token := range []string{c.Token(c.who, hsmtest.Control), c.Token(hsmtest.Stranger, hsmtest.Control), canary() + "." + canary() + "." + canary(), ""} {
				s.Clock.Advance(250e6)
				method, path, _ := strings.Cut(target, " ")
				c.Do(hsmtest.Ask{Method: method, Host: host, Path: strings.Replace(path, "~", c.sub(), 1) + "?" + version + "&sig=" + canary() + "&" + canary(), Token: token, Body: fmt.Sprintf(body, canary())})
			}
		}
	}
	if got := trail(t, s); len(got) < 100 {
		t.Errorf("%d entries: that is hardly all", len(got))
	}
	raw, err := os.ReadFile(s.TrailFile())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]string{"audit file": string(raw), "log": log.String()} {
		if i := strings.Index(b, "canary"); i >= 0 {
			t.Errorf("the %s has a secret: ...%s", name, b[max(0, i-300):min(len(b), i+100)])
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestLongPathsOnRecord: a request for a place with an endless name, which anybody with a token can send, leaves an entry
// of bounded size, so that the log can be opened again.
func TestLongPathsOnRecord(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	stranger := owner(s).as(hsmtest.Stranger)
	long := "~/resourceGroups/" + strings.Repeat("&", 60<<10) // six bytes each in JSON
	for _, path := range []string{long, long + "/providers/Microsoft.KeyVault/managedHSMs/x", long + "/providers/Microsoft.Authorization/roleAssignments"} {
		stranger.do("GET "+path, nil).Want(403)
	}
	if err := s.Trail.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(s.TrailFile())
	if err != nil {
		t.Fatalf("the server does not start again: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	for _, e := range trail(t, s) {
		if n := len(e.Append(nil)); n > 64<<10 {
			t.Errorf("the entry of %s has %d bytes", e.Operation, n)
		}
	}
}
