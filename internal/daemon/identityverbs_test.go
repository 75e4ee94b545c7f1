package daemon

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// verb runs redoubtd identity with these arguments in this process and returns its JSON.
func verb[T any](t *testing.T, dir, stdin string, args ...string) (T, error) {
	t.Helper()
	var out, errOut bytes.Buffer
	c := command(&out, &errOut)
	c.SetArgs(append(append([]string{"identity"}, args...), "--data", dir))
	c.SetIn(strings.NewReader(stdin))
	err := c.ExecuteContext(t.Context())
	var v T
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &v)
	}
	if errOut.Len() > 0 {
		t.Errorf("%v said %q", args, errOut.String())
	}
	return v, err
}

// told is what the verbs tell about people and applications.
type told struct {
	ID, UserPrincipalName, AppID, DisplayName, Password, Tenant string
	AccountEnabled                                              bool
	Secrets                                                     int
	Certificates                                                []struct{ Thumbprint, ThumbprintSHA256 string }
	FederatedCredentials                                        []struct{ Name, Issuer, Subject string }
}

func does(t *testing.T, dir, stdin string, args ...string) told {
	t.Helper()
	v, err := verb[told](t, dir, stdin, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return v
}

func fails(t *testing.T, dir, words string, args ...string) {
	t.Helper()
	if _, err := verb[any](t, dir, "", args...); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%v: %v, want %q", args, err, words)
	}
}

// ask asks the token endpoint and returns the answer.
func (s *site) ask(form ...string) map[string]any {
	s.t.Helper()
	v := url.Values{"scope": {"https://managedhsm.azure.net/.default offline_access"}}
	for i := 0; i < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://login.microsoftonline.com/"+s.account.Tenant.ID+"/oauth2/v2.0/token", strings.NewReader(v.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var a map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		s.t.Fatal(err)
	}
	return a
}

// number is that of the error in an answer; 0 for none.
func number(a map[string]any) float64 {
	if codes, ok := a["error_codes"].([]any); ok {
		n, _ := codes[0].(float64)
		return n
	}
	return 0
}

