package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/rbac"
	"redoubt/internal/store/mem"
)

const (
	azClient = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	hsmAud   = "https://managedhsm.azure.net"
	armAud   = "https://management.core.windows.net/"
	graphAud = "https://graph.microsoft.com"
)

var resources = []string{hsmAud, armAud, graphAud, "https://*.blob.core.windows.net", "https://managedhsm.localhost:8443"}

// issuerKey is made once: RSA generation dominates the run time otherwise.
var issuerKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// site is a cloud with its token service on a test clock.
type site struct {
	cloud  *cloud.Cloud
	acct   cloud.Account
	cred   cloud.Credentials
	issuer *Issuer
	server *Server
	verify *authn.Verifier
	shift  *atomic.Int64
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{cloud: cloud.Open(mem.New()), shift: &atomic.Int64{}}
	var err error
	s.acct, err = s.cloud.Bootstrap(t.Context(), cloud.Options{Deliver: func(_ cloud.Account, c cloud.Credentials) error { s.cred = c; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	now := func() time.Time { return start.Add(time.Duration(s.shift.Load())) }
	s.issuer, err = NewIssuer(IssuerConfig{Key: issuerKey(), Tenant: s.acct.Tenant.ID, Resources: resources, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	s.server = s.restart(t)
	s.verify, err = authn.New(authn.Config{Issuers: []authn.Issuer{s.issuer.Trusted()}, Audiences: resources, Tenant: s.acct.Tenant.ID, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// restart is a server with empty memory over the same cloud and key.
func (s *site) restart(t testing.TB) *Server {
	t.Helper()
	srv, err := NewServer(Config{Issuer: s.issuer, Directory: s.cloud, Bases: []string{"https://login.microsoftonline.com", "https://localhost:8443/"}})
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func (s *site) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return w.Result()
}

type answer map[string]any

func (a answer) str(k string) string { v, _ := a[k].(string); return v }

func (s *site) json(t testing.TB, r *http.Request) (int, answer) {
	t.Helper()
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return decode(t, w)
}

func decode(t testing.TB, w *httptest.ResponseRecorder) (int, answer) {
	t.Helper()
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%d: %v in %q", w.Code, err, w.Body)
	}
	return w.Code, a
}

func get(target string) *http.Request { return httptest.NewRequest("GET", target, nil) }

func post(target string, form ...string) *http.Request {
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Add(form[i], form[i+1])
	}
	r := httptest.NewRequest("POST", target, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

const login = "https://login.microsoftonline.com"

func (s *site) token(t testing.TB, form ...string) (int, answer) {
	t.Helper()
	return s.json(t, post(login+"/"+s.acct.Tenant.ID+"/oauth2/v2.0/token", form...))
}

// identityOf verifies an access token as a service does.
func (s *site) identityOf(t testing.TB, a answer) authn.Identity {
	t.Helper()
	id, err := s.verify.Verify(t.Context(), a.str("access_token"))
	if err != nil {
		t.Fatalf("%v in %v", err, a)
	}
	return id
}

func claimsOf(t testing.TB, s *site, token string) map[string]any {
	t.Helper()
	b, err := s.issuer.KeySet().VerifySignature(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := rbac.Principal{ID: cloud.NewGUID(), AppID: cloud.NewGUID()}
	token, expires, err := s.issuer.Mint(t.Context(), p, hsmAud, map[string]any{"aud": "https://evil.example", "xms_mirid": "/x"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.verify.Verify(t.Context(), token)
	if err != nil || id.Principal.ID != p.ID || id.Principal.AppID != p.AppID || !id.App || id.Audience != hsmAud || !id.Expires.Equal(expires) {
		t.Errorf("%+v, %v", id, err)
	}
	c := claimsOf(t, s, token)
	if c["iss"] != "https://sts.windows.net/"+s.acct.Tenant.ID+"/" || c["ver"] != "1.0" || c["xms_mirid"] != "/x" || c["idtyp"] != "app" {
		t.Errorf("claims %v", c)
	}
	if _, _, err := s.issuer.Mint(t.Context(), p, "https://vault.azure.net", nil); !errors.Is(err, ErrUnknownResource) {
		t.Errorf("foreign resource: %v", err)
	}
}

func TestNewIssuerRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]IssuerConfig{
		"no key":       {Tenant: "t", Resources: resources},
		"no tenant":    {Key: issuerKey(), Resources: resources},
		"no resources": {Key: issuerKey(), Tenant: "t"},
	} {
		if _, err := NewIssuer(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tid := s.acct.Tenant.ID
	for target, want := range map[string]string{
		login + "/" + tid + "/v2.0/.well-known/openid-configuration":                           login + "/" + tid + "/oauth2/v2.0/token",
		login + "/organizations/v2.0/.well-known/openid-configuration":                         login + "/" + tid + "/oauth2/v2.0/token",
		login + "//common//v2.0/.well-known/openid-configuration":                              login + "/" + tid + "/oauth2/v2.0/token",
		login + "/contoso.onmicrosoft.com/.well-known/openid-configuration":                    login + "/" + tid + "/oauth2/v2.0/token",
		login + "/.well-known/openid-configuration":                                            login + "/" + tid + "/oauth2/v2.0/token",
		"https://localhost:8443/adfs/.well-known/openid-configuration":                         "https://localhost:8443/adfs/oauth2/token",
		"https://unknown.example/common/v2.0/.well-known/openid-configuration":                 login + "/" + tid + "/oauth2/v2.0/token",
		"https://LOCALHOST:8443/" + strings.ToUpper(tid) + "/.well-known/openid-configuration": "https://localhost:8443/" + tid + "/oauth2/v2.0/token",
	} {
		code, a := s.json(t, get(target))
		if code != 200 || a.str("token_endpoint") != want || a.str("issuer") == "" || a.str("device_authorization_endpoint") == "" {
			t.Errorf("%s: %d %v", target, code, a)
		}
		if code, jwks := s.json(t, get(a.str("jwks_uri"))); code != 200 || !strings.Contains(fmt.Sprint(jwks), s.issuer.kid) {
			t.Errorf("%s: keys %d %v", target, code, jwks)
		}
	}
	if code, a := s.json(t, get(login+"/"+cloud.NewGUID()+"/v2.0/.well-known/openid-configuration")); code != 400 || !strings.Contains(a.str("error_description"), "AADSTS90002") {
		t.Errorf("foreign tenant: %d %v", code, a)
	}
	code, a := s.json(t, get(login+"/common/discovery/instance?api-version=1.1&authorization_endpoint="+url.QueryEscape(login+"/common/oauth2/authorize")))
	if code != 200 || a.str("tenant_discovery_endpoint") != login+"/"+tid+"/v2.0/.well-known/openid-configuration" {
		t.Errorf("instance: %d %v", code, a)
	}
	// MSAL for Python leaves the port out of its question, and needs it in the answer.
	for _, own := range []string{"https://localhost:8443/", "https://localhost/", "https://LocalHost/"} {
		code, a := s.json(t, get(login+"/common/discovery/instance?api-version=1.0&authorization_endpoint="+url.QueryEscape(own+tid+"/oauth2/v2.0/authorize")))
		if code != 200 || a.str("tenant_discovery_endpoint") != "https://localhost:8443/"+tid+"/v2.0/.well-known/openid-configuration" {
			t.Errorf("instance of %s: %d %v", own, code, a)
		}
	}
	for _, foreign := range []string{"https://other.example/x", "https://localhost:8444/x", "https://localhost.example/x", "x", "", "https://%zz"} {
		code, a := s.json(t, get(login+"/common/discovery/instance?authorization_endpoint="+url.QueryEscape(foreign)))
		if code != 400 || a.str("error") != "invalid_instance" {
			t.Errorf("foreign instance %q: %d %v", foreign, code, a)
		}
	}
	code, a = s.json(t, get(login+"/common/userrealm/operator@contoso.onmicrosoft.com?api-version=1.0"))
	if code != 200 || a.str("account_type") != "Managed" || a.str("domain_name") != "contoso.onmicrosoft.com" {
		t.Errorf("realm: %d %v", code, a)
	}
	for target, want := range map[string]int{
		login + "/": 200, login + "/common/oauth2/v2.0/logout": 200, login + "/common/nothing": 404,
		login + "/" + strings.Repeat("a", maxPath): 414,
	} {
		if resp := s.do(get(target)); resp.StatusCode != want {
			t.Errorf("%.80s: %d, want %d", target, resp.StatusCode, want)
		}
	}
	if _, ok := segments("/a/%zz"); ok {
		t.Error("malformed escape accepted")
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	app, secret := s.acct.ServicePrincipal.AppID, s.cred.ClientSecret
	code, a := s.token(t, "grant_type", "client_credentials", "client_id", app, "client_secret", secret, "scope", armAud+"/.default")
	if code != 200 || a.str("token_type") != "Bearer" || a["expires_in"] != 3600.0 || a.str("refresh_token") != "" || a.str("id_token") != "" {
		t.Fatalf("%d %v", code, a)
	}
	id := s.identityOf(t, a)
	if id.Principal.ID != s.acct.ServicePrincipal.ObjectID || id.Principal.AppID != app || id.Audience != armAud || !id.App {
		t.Errorf("%+v", id)
	}
	r := post(login+"/"+s.acct.Tenant.ID+"/oauth2/token", "grant_type", "client_credentials", "resource", hsmAud)
	r.SetBasicAuth(url.QueryEscape(app), url.QueryEscape(secret))
	code, a = s.json(t, r)
	if code != 200 || a.str("resource") != hsmAud || a.str("expires_in") != "3600" || a.str("expires_on") == "" || s.identityOf(t, a).Audience != hsmAud {
		t.Errorf("v1 with Basic: %d %v", code, a)
	}
	for name, tt := range map[string]struct {
		form   []string
		status int
		code   string
		aadsts float64
	}{
		"wrong secret":  {[]string{"client_id", app, "client_secret", "x", "scope", hsmAud}, 401, "invalid_client", 7000215},
		"no secret":     {[]string{"client_id", app, "scope", hsmAud}, 401, "invalid_client", 7000216},
		"unknown app":   {[]string{"client_id", cloud.NewGUID(), "client_secret", "x", "scope", hsmAud}, 400, "unauthorized_client", 700016},
		"no type":       {[]string{"client_id", app, "client_assertion", "x.y.z", "scope", hsmAud}, 400, "invalid_request", 900144},
		"both":          {[]string{"client_id", app, "client_assertion", "x.y.z", "client_assertion_type", assertionType, "client_secret", secret, "scope", hsmAud}, 400, "invalid_request", 900144},
		"resource":      {[]string{"client_id", app, "client_secret", secret, "scope", "https://vault.azure.net/.default"}, 400, "invalid_resource", 500011},
		"no scope":      {[]string{"client_id", app, "client_secret", secret}, 400, "invalid_scope", 70011},
		"two resources": {[]string{"client_id", app, "client_secret", secret, "scope", hsmAud + "/.default " + graphAud + "/.default"}, 400, "invalid_scope", 70011},
		"no client":     {[]string{"client_secret", secret, "scope", hsmAud}, 400, "invalid_request", 900144},
	} {
		code, a := s.token(t, append(tt.form, "grant_type", "client_credentials")...)
		if code != tt.status || a.str("error") != tt.code || a["error_codes"].([]any)[0] != tt.aadsts || a.str("trace_id") == "" || a.str("timestamp") == "" {
			t.Errorf("%s: %d %v", name, code, a)
		}
	}
}

func TestPasswordAndRefresh(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	u := s.acct.User
	form := []string{"grant_type", "password", "client_id", azClient, "username", strings.ToUpper(u.UPN), "password", s.cred.Password,
		"client_info", "1", "scope", armAud + "/.default offline_access openid profile"}
	code, a := s.token(t, form...)
	if code != 200 {
		t.Fatalf("%d %v", code, a)
	}
	id := s.identityOf(t, a)
	if id.App || id.Principal.ID != u.ObjectID || id.Principal.UPN != u.UPN || id.Principal.AppID != "" {
		t.Errorf("%+v", id)
	}
	c := claimsOf(t, s, a.str("id_token"))
	if c["tid"] != s.acct.Tenant.ID || c["preferred_username"] != u.UPN || c["oid"] != u.ObjectID || c["aud"] != azClient {
		t.Errorf("id_token %v", c)
	}
	if a.str("client_info") == "" || a.str("refresh_token") == "" {
		t.Errorf("answer %v", a)
	}
	refresh := a.str("refresh_token")
	if _, err := s.verify.Verify(t.Context(), refresh); err == nil {
		t.Error("a refresh token passes for an access token")
	}
	// A refresh token buys tokens for the other resources, also after a restart.
	s.server = s.restart(t)
	for _, aud := range []string{hsmAud, graphAud, "https://acct.blob.core.windows.net"} {
		code, a := s.token(t, "grant_type", "refresh_token", "client_id", azClient, "refresh_token", refresh, "scope", aud+"/.default offline_access")
		if code != 200 || s.identityOf(t, a).Audience != aud || a.str("refresh_token") == "" {
			t.Errorf("%s: %d %v", aud, code, a)
		}
	}
	access := a.str("access_token")
	for name, f := range map[string][]string{
		"other client": {"client_id", cloud.NewGUID(), "refresh_token", refresh},
		"altered":      {"client_id", azClient, "refresh_token", refresh[:len(refresh)-4] + "AAAA"},
		"access token": {"client_id", azClient, "refresh_token", access},
		"too long":     {"client_id", azClient, "refresh_token", strings.Repeat("a", authn.MaxTokenBytes+1)},
	} {
		if code, a := s.token(t, append(f, "grant_type", "refresh_token", "scope", hsmAud)...); code != 400 || a.str("error") != "invalid_grant" {
			t.Errorf("%s: %d %v", name, code, a)
		}
	}
	again := []string{"grant_type", "refresh_token", "client_id", azClient, "refresh_token", refresh, "scope", hsmAud}
	s.shift.Store(int64(refreshLifetime))
	if code, a := s.token(t, again...); code != 400 || a.str("error") != "invalid_grant" {
		t.Errorf("expired: %d %v", code, a)
	}
	s.shift.Store(0)
	if err := s.cloud.SetPassword(t.Context(), u.UPN, "changed"); err != nil {
		t.Fatal(err)
	}
	if code, a := s.token(t, again...); code != 400 || a["error_codes"].([]any)[0] != 50173.0 {
		t.Errorf("after a password change: %d %v", code, a)
	}
	if code, a := s.token(t, form...); code != 400 || a["error_codes"].([]any)[0] != 50126.0 {
		t.Errorf("old password: %d %v", code, a)
	}
	if err := s.cloud.DeletePrincipal(t.Context(), u.ObjectID); err != nil {
		t.Fatal(err)
	}
	if code, a := s.token(t, again...); code != 400 || a["error_codes"].([]any)[0] != 50173.0 {
		t.Errorf("after removal: %d %v", code, a)
	}
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	target := login + "/common/oauth2/v2.0/token"
	jsonBody := post(target)
	jsonBody.Header.Set("Content-Type", "application/json")
	bad := post(target)
	bad.Body = io.NopCloser(strings.NewReader("grant_type=%zz"))
	for name, tt := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"GET":            {get(target), 405, "invalid_request"},
		"json":           {jsonBody, 400, "invalid_request"},
		"escape":         {bad, 400, "invalid_request"},
		"too long":       {post(target, "grant_type", "password", "x", strings.Repeat("a", maxBody)), 413, "invalid_request"},
		"twice":          {post(target, "client_id", "a", "client_id", "b"), 400, "invalid_request"},
		"no grant":       {post(target, "client_id", "a"), 400, "invalid_request"},
		"unknown grant":  {post(target, "client_id", "a", "grant_type", "implicit"), 400, "unsupported_grant_type"},
		"no password":    {post(target, "client_id", "a", "grant_type", "password", "username", "b"), 400, "invalid_request"},
		"no refresh":     {post(target, "client_id", "a", "grant_type", "refresh_token"), 400, "invalid_request"},
		"unknown code":   {post(target, "client_id", "a", "grant_type", "authorization_code", "code", "x", "redirect_uri", "http://localhost"), 400, "invalid_grant"},
		"unknown device": {post(target, "client_id", "a", "grant_type", grantDevice, "device_code", "x"), 400, "expired_token"},
		"tenant":         {post(login + "/other.example/oauth2/v2.0/token"), 400, "invalid_request"},
	} {
		code, a := s.json(t, tt.r)
		if code != tt.status || a.str("error") != tt.code {
			t.Errorf("%s: %d %v", name, code, a)
		}
	}
	r := post(target, "client_id", "a", "grant_type", "x")
	id := cloud.NewGUID()
	r.Header.Set("client-request-id", id)
	if _, a := s.json(t, r); a.str("correlation_id") != id {
		t.Errorf("correlation id %v", a)
	}
}
