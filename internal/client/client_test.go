package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"redoubt/internal/client"
)

// wire answers requests in process, so that real host names and fake time can be used.
type wire struct{ http.Handler }

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// tokens hands out a new token for every request and remembers what for.
type tokens struct{ asked []string }

func (t *tokens) Token(_ context.Context, resource string) (string, time.Time, error) {
	t.asked = append(t.asked, resource)
	return "token-" + resource, time.Now().Add(time.Hour), nil
}

const (
	hsmHost  = "contoso.managedhsm.azure.net"
	bearer   = "Bearer token-https://managedhsm.azure.net"
	goodAuth = `Bearer authorization="https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111", resource="https://managedhsm.azure.net"`
)

func newClient(t *testing.T, h http.HandlerFunc) (*client.Client, *tokens) {
	t.Helper()
	cred := &tokens{}
	c, err := client.New(client.Config{HTTP: &http.Client{Transport: wire{h}}, Credential: cred, Subscription: "sub", Tenant: "tenant"})
	if err != nil {
		t.Fatal(err)
	}
	return c, cred
}

func newHSM(t *testing.T, h http.HandlerFunc) (*client.HSM, *tokens) {
	t.Helper()
	c, cred := newClient(t, challenging(t, h))
	hsm, err := c.HSMNamed("Contoso")
	if err != nil {
		t.Fatal(err)
	}
	return hsm, cred
}

// challenging demands what the service demands: the first request without a body, then a token.
func challenging(t *testing.T, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host != hsmHost {
			t.Errorf("request to %s", r.Host)
		}
		if r.Header.Get("Authorization") == "" {
			if b, _ := io.ReadAll(r.Body); len(b) > 0 {
				t.Errorf("the body went without a token: %s", b)
			}
			w.Header().Set("WWW-Authenticate", goodAuth)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if got := r.Header.Get("Authorization"); got != bearer {
			t.Errorf("Authorization = %q", got)
		}
		h(w, r)
	}
}

func answer(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestChallengeThenRequest(t *testing.T) {
	t.Parallel()
	calls := 0
	hsm, cred := newHSM(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		if r.Method != "POST" || r.URL.Path != "/keys/k/create" || r.URL.Query().Get("api-version") == "" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body["kty"] != "EC-HSM" || body["crv"] != "P-256" {
			t.Errorf("body %v, %v", body, err)
		}
		answer(w, 200, `{"key":{"kid":"https://contoso.managedhsm.azure.net/keys/k/0123","x":"AQI"},"attributes":{"enabled":true}}`)
	})
	for range 2 {
		k, err := hsm.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"})
		if err != nil {
			t.Fatal(err)
		}
		if k.Name() != "k" || k.Version() != "0123" || string(k.Key.X) != "\x01\x02" || !k.Attributes.Enabled {
			t.Errorf("key %+v", k)
		}
	}
	if calls != 2 || len(cred.asked) != 2 {
		t.Errorf("%d calls, tokens for %v", calls, cred.asked)
	}
}

