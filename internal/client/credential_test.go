package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/client"
)

func transport(h http.HandlerFunc) *http.Client { return &http.Client{Transport: wire{h}} }

func secretly(s string) func() string { return func() string { return s } }

func TestClientSecret(t *testing.T) {
	t.Parallel()
	h := transport(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "https://login.microsoftonline.com/ten/oauth2/v2.0/token" {
			t.Errorf("asked %s", r.URL)
		}
		if r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("client_secret") != "s3cret" || r.PostFormValue("scope") != "https://managedhsm.azure.net/.default" {
			t.Errorf("form %v", r.PostForm)
		}
		answer(w, 200, `{"access_token":"tok","expires_in":3600}`)
	})
	c := client.ClientSecret{HTTP: h, Tenant: "ten", ClientID: "app", Secret: secretly("s3cret")}
	token, expires, err := c.Token(t.Context(), "https://managedhsm.azure.net/")
	if err != nil || token != "tok" || time.Until(expires) < 59*time.Minute {
		t.Errorf("%q, %s, %v", token, expires, err)
	}
	if s := fmt.Sprintf("%+v", c); strings.Contains(s, "s3cret") {
		t.Errorf("printing shows the secret: %s", s)
	}
}

func TestSignInRefused(t *testing.T) {
	t.Parallel()
	h := transport(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 401, `{"error":"invalid_client","error_description":"AADSTS7000215: wrong secret.\r\nTrace ID: x"}`)
	})
	_, _, err := client.UserPassword{HTTP: h, Authority: "https://localhost:8443/adfs", Username: "u", Password: secretly("p4ss")}.Token(t.Context(), "https://r")
	if !errors.Is(err, client.ErrSignIn) || !strings.HasSuffix(err.Error(), "wrong secret.") || strings.Contains(err.Error(), "p4ss") {
		t.Errorf("error %v", err)
	}
	_, _, err = client.ClientSecret{Authority: "http://login.example", Secret: secretly("x")}.Token(t.Context(), "https://r")
	if !errors.Is(err, client.ErrSignIn) {
		t.Errorf("plain http: %v", err)
	}
}

func TestADFSPath(t *testing.T) {
	t.Parallel()
	h := transport(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/adfs/oauth2/token" || r.PostFormValue("grant_type") != "password" || r.PostFormValue("username") != "u@x" {
			t.Errorf("%s %v", r.URL, r.PostForm)
		}
		answer(w, 200, `{"access_token":"tok","expires_in":"60"}`)
	})
	if _, _, err := (client.UserPassword{HTTP: h, Authority: "https://localhost:8443/adfs/", Tenant: "t", Username: "u@x", Password: secretly("p")}).Token(t.Context(), "https://r"); err != nil {
		t.Error(err)
	}
}

func TestManagedIdentity(t *testing.T) {
	t.Parallel()
	h := transport(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("X-IDENTITY-HEADER") != "hdr" || q.Get("resource") != "https://managedhsm.azure.net" || q.Get("client_id") != "cid" || q.Get("api-version") == "" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		answer(w, 200, `{"access_token":"tok","expires_on":"4102444800"}`)
	})
	m := client.ManagedIdentity{HTTP: h, Endpoint: "http://127.0.0.1:41741/msi/token", Header: secretly("hdr"), ClientID: "cid"}
	token, expires, err := m.Token(t.Context(), "https://managedhsm.azure.net")
	if err != nil || token != "tok" || expires.Unix() != 4102444800 {
		t.Errorf("%q, %s, %v", token, expires, err)
	}
	m.Endpoint = "http://identity.example/token"
	if _, _, err := m.Token(t.Context(), "https://r"); !errors.Is(err, client.ErrSignIn) {
		t.Errorf("plain http to elsewhere: %v", err)
	}
}

// azStub writes a program that plays az.
func azStub(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "az")
	// A child that another test starts meanwhile would inherit the descriptor, and a program open for writing cannot run (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAzureCLI(t *testing.T) {
	t.Parallel()
	path := azStub(t, `[ "$*" = "account get-access-token --resource https://r --output json" ] || exit 9
echo '{"accessToken":"tok","expiresOn":"2100-01-01 00:00:00.000000","expires_on":4102444800}'`)
	token, expires, err := client.AzureCLI{Command: path}.Token(t.Context(), "https://r")
	if err != nil || token != "tok" || expires.Unix() != 4102444800 {
		t.Errorf("%q, %s, %v", token, expires, err)
	}
	path = azStub(t, `echo "WARNING: x" >&2; echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`)
	if _, _, err = (client.AzureCLI{Command: path}).Token(t.Context(), "https://r"); !errors.Is(err, client.ErrSignIn) || !strings.HasSuffix(err.Error(), "Please run 'az login' to setup account.") {
		t.Errorf("error %v", err)
	}
	if _, _, err = (client.AzureCLI{Command: "no-such-program-az"}).Token(t.Context(), "https://r"); !errors.Is(err, client.ErrSignIn) {
		t.Errorf("error %v", err)
	}
}

type failing struct{}

func (failing) Token(context.Context, string) (string, time.Time, error) {
	return "", time.Time{}, client.ErrSignIn
}

func TestCachedAndFirst(t *testing.T) {
	t.Parallel()
	from := &tokens{}
	c := client.NewCached(&client.First{Of: []client.Credential{failing{}, from}})
	for range 3 {
		if _, _, err := c.Token(t.Context(), "https://r"); err != nil {
			t.Fatal(err)
		}
	}
	if len(from.asked) != 1 {
		t.Errorf("asked %d times", len(from.asked))
	}
	if !c.Forget("token-https://r") || c.Forget("token-https://r") {
		t.Error("Forget")
	}
	if _, _, err := c.Token(t.Context(), "https://r"); err != nil || len(from.asked) != 2 {
		t.Errorf("asked %d times, %v", len(from.asked), err)
	}
	if _, _, err := (&client.First{Of: []client.Credential{failing{}}}).Token(t.Context(), "r"); !errors.Is(err, client.ErrSignIn) {
		t.Errorf("error %v", err)
	}
}

func TestRefusedTokenIsAskedForAnew(t *testing.T) {
	t.Parallel()
	cred := &tokens{}
	refused := 0
	c, err := client.New(client.Config{Credential: client.NewCached(cred), Subscription: "s", Tenant: "t", HTTP: transport(func(w http.ResponseWriter, _ *http.Request) {
		if refused++; refused == 2 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, 200, `{"value":[]}`)
	})})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.ListHSMs(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(cred.asked) != 2 {
		t.Errorf("asked %d times", len(cred.asked))
	}
}

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	full := map[string]string{"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s", "AZURE_USERNAME": "u", "AZURE_PASSWORD": "p"}
	for _, tc := range []struct {
		auth, drop string
		ok         bool
	}{{"", "", true}, {"password", "", true}, {"az", "", true}, {"client-secret", "AZURE_TENANT_ID", false}, {"managed-identity", "", false}, {"kerberos", "", false}, {"command", "", false}} {
		cfg, err := client.FromEnvironment(func(n string) string {
			switch n {
			case tc.drop:
				return ""
			case "REDOUBT_AUTH":
				return tc.auth
			}
			return full[n]
		}, nil)
		if (err == nil) != tc.ok || !tc.ok && !errors.Is(err, client.ErrNoCredential) {
			t.Errorf("%+v: %v", tc, err)
		}
		if tc.ok && (cfg.Tenant != "t" || cfg.Credential == nil) {
			t.Errorf("%+v: %+v", tc, cfg)
		}
	}
}
