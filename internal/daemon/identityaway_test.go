package daemon

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/client"
)

// TestDeskIsClosed: nobody without the token gets anything done, and a browser does not even with it.
func TestDeskIsClosed(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	path := filepath.Join(dir, "data", "desk.json")
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", i, err)
	}
	body := `{"verb":"user add","name":"mallory"}`
	try := func(method, authorization, origin, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.names.origin("localhost")+"/redoubt/identity", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Authorization": authorization, "Origin": origin} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		resp, err := s.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	token := "Bearer " + s.deskToken
	for _, got := range []int{try("POST", "", "", body), try("POST", "Bearer ", "", body), try("POST", "Bearer x", "", body), try("POST", token, "https://evil.example", body),
		try("GET", token, "", ""), try("POST", "Bearer "+s.token("https://management.azure.com"), "", body)} {
		if got != http.StatusForbidden {
			t.Errorf("status %d", got)
		}
	}
	for _, bad := range []string{"", "{", `{"verb":"user add","surname":"x"}`, `{"verb":"user add","name":"` + strings.Repeat("a", deskBytes) + `"}`, `{"verb":"drop"}`} {
		if got := try("POST", token, "", bad); got != http.StatusBadRequest {
			t.Errorf("%.40q: status %d", bad, got)
		}
	}
	// What listens on the port of a server that was killed gets no order: it cannot show the certificate.
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("desk.json outlives the server")
	}
	asked := false
	stranger := plainServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	var at deskFile
	if err := json.Unmarshal(saved, &at); err != nil {
		t.Fatal(err)
	}
	at.Address = stranger
	if saved, err = json.Marshal(at); err == nil {
		err = os.WriteFile(path, saved, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if all, err := verb[[]told](t, dir, "", "user", "list"); err != nil || len(all) != 1 || asked {
		t.Errorf("%+v, %v, asked %v", all, err, asked)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestDisabledIsRefusedEverywhere: a token from before is refused at every edge as soon as its principal has been
// disabled or removed, though it was used there a moment ago and is remembered; refresh tokens are dead too.
func TestDisabledIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	s.activate(s.create("contosomhsm"))
	s.bucket()
	edges := map[string]string{ // the resource, and what is asked there
		"https://managedhsm.azure.net":     "https://contosomhsm.managedhsm.azure.net/keys?api-version=7.5",
		"https://management.azure.com":     "https://management.azure.com/subscriptions?api-version=2022-12-01",
		"https://graph.microsoft.com":      "https://graph.microsoft.com/v1.0/users",
		"https://storage.azure.com":        "https://contosobackup.blob.core.windows.net/" + box + "?restype=container&comp=list",
		s.names.origin("localhost"):        s.names.origin("localhost") + "/subscriptions?api-version=2022-12-01",
		"https://managedhsm.azure.net////": "https://contosomhsm.managedhsm.azure.net/keys?api-version=7.6",
	}
	alice := does(t, dir, "", "user", "add", "alice")
	app := does(t, dir, "", "app", "add", "signer")
	const cli = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	refresh := s.ask("grant_type", "password", "client_id", cli, "username", alice.UserPrincipalName, "password", alice.Password)["refresh_token"]
	text, _ := refresh.(string)
	renew := func() float64 {
		return number(s.ask("grant_type", "refresh_token", "client_id", cli, "refresh_token", text))
	}
	s.wants("refresh", renew(), 0)
	type key struct{ who, resource string }
	tokens := map[key]string{}
	for resource := range edges {
		scope := resource + "/.default"
		a := s.ask("grant_type", "password", "client_id", cli, "username", alice.UserPrincipalName, "password", alice.Password, "scope", scope)
		b := s.ask("grant_type", "client_credentials", "client_id", app.AppID, "client_secret", app.Password, "scope", scope)
		for who, answer := range map[string]map[string]any{"user": a, "app": b} {
			token, _ := answer["access_token"].(string)
			if token == "" {
				t.Fatalf("no token for %s: %v", resource, answer)
			}
			tokens[key{who, resource}] = token
		}
	}
	all := func(what string, want bool) {
		t.Helper()
		for k, token := range tokens {
			// 403: the token was believed, its principal has no role there.
			status, body := s.get(edges[k.resource], token)
			if believed := status == 200 || status == 403; believed != want || !want && status != 401 {
				t.Errorf("%s: %s at %s: %d %.200s", what, k.who, k.resource, status, body)
			}
		}
	}
	all("before", true)
	does(t, dir, "", "user", "disable", "alice")
	does(t, dir, "", "app", "disable", "signer")
	all("disabled", false)
	s.wants("refresh, disabled", renew(), 50057)
	does(t, dir, "", "user", "enable", "alice")
	does(t, dir, "", "app", "enable", "signer")
	all("enabled", true)
	s.wants("refresh, enabled", renew(), 50173)
	does(t, dir, "", "user", "remove", "alice")
	does(t, dir, "", "app", "remove", "signer")
	all("removed", false)
	s.wants("refresh, removed", renew(), 50173)
}

// TestSecretsStayOut: no password, secret, assertion or token is in the log, in an audit file, or anywhere in the
// data; secrets are where they must be, in credentials.json and env.sh, and there only the first two.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	s := start(t, DevConfig{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	dir := s.cfg.Dir
	h := s.create("contosomhsm")
	s.activate(h)
	alice, app := does(t, dir, "", "user", "add", "alice"), does(t, dir, "", "app", "add", "signer")
	secrets := []string{alice.Password, app.Password, "canary-password-typed", "canary-wrong-password", "canary-wrong-secret", s.deskToken}
	does(t, dir, "canary-password-typed", "user", "add", "bob", "--password-file", "-")
	secrets = append(secrets, does(t, dir, "", "app", "rotate-secret", "signer").Password)
	s.userSignIn("bob@contoso.onmicrosoft.com", "canary-wrong-password")
	s.appSignIn(app.AppID, "canary-wrong-secret")
	a := s.ask("grant_type", "password", "client_id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "username", alice.UserPrincipalName, "password", alice.Password)
	for _, k := range []string{"access_token", "refresh_token", "id_token"} {
		token, _ := a[k].(string)
		secrets = append(secrets, token)
	}
	assertion := "eyJhbGciOiJSUzI1NiIsIng1dCI6ImNhbmFyeSJ9.eyJpc3MiOiJjYW5hcnktYXNzZXJ0aW9uIn0.Y2FuYXJ5"
	s.ask("grant_type", "client_credentials", "client_id", app.AppID, "client_assertion", assertion, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	secrets = append(secrets, assertion, "canary-assertion")
	must[[]client.KeyItem](t)(h.ListKeys(t.Context()))
	s.stop()
	places := map[string][]byte{"the log": log.bytes()}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		places[path] = b
		return err
	})
	if err != nil || len(places) < 8 || !bytes.Contains(places["the log"], []byte("user add")) {
		t.Fatalf("%d places, %v", len(places), err)
	}
	for place, b := range places {
		for _, secret := range secrets {
			if secret == "" || bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s has %.12q", place, secret)
			}
		}
	}
}