func (s *site) userSignIn(name, password string) float64 {
	return number(s.ask("grant_type", "password", "client_id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "username", name, "password", password))
}

func (s *site) appSignIn(app, secret string) float64 {
	return number(s.ask("grant_type", "client_credentials", "client_id", app, "client_secret", secret))
}

func (s *site) wants(what string, got, want float64) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestIdentityVerbs: every verb does its work on a running server, which knows at once, and on a stopped one, which
// knows when it starts.
func TestIdentityVerbs(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	for _, running := range []bool{true, false} {
		at := func(do func()) { // does it to a stopped server, if that is what is tried
			if !running {
				s.stop()
			}
			do()
			if !running {
				s = start(t, DevConfig{Dir: dir})
			}
		}
		var alice, bob, app, bare told
		at(func() {
			alice = does(t, dir, "", "user", "add", "alice", "--display-name", "Alice A.")
			bob = does(t, dir, "correct horse battery\n", "user", "add", "bob@contoso.onmicrosoft.com", "--password-file", "-")
			app, bare = does(t, dir, "", "app", "add", "signer"), does(t, dir, "", "app", "add", "bare", "--no-secret")
		})
		if alice.DisplayName != "Alice A." || alice.UserPrincipalName != "alice@contoso.onmicrosoft.com" || len(alice.Password) < 30 || bob.Password != "" || bare.Password != "" ||
			app.Secrets != 1 || bare.Secrets != 0 || app.Tenant != s.account.Tenant.ID || !alice.AccountEnabled {
			t.Errorf("%+v\n%+v\n%+v\n%+v", alice, bob, app, bare)
		}
		s.wants("alice", s.userSignIn(alice.UserPrincipalName, alice.Password), 0)
		s.wants("bob", s.userSignIn("bob@contoso.onmicrosoft.com", "correct horse battery"), 0)
		s.wants("signer", s.appSignIn(app.AppID, app.Password), 0)
		s.wants("bare", s.appSignIn(bare.AppID, "x"), 7000215)

		var again, rotated, kept told
		at(func() {
			again = does(t, dir, "", "user", "set-password", "bob")
			rotated = does(t, dir, "", "app", "rotate-secret", "signer")
			kept = does(t, dir, "", "app", "rotate-secret", app.AppID, "--keep-old")
			does(t, dir, "", "user", "disable", alice.ID)
			does(t, dir, "", "app", "disable", "bare")
		})
		s.wants("bob's old password", s.userSignIn("bob@contoso.onmicrosoft.com", "correct horse battery"), 50126)
		s.wants("bob's new password", s.userSignIn("bob@contoso.onmicrosoft.com", again.Password), 0)
		s.wants("the first secret", s.appSignIn(app.AppID, app.Password), 7000215)
		s.wants("the second secret", s.appSignIn(app.AppID, rotated.Password), 0)
		s.wants("the third secret", s.appSignIn(app.AppID, kept.Password), 0)
		s.wants("alice, disabled", s.userSignIn(alice.UserPrincipalName, alice.Password), 50057)

		if all, err := verb[[]told](t, dir, "", "user", "list"); err != nil || len(all) != 3 {
			t.Errorf("%+v, %v", all, err)
		}
		at(func() {
			does(t, dir, "", "user", "enable", "alice")
			does(t, dir, "", "user", "remove", "bob")
			does(t, dir, "", "app", "remove", "signer")
		})
		s.wants("alice, enabled", s.userSignIn(alice.UserPrincipalName, alice.Password), 0)
		s.wants("bob, removed", s.userSignIn("bob@contoso.onmicrosoft.com", again.Password), 50126)
		s.wants("signer, removed", s.appSignIn(app.AppID, kept.Password), 700016)
		at(func() {
			does(t, dir, "", "user", "remove", "alice")
			does(t, dir, "", "app", "remove", bare.AppID)
		})
	}
}

// TestCredentialVerbs: certificates and federated credentials come and go; the private key stays in its file.
func TestCredentialVerbs(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	app := does(t, dir, "", "app", "add", "signer", "--no-secret")
	file := filepath.Join(t.TempDir(), "signer.pem")
	made := does(t, dir, "", "app", "add-certificate", "signer", "--create", file)
	if i, err := os.Stat(file); err != nil || i.Mode().Perm() != 0o600 || len(made.Certificates) != 1 || len(made.Certificates[0].Thumbprint) != 40 {
		t.Fatalf("%v, %v, %+v", i, err, made)
	}
	if _, err := tls.LoadX509KeyPair(file, file); err != nil {
		t.Errorf("the file does not hold a key and its certificate: %v", err)
	}
	fails(t, dir, "exists", "app", "add-certificate", "signer", "--create", file)
	if again := does(t, dir, "", "app", "add-certificate", app.AppID, "--file", file); len(again.Certificates) != 1 {
		t.Errorf("%+v", again)
	}
	fails(t, dir, "not found", "app", "remove-certificate", "signer", "00")
	if gone := does(t, dir, "", "app", "remove-certificate", "signer", made.Certificates[0].Thumbprint); len(gone.Certificates) != 0 {
		t.Errorf("%+v", gone)
	}
	jwks := filepath.Join(t.TempDir(), "keys.json")
	_, doc := s.get("https://login.microsoftonline.com/common/discovery/v2.0/keys", "")
	if err := os.WriteFile(jwks, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	fed := does(t, dir, "", "app", "add-federated", "signer", "--name", "prod", "--issuer", "https://issuer.example", "--subject", "system:serviceaccount:a:b")
	if len(fed.FederatedCredentials) != 1 || fed.FederatedCredentials[0].Subject != "system:serviceaccount:a:b" {
		t.Errorf("%+v", fed)
	}
	fails(t, dir, "already exists", "app", "add-federated", "signer", "--name", "prod", "--issuer", "https://issuer.example", "--subject", "x")
	if _, err := verb[any](t, dir, "", "issuer", "set", "https://issuer.example", "--jwks", jwks); err != nil {
		t.Error(err)
	}
	if all, err := verb[[]struct {
		Issuer string
		Keys   []string
	}](t, dir, "", "issuer", "list"); err != nil || len(all) != 1 || len(all[0].Keys) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := verb[any](t, dir, "", "issuer", "remove", "https://issuer.example"); err != nil {
		t.Error(err)
	}
	if got := does(t, dir, "", "app", "remove-federated", "signer", "prod"); len(got.FederatedCredentials) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestIdentityVerbsRefuse: what cannot be done is said, and nothing is changed.
func TestIdentityVerbsRefuse(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	empty, long := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "long")
	for file, text := range map[string]string{empty: "\n", long: strings.Repeat("a", 2000)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, state := range []string{"running", "stopped"} {
		fails(t, dir, "already exists", "user", "add", "operator")
		fails(t, dir, "not found", "user", "disable", "nobody")
		fails(t, dir, "not found", "app", "disable", "nothing")
		fails(t, dir, "name@domain", "user", "add", "a b@x")
		fails(t, dir, "not be empty", "user", "add", "carol", "--password-file", empty)
		fails(t, dir, "larger", "user", "add", "carol", "--password-file", long)
		fails(t, dir, "no such file", "user", "add", "carol", "--password-file", "/nonexistent")
		fails(t, dir, "no certificate", "app", "add-certificate", "redoubt-dev", "--file", empty)
		fails(t, dir, "not JSON", "issuer", "set", "https://issuer.example", "--jwks", long)
		fails(t, dir, "URL of an issuer", "app", "add-federated", "redoubt-dev", "--name", "x", "--issuer", "issuer", "--subject", "x")
		if _, err := verb[any](t, dir, "short\n", "user", "add", "carol", "--password-file", "-"); err == nil || !strings.Contains(err.Error(), "8 to 256") {
			t.Errorf("%s: %v", state, err)
		}
		if all, err := verb[[]told](t, dir, "", "user", "list"); err != nil || len(all) != 1 {
			t.Errorf("%s: %+v, %v", state, all, err)
		}
		s.stop()
	}
	fails(t, t.TempDir(), "no data of redoubtd dev", "user", "list")
}

// TestLastOwner: whoever is the last who can give roles is neither disabled nor removed.
func TestLastOwner(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	does(t, dir, "", "user", "disable", "operator")
	for _, v := range []string{"disable", "remove"} {
		fails(t, dir, "last Owner", "app", v, "redoubt-dev")
	}
	does(t, dir, "", "user", "enable", "operator")
	does(t, dir, "", "app", "remove", "redoubt-dev")
	for _, v := range []string{"disable", "remove"} {
		fails(t, dir, "last Owner", "user", v, "operator")
	}
	s = s.restart() // env.sh can do without the service principal
	s.wants("operator", s.userSignIn(s.account.User.UPN, s.secrets.Load().Password), 0)
}

// TestFirstCredentialsFollow: env.sh and credentials.json have the new secrets of the first two principals, also
// after a restart.
func TestFirstCredentialsFollow(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	dir := s.cfg.Dir
	upn, app := s.account.User.UPN, s.account.ServicePrincipal.AppID
	for _, state := range []string{"running", "stopped"} {
		if state == "stopped" {
			s.stop()
		}
		p, secret := does(t, dir, "", "user", "set-password", "operator").Password, does(t, dir, "", "app", "rotate-secret", "redoubt-dev").Password
		for range 2 { // as it is, and after a (re)start
			if s.Dev != nil {
				if s.Get("AZURE_PASSWORD") != p || s.Get("AZURE_CLIENT_SECRET") != secret {
					t.Errorf("%s: the environment has other secrets", state)
				}
				env, err := os.ReadFile(filepath.Join(dir, "env.sh"))
				if err != nil || !bytes.Contains(env, []byte(p)) || !bytes.Contains(env, []byte(secret)) {
					t.Errorf("%s: env.sh has other secrets, %v", state, err)
				}
				s.wants("password", s.userSignIn(upn, p), 0)
				s.wants("secret", s.appSignIn(app, secret), 0)
				s.stop()
			}
			s = start(t, DevConfig{Dir: dir})
		}
	}
}