func TestChallengeRefused(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{
		"none":             "",
		"basic":            `Basic realm="x"`,
		"no resource":      `Bearer authorization="https://login.microsoftonline.com/t"`,
		"other service":    `Bearer authorization="https://login.microsoftonline.com/t", resource="https://vault.azure.net"`,
		"ARM":              `Bearer authorization="https://login.microsoftonline.com/t", resource="https://management.azure.com"`,
		"the host itself":  `Bearer authorization="https://login.microsoftonline.com/t", resource="https://contoso.managedhsm.azure.net"`,
		"not a label":      `Bearer authorization="https://login.microsoftonline.com/t", resource="https://edhsm.azure.net"`,
		"http":             `Bearer authorization="https://login.microsoftonline.com/t", resource="http://managedhsm.azure.net"`,
		"with a path":      `Bearer authorization="https://login.microsoftonline.com/t", resource="https://managedhsm.azure.net/x"`,
		"another port":     `Bearer authorization="https://login.microsoftonline.com/t", resource="https://managedhsm.azure.net:8443"`,
		"user information": `Bearer authorization="https://login.microsoftonline.com/t", resource="https://x@managedhsm.azure.net"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, cred := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
				if header != "" {
					w.Header().Set("WWW-Authenticate", header)
				}
				w.WriteHeader(http.StatusUnauthorized)
			})
			hsm, _ := c.HSMNamed("contoso")
			if _, err := hsm.ListKeys(t.Context()); !errors.Is(err, client.ErrChallenge) {
				t.Errorf("error %v", err)
			}
			if len(cred.asked) != 0 {
				t.Errorf("a token was asked for: %v", cred.asked)
			}
		})
	}
}

func TestChallengeKeepsPort(t *testing.T) {
	t.Parallel()
	h := http.Header{"Www-Authenticate": {`Bearer authorization="https://localhost:8443/ten", resource="https://managedhsm.localhost:8443"`}}
	ch, err := client.ParseChallenge("a.managedhsm.localhost:8443", h)
	if err != nil || ch.Tenant != "ten" || ch.Resource != "https://managedhsm.localhost:8443" {
		t.Errorf("%+v, %v", ch, err)
	}
	if _, err := client.ParseChallenge("a.managedhsm.localhost:9443", h); !errors.Is(err, client.ErrChallenge) {
		t.Errorf("another port: %v", err)
	}
}

func TestErrorDocument(t *testing.T) {
	t.Parallel()
	hsm, _ := newHSM(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-ms-request-id", "rid-1")
		answer(w, 403, `{"error":{"code":"Forbidden","message":"not yet","innererror":{"code":"NotActivated"}}}`)
	})
	_, err := hsm.GetKey(t.Context(), "k", "")
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 403 || e.Code != "Forbidden" || e.Inner != "NotActivated" || e.Message != "not yet" || e.RequestID != "rid-1" {
		t.Fatalf("error %#v", err)
	}
	if got := err.Error(); got != "(Forbidden/NotActivated) not yet (request rid-1)" {
		t.Errorf("text %q", got)
	}
}

func TestErrorWithoutDocument(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                               "(502) the server answered Bad Gateway",
		"<html>gateway</html>":           "(502) the server answered Bad Gateway",
		"upstream gone":                  "(502) upstream gone",
		strings.Repeat("x", 1000):        "(502) " + strings.Repeat("x", 300) + "...",
		`{"error":"not the usual form"}`: `(502) {"error":"not the usual form"}`,
	} {
		hsm, _ := newHSM(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 502, body) })
		if _, err := hsm.GetKey(t.Context(), "k", ""); err == nil || err.Error() != want {
			t.Errorf("body %.20q: %v", body, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		status := []int{429, 503, 200}
		hsm, _ := newHSM(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			answer(w, status[0], `{"value":true}`)
			status = status[1:]
		})
		start := time.Now()
		ok, err := hsm.Verify(t.Context(), "k", "", "ES256", []byte("digest"), []byte("sig"))
		if err != nil || !ok {
			t.Fatalf("%v, %v", ok, err)
		}
		if d := time.Since(start); d != 6*time.Second {
			t.Errorf("took %s, want twice the 3 s asked for", d)
		}
	})
}

func TestRetryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		hsm, _ := newHSM(t, func(w http.ResponseWriter, _ *http.Request) {
			calls++
			w.Header().Set("Retry-After", "86400")
			answer(w, 503, `{"error":{"code":"ServiceUnavailable","message":"sealed"}}`)
		})
		start := time.Now()
		_, err := hsm.GetKey(t.Context(), "k", "")
		var e *client.Error
		if !errors.As(err, &e) || e.Status != 503 {
			t.Fatalf("error %v", err)
		}
		if d := time.Since(start); calls != 5 || d > 2*time.Minute {
			t.Errorf("%d calls in %s", calls, d)
		}
	})
}

func TestRedirectIsAnError(t *testing.T) {
	t.Parallel()
	hsm, _ := newHSM(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/keys", http.StatusTemporaryRedirect)
	})
	if _, err := hsm.ListKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("error %v", err)
	}
}

func TestPaging(t *testing.T) {
	t.Parallel()
	hsm, _ := newHSM(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("$skiptoken") {
		case "":
			answer(w, 200, `{"value":[{"kid":"https://contoso.managedhsm.azure.net/keys/a"}],"nextLink":"https://contoso.managedhsm.azure.net/keys?$skiptoken=n"}`)
		default:
			answer(w, 200, `{"value":[{"kid":"https://contoso.managedhsm.azure.net/keys/b"}],"nextLink":null}`)
		}
	})
	keys, err := hsm.ListKeys(t.Context())
	if err != nil || len(keys) != 2 || keys[0].Name() != "a" || keys[1].Name() != "b" {
		t.Errorf("%v, %v", keys, err)
	}
}

func TestPagingStaysOnTheHost(t *testing.T) {
	t.Parallel()
	hsm, _ := newHSM(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"value":[],"nextLink":"https://elsewhere.example/keys"}`)
	})
	if _, err := hsm.ListKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("error %v", err)
	}
}

func TestBackupJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		hsm, _ := newHSM(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				var b map[string]any
				if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b["token"] != "sv=1&sig=x" || b["storageResourceUri"] != "https://a.blob.core.windows.net/c" || len(b) != 2 {
					t.Errorf("body %v, %v", b, err)
				}
				w.Header().Set("Azure-AsyncOperation", "https://"+hsmHost+"/backup/job1/pending")
				w.Header().Set("Retry-After", "1")
				answer(w, 202, `{"jobId":"job1","status":"InProgress","startTime":5,"endTime":null,"error":null,"statusDetails":null}`)
				return
			}
			looks++
			if r.URL.Path != "/backup/job1/pending" {
				t.Errorf("looked at %s", r.URL)
			}
			w.Header().Set("Retry-After", "1")
			if looks < 3 {
				answer(w, 200, `{"jobId":"job1","status":"InProgress"}`)
				return
			}
			answer(w, 200, `{"jobId":"job1","status":"Succeeded","endTime":9,"azureStorageBlobContainerUri":"https://a.blob.core.windows.net/c/mhsm-contoso-1"}`)
		})
		start := time.Now()
		job, err := hsm.StartBackup(t.Context(), client.Storage{URI: "https://a.blob.core.windows.net/c", SAS: func() string { return "sv=1&sig=x" }})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		job, err = job.Wait(t.Context(), func(client.Job) { seen++ })
		if err != nil || job.FolderURL == "" || job.End != 9 || seen != 4 || time.Since(start) != 3*time.Second {
			t.Errorf("%+v, %v; %d looks in %s", job, err, seen, time.Since(start))
		}
	})
}

func TestRestoreJobFails(t *testing.T) {
	t.Parallel()
	hsm, _ := newHSM(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			var b struct {
				SAS    map[string]any `json:"sasTokenParameters"`
				Folder string         `json:"folderToRestore"`
			}
			if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b.Folder != "f" || b.SAS["useManagedIdentity"] != true {
				t.Errorf("body %v, %v", b, err)
			}
			answer(w, 202, `{"jobId":"j","status":"Failed","error":{"code":"NoRestorePoint","message":"make a backup first"}}`)
		}
	})
	job, err := hsm.StartRestore(t.Context(), client.Storage{URI: "https://a/c", ManagedIdentity: true}, "f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = job.Wait(t.Context(), nil); err == nil || err.Error() != "(NoRestorePoint) make a backup first" {
		t.Errorf("error %v", err)
	}
}

func TestSecurityDomain(t *testing.T) {
	t.Parallel()
	hsm, _ := newHSM(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "POST /securitydomain/download":
			b, _ := io.ReadAll(r.Body)
			if string(b) != `{"certificates":[],"required":2}` {
				t.Errorf("body %s", b)
			}
			w.Header().Set("Azure-AsyncOperation", "https://"+r.Host+"/securitydomain/download/pending?domain=sd-1")
			answer(w, 202, `{"value":"{\"EncData\":{}}"}`)
		case "GET /securitydomain/download/pending":
			if d := r.URL.Query().Get("domain"); d != "sd-1" {
				t.Errorf("polled for the download %q", d)
			}
			answer(w, 200, `{"status":"Success","status_details":"done"}`)
		case "GET /securitydomain/upload":
			answer(w, 200, `{"key_format":"jwk","transfer_key":"{\"kty\":\"RSA\"}"}`)
		case "POST /securitydomain/upload":
			answer(w, 202, `{"status":"InProgress"}`)
		case "GET /securitydomain/upload/pending":
			answer(w, 200, `{"status":"Failed","status_details":"made for another exchange key"}`)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	})
	sd, err := hsm.DownloadDomain(t.Context(), []byte(`{"certificates":[],"required":2}`))
	if err != nil || string(sd) != `{"EncData":{}}` {
		t.Errorf("%s, %v", sd, err)
	}
	if s, err := hsm.WaitDownload(t.Context(), nil); err != nil || !s.Succeeded() {
		t.Errorf("%v, %v", s, err)
	}
	if k, err := hsm.TransferKey(t.Context()); err != nil || string(k) != `{"kty":"RSA"}` {
		t.Errorf("%s, %v", k, err)
	}
	if _, err := hsm.UploadDomain(t.Context(), []byte("{}")); err != nil {
		t.Error(err)
	}
	if _, err := hsm.WaitUpload(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "another exchange key") {
		t.Errorf("error %v", err)
	}
}

func TestNamesAndURLs(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t, nil)
	for _, bad := range []string{"", "ab", "a.b.c", "name/../x", strings.Repeat("a", 25), "a b c"} {
		if _, err := c.HSMNamed(bad); !errors.Is(err, client.ErrBadName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"http://x.managedhsm.azure.net", "x.managedhsm.azure.net", "https://u@x.net", "https://x.net/path", "https://x.net?q"} {
		if _, err := c.HSM(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if h, err := c.HSM("https://x.managedhsm.localhost:8443/"); err != nil || h.URL() != "https://x.managedhsm.localhost:8443" {
		t.Errorf("%v, %v", h, err)
	}
	if got := c.ContainerURL("ContosoBackup", "c"); got != "https://ContosoBackup.blob.core.windows.net/c" {
		t.Error(got)
	}
}