// TestOrdersAreOnRecord: the control plane's audit log has every order of a running server and of a stopped one, and
// its chain holds.
func TestOrdersAreOnRecord(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	does(t, dir, "", "user", "add", "alice")
	fails(t, dir, "already exists", "user", "add", "alice")
	s.stop()
	does(t, dir, "", "app", "add", "signer", "--no-secret")
	does(t, dir, "", "app", "add-federated", "signer", "--name", "f", "--issuer", "https://issuer.example", "--subject", "sub")
	s = start(t, DevConfig{Dir: dir})
	does(t, dir, "", "user", "set-password", "operator")
	s.stop()
	entries, _ := entriesOf(t, devPlace(dir).audit(trailName))
	var said []string
	for _, e := range entries {
		if strings.HasPrefix(e.Operation, "Identity") {
			said = append(said, strings.TrimSpace(e.Operation+" "+e.Result+" "+e.Target+" "+e.Details["subject"]))
		}
	}
	want := []string{"IdentityUserAdd Started alice", "IdentityUserAdd Success alice", "IdentityUserAdd Started alice", "IdentityUserAdd Failed alice",
		"IdentityAppAdd Started signer", "IdentityAppAdd Success signer", "IdentityAppAddFederated Started signer sub", "IdentityAppAddFederated Success signer sub",
		"IdentityUserSetPassword Started operator", "IdentityUserSetPassword Success operator"}
	if !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}
