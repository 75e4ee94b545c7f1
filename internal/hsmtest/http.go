package hsmtest

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"redoubt/internal/api/arm"
	"redoubt/internal/api/azhttp"
	"redoubt/internal/api/dataplane"
	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/rbac"
)

// The resources that tokens are made for, and the hosts behind which the edges answer.
const (
	Devices = "https://managedhsm.azure.net"
	Control = "https://management.azure.com"
	Login   = "https://login.microsoftonline.com"
)

// NewGUID draws a GUID.
func NewGUID() string { return cloud.NewGUID() }

// Web is the edges of a site behind a listener: requests for management.azure.com go to the control plane,
// all others to the data plane.
type Web struct {
	*Site
	server *httptest.Server
	client *http.Client
}

// Serve puts up the listener.
func (s *Site) Serve() *Web {
	s.T.Helper()
	control := arm.New(arm.Config{Fleet: s.Fleet, Cloud: s.Cloud, Trail: s.Trail, Verifier: s.verifier(Control), Clock: s.Clock.Now, Log: s.Config.Log,
		RemoveBlobs: func(string) error { return nil },
		Endpoints: func(string) arm.Endpoints {
			return arm.Endpoints{CloudName: "AzureCloud", ResourceManager: Control, Login: Login, Graph: "https://graph.microsoft.com/", TenantID: s.Account.Tenant.ID,
				DeviceSuffix: "managedhsm.azure.net", StorageSuffix: "core.windows.net", Attestation: "https://attest.example"}
		}})
	devices := s.DataPlane()
	w := &Web{Site: s, client: &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		azhttp.LimitBody(rw, r)
		if r.Host == strings.TrimPrefix(Control, "https://") {
			control.ServeHTTP(rw, r)
			return
		}
		devices.ServeHTTP(rw, r)
	}))
	s.T.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.server.Close()
	})
	return w
}

// DataPlane is the data plane's handler alone, for tests that need no connection.
func (s *Site) DataPlane() http.Handler {
	s.T.Helper()
	return dataplane.New(dataplane.Config{Fleet: s.Fleet, Trail: s.Trail, Verifier: s.verifier(Devices), LoginURL: func(string) string { return Login }, Log: s.Config.Log})
}

func (s *Site) verifier(audience string) *authn.Verifier {
	s.T.Helper()
	v, err := authn.New(authn.Config{Issuers: []authn.Issuer{s.Issuer.Trusted()}, Audiences: []string{audience}, Tenant: s.Account.Tenant.ID, Clock: s.Clock.Now})
	if err != nil {
		s.T.Fatal(err)
	}
	return v
}

// Token is a genuine token of that principal.
func (s *Site) Token(id, audience string) string {
	s.T.Helper()
	t, _, err := s.Issuer.Mint(s.T.Context(), rbac.Principal{ID: id, Tenant: s.Account.Tenant.ID}, audience, nil)
	if err != nil {
		s.T.Fatal(err)
	}
	return t
}

// Claims are those of a genuine token for the data plane, to be changed and signed by Forge.
func (s *Site) Claims(id string) map[string]any {
	now := s.Clock.Now().Unix()
	return map[string]any{"aud": Devices, "iss": s.Issuer.URL(), "tid": s.Account.Tenant.ID, "oid": id, "sub": id, "iat": now, "nbf": now, "exp": now + 3600, "ver": "1.0", "idtyp": "user"}
}

// Forge makes a compact JWS of claims with the header's alg: RS256 is signed with the site's issuer key
// (genuine), HS256 with the text of its public modulus as the secret, "none" not at all.
func (s *Site) Forge(alg string, claims map[string]any) string {
	s.T.Helper()
	kid := ""
	for id := range s.Issuer.KeySet().(authn.StaticKeys) {
		kid = id
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			s.T.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(map[string]string{"alg": alg, "typ": "JWT", "kid": kid}) + "." + part(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(forgeSignature(s.T, alg, []byte(input)))
}

func forgeSignature(t testing.TB, alg string, input []byte) []byte {
	t.Helper()
	key := issuerKey()
	switch alg {
	case "none":
		return nil
	case "HS256":
		mac := hmac.New(sha256.New, key.N.Bytes())
		mac.Write(input)
		return mac.Sum(nil)
	}
	sum := sha256.Sum256(input)
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Answer is what came back.
type Answer struct {
	T      testing.TB
	Status int
	Header http.Header
	Body   []byte
}

// Ask is one request. Body is sent as it is when it is []byte or string, encoded as JSON otherwise; nil
// sends none.
type Ask struct {
	Method, Host, Path, Token string
	Body                      any
	Header                    http.Header
}

// Do sends a request.
func (w *Web) Do(a Ask) Answer {
	w.T.Helper()
	var body io.Reader
	switch b := a.Body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	case string:
		body = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			w.T.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(w.T.Context(), a.Method, w.server.URL+a.Path, body)
	if err != nil {
		w.T.Fatal(err)
	}
	r.Host = a.Host
	for k, v := range a.Header {
		r.Header[k] = v
	}
	if a.Token != "" {
		r.Header.Set("Authorization", "Bearer "+a.Token)
	}
	if body != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.T.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.T.Fatal(err)
	}
	return Answer{w.T, resp.StatusCode, resp.Header, b}
}

// Addr is the listener's address, for tests that write their requests byte by byte.
func (w *Web) Addr() string { return strings.TrimPrefix(w.server.URL, "http://") }

// Want fails the test unless the answer has this status; it returns the answer.
func (a Answer) Want(status int) Answer {
	a.T.Helper()
	if a.Status != status {
		a.T.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	return a
}

// Error is the error of an answer: code, code of innererror, message.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Inner   *Error `json:"innererror"`
}

// WantError fails the test unless the answer is this error and its message has all the words. inner "" wants
// no innererror.
func (a Answer) WantError(status int, code, inner string, words ...string) {
	a.T.Helper()
	var body struct{ Error Error }
	a.JSON(&body)
	got := ""
	if body.Error.Inner != nil {
		got = body.Error.Inner.Code
	}
	if a.Status != status || body.Error.Code != code || got != inner {
		a.T.Errorf("%d %s/%s, want %d %s/%s: %s", a.Status, body.Error.Code, got, status, code, inner, a.Body)
	}
	for _, word := range words {
		if !strings.Contains(body.Error.Message, word) {
			a.T.Errorf("message %q does not say %q", body.Error.Message, word)
		}
	}
}

// JSON decodes the body into v.
func (a Answer) JSON(v any) {
	a.T.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		a.T.Fatalf("body is not JSON (%v): %.200s", err, a.Body)
	}
}

// Map decodes an object.
func (a Answer) Map() map[string]any {
	a.T.Helper()
	var m map[string]any
	a.JSON(&m)
	return m
}
