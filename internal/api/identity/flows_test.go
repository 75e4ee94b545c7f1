package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"redoubt/internal/cloud"
)

func TestDeviceCode(t *testing.T) {
	t.Parallel()
	for name, base := range map[string]string{"entra": login + "/organizations/oauth2/v2.0/", "adfs": "https://localhost:8443/adfs/oauth2/"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			code, d := s.json(t, post(base+"devicecode", "client_id", azClient, "scope", hsmAud+"/.default offline_access openid profile"))
			if code != 200 || d.str("message") == "" || d["interval"] != 1.0 || d["expires_in"] != 900.0 {
				t.Fatalf("%d %v", code, d)
			}
			poll := func(client string) (int, answer) {
				return s.json(t, post(base+"token", "grant_type", grantDevice, "client_id", client, "device_code", d.str("device_code"), "code", d.str("device_code")))
			}
			if code, a := poll(azClient); code != 400 || a.str("error") != "authorization_pending" {
				t.Errorf("pending: %d %v", code, a)
			}
			if resp := s.do(get(d.str("verification_uri"))); resp.StatusCode != 200 {
				t.Errorf("page: %d", resp.StatusCode)
			}
			if resp := s.do(post(d.str("verification_uri"), "user_code", d.str("user_code"), "username", s.acct.User.UPN, "password", "<wrong>")); resp.StatusCode != 400 {
				t.Errorf("wrong password: %d", resp.StatusCode)
			}
			approve := httptest.NewRequest("POST", d.str("verification_uri"), strings.NewReader(
				`{"user_code":" `+strings.ToLower(d.str("user_code"))+` ","username":"`+s.acct.User.UPN+`","password":"`+s.cred.Password+`"}`))
			approve.Header.Set("Content-Type", "application/json")
			if code, a := s.json(t, approve); code != 200 || a.str("status") != "approved" {
				t.Fatalf("approve: %d %v", code, a)
			}
			if code, a := poll(cloud.NewGUID()); code != 400 || a.str("error") != "invalid_grant" {
				t.Errorf("other client: %d %v", code, a)
			}
			code, a := poll(azClient)
			if code != 200 || s.identityOf(t, a).Principal.ID != s.acct.User.ObjectID || s.identityOf(t, a).Audience != hsmAud || a.str("refresh_token") == "" {
				t.Errorf("approved: %d %v", code, a)
			}
			if code, a := poll(azClient); code != 400 || a.str("error") != "expired_token" {
				t.Errorf("second use: %d %v", code, a)
			}
		})
	}
}

func TestDeviceCodeRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	target := login + "/common/oauth2/v2.0/devicecode"
	for name, tt := range map[string]struct {
		form []string
		code string
	}{
		"no client": {[]string{"scope", hsmAud}, "invalid_request"},
		"resource":  {[]string{"client_id", azClient, "scope", "https://other.example/.default"}, "invalid_resource"},
	} {
		if code, a := s.json(t, post(target, tt.form...)); code != 400 || a.str("error") != tt.code {
			t.Errorf("%s: %d %v", name, code, a)
		}
	}
	_, d := s.json(t, post(target, "client_id", azClient, "scope", hsmAud))
	s.shift.Store(int64(15 * time.Minute))
	if code, a := s.token(t, "grant_type", "device_code", "client_id", azClient, "code", d.str("device_code")); code != 400 || a.str("error") != "expired_token" {
		t.Errorf("expired: %d %v", code, a)
	}
	for _, body := range []string{"{", `{"user_code":"NONE"}`} {
		r := httptest.NewRequest("POST", login+"/device", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if code, a := s.json(t, r); code != 400 {
			t.Errorf("%s: %d %v", body, code, a)
		}
	}
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// hiddenFields is what a browser would send back.
func hiddenFields(page string) []string {
	var f []string
	for _, m := range hidden.FindAllStringSubmatch(page, -1) {
		f = append(f, html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return f
}

func TestBrowserSignIn(t *testing.T) {
	t.Parallel()
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	for _, mode := range []string{"query", "form_post"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			q := url.Values{"client_id": {azClient}, "response_type": {"code"}, "redirect_uri": {"http://localhost:40149/"}, "response_mode": {mode},
				"scope": {armAud + "/.default offline_access openid profile"}, "state": {`s"<&>`}, "nonce": {"n1"},
				"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
			target := login + "/organizations/oauth2/v2.0/authorize"
			page := bodyOf(t, s.do(get(target+"?"+q.Encode())))
			fields := hiddenFields(page)
			if resp := s.do(post(target, append(fields, "username", s.acct.User.UPN, "password", "wrong")...)); resp.StatusCode != 400 || !strings.Contains(bodyOf(t, resp), "AADSTS50126") {
				t.Errorf("wrong password: %d", resp.StatusCode)
			}
			resp := s.do(post(target, append(fields, "username", s.acct.User.UPN, "password", s.cred.Password)...))
			got := map[string]string{}
			if mode == "query" {
				to, err := resp.Location()
				if err != nil || resp.StatusCode != http.StatusSeeOther || to.Host != "localhost:40149" {
					t.Fatalf("%d %v %v", resp.StatusCode, to, err)
				}
				got["code"], got["state"] = to.Query().Get("code"), to.Query().Get("state")
			} else {
				f := hiddenFields(bodyOf(t, resp))
				for i := 0; i < len(f); i += 2 {
					got[f[i]] = f[i+1]
				}
				if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://localhost:40149;") {
					t.Errorf("policy %q", csp)
				}
			}
			if got["state"] != `s"<&>` || got["code"] == "" {
				t.Fatalf("got %v", got)
			}
			redeem := func(code, verifier string) (int, answer) {
				return s.token(t, "grant_type", "authorization_code", "client_id", azClient, "code", code, "redirect_uri", "http://localhost:40149/", "code_verifier", verifier)
			}
			status, a := redeem(got["code"], verifier)
			if status != 200 || s.identityOf(t, a).Audience != armAud || claimsOf(t, s, a.str("id_token"))["nonce"] != "n1" {
				t.Errorf("%d %v", status, a)
			}
			if status, a := redeem(got["code"], verifier); status != 400 || a.str("error") != "invalid_grant" {
				t.Errorf("second use: %d %v", status, a)
			}
			resp = s.do(post(target, append(fields, "username", s.acct.User.UPN, "password", s.cred.Password)...))
			code := regexp.MustCompile(`[A-Z2-7]{52}`).FindString(bodyOf(t, resp) + resp.Header.Get("Location"))
			if status, a := redeem(code, "other"); status != 400 || a["error_codes"].([]any)[0] != 501481.0 {
				t.Errorf("wrong verifier: %d %v", status, a)
			}
		})
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, change := range map[string][2]string{
		"foreign redirect": {"redirect_uri", "http://evil.example/"},
		"https redirect":   {"redirect_uri", "https://localhost/"},
		"user info":        {"redirect_uri", "http://localhost@evil.example/"},
		"lookalike":        {"redirect_uri", "http://localhost.evil.example/"},
		"implicit":         {"response_type", "token"},
		"no client":        {"client_id", ""},
		"plain challenge":  {"code_challenge_method", "plain"},
		"mode":             {"response_mode", "fragment"},
	} {
		q := url.Values{"client_id": {azClient}, "response_type": {"code"}, "redirect_uri": {"http://localhost:1/"}, "scope": {hsmAud},
			"code_challenge": {"x"}, "code_challenge_method": {"S256"}}
		q.Set(change[0], change[1])
		resp := s.do(get(login + "/common/oauth2/v2.0/authorize?" + q.Encode()))
		if resp.StatusCode != 400 || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

func TestPagesEscape(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	resp := s.do(get(login + "/device?user_code=" + url.QueryEscape(`"><script>alert(1)</script>`)))
	if body := bodyOf(t, resp); strings.Contains(body, "<script>") {
		t.Errorf("page %s", body)
	}
	for _, h := range []string{"Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options"} {
		if resp.Header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
}

func TestMSI(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h, err := NewMSI(s.issuer, s.cloud, "header-secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	call := func(method, secret string, query ...string) (int, answer) {
		t.Helper()
		q := url.Values{"api-version": {"2019-08-01"}}
		for i := 0; i < len(query); i += 2 {
			q.Set(query[i], query[i+1])
		}
		r := httptest.NewRequest(method, "http://127.0.0.1/msi/token?"+q.Encode(), nil)
		r.Header.Set("X-IDENTITY-HEADER", secret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return decode(t, w)
	}
	if code, _ := call("GET", "header-secret", "resource", hsmAud); code != 400 {
		t.Errorf("without identities: %d", code)
	}
	var ids []cloud.ManagedIdentity
	for _, name := range []string{"one", "two"} {
		mi, _, err := s.cloud.EnsureManagedIdentity(t.Context(), "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+name, "westus3", nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, mi)
		if name == "one" {
			if code, a := call("GET", "header-secret", "resource", hsmAud); code != 200 || a.str("client_id") != mi.ClientID {
				t.Errorf("the only one: %d %v", code, a)
			}
		}
	}
	for _, by := range [][2]string{{"client_id", ids[1].ClientID}, {"principal_id", ids[1].PrincipalID}, {"object_id", ids[1].PrincipalID},
		{"mi_res_id", strings.ToUpper(ids[1].ResourceID)}, {"msi_res_id", ids[1].ResourceID}} {
		code, a := call("GET", "header-secret", "resource", hsmAud+"/", by[0], by[1])
		if code != 200 || a.str("token_type") != "Bearer" || a.str("expires_on") == "" || a.str("client_id") != ids[1].ClientID {
			t.Errorf("%s: %d %v", by[0], code, a)
			continue
		}
		if id := s.identityOf(t, a); id.Principal.ID != ids[1].PrincipalID || !id.App {
			t.Errorf("%s: %+v", by[0], id)
		}
	}
	for name, tt := range map[string]struct {
		method, secret string
		query          []string
		status         int
	}{
		"secret":    {"GET", "wrong", []string{"resource", hsmAud}, 401},
		"no secret": {"GET", "", []string{"resource", hsmAud}, 401},
		"method":    {"POST", "header-secret", []string{"resource", hsmAud, "client_id", ids[0].ClientID}, 405},
		"resource":  {"GET", "header-secret", []string{"resource", "https://other.example", "client_id", ids[0].ClientID}, 400},
		"none":      {"GET", "header-secret", []string{"client_id", ids[0].ClientID}, 400},
		"several":   {"GET", "header-secret", []string{"resource", hsmAud}, 400},
		"unknown":   {"GET", "header-secret", []string{"resource", hsmAud, "client_id", cloud.NewGUID()}, 400},
	} {
		if code, a := call(tt.method, tt.secret, tt.query...); code != tt.status || a.str("message") == "" {
			t.Errorf("%s: %d %v", name, code, a)
		}
	}
}

func TestADFS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	code, a := s.json(t, post("https://localhost:8443/adfs/oauth2/token", "grant_type", "password", "client_id", azClient,
		"username", s.acct.User.UPN, "password", s.cred.Password, "scope", "https://managedhsm.localhost:8443/.default"))
	if code != 200 || a.str("refresh_token") == "" || a["expires_in"] != 3600.0 || s.identityOf(t, a).Audience != "https://managedhsm.localhost:8443" {
		t.Errorf("%d %v", code, a)
	}
	// azurerm, whose environment comes from /metadata/endpoints of a cloud of its own.
	code, a = s.json(t, post("https://localhost:8443/adfs/"+s.acct.Tenant.ID+"/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", s.acct.ServicePrincipal.AppID,
		"client_secret", s.cred.ClientSecret, "scope", "https://managedhsm.localhost:8443/.default"))
	if code != 200 || s.identityOf(t, a).Audience != "https://managedhsm.localhost:8443" {
		t.Errorf("%d %v", code, a)
	}
	other := s.do(post("https://localhost:8443/adfs/other.example/oauth2/v2.0/token"))
	if other.StatusCode != http.StatusNotFound {
		t.Error(other.Status)
	}
}

// TestChangedPasswordEndsSignInsUnderWay: who has approved a device or a browser with the old password gets nothing for
// it once there is another, and neither does who was disabled meanwhile.
func TestChangedPasswordEndsSignInsUnderWay(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *site) error{
		"password": func(s *site) error { return s.cloud.SetPassword(t.Context(), s.acct.User.UPN, "another password") },
		"disabled": func(s *site) error {
			return errors.Join(s.cloud.SetDisabled(t.Context(), s.acct.User.ObjectID, true), s.cloud.SetDisabled(t.Context(), s.acct.User.ObjectID, false))
		},
	} {
		s := newSite(t)
		_, d := s.json(t, post(login+"/common/oauth2/v2.0/devicecode", "client_id", azClient, "scope", hsmAud+"/.default offline_access"))
		if resp := s.do(post(login+"/device", "user_code", d.str("user_code"), "username", s.acct.User.UPN, "password", s.cred.Password)); resp.StatusCode != 200 {
			t.Fatalf("%s: approve: %d", name, resp.StatusCode)
		}
		to, err := s.do(post(login+"/common/oauth2/v2.0/authorize", "client_id", azClient, "response_type", "code", "redirect_uri", "http://localhost:40149/",
			"scope", hsmAud+"/.default offline_access", "username", s.acct.User.UPN, "password", s.cred.Password)).Location()
		if err != nil {
			t.Fatal(err)
		}
		if err := change(s); err != nil {
			t.Fatal(err)
		}
		for _, form := range [][]string{
			{"grant_type", grantDevice, "client_id", azClient, "device_code", d.str("device_code")},
			{"grant_type", "authorization_code", "client_id", azClient, "code", to.Query().Get("code"), "redirect_uri", "http://localhost:40149/"},
		} {
			if code, a := s.token(t, form...); code != 400 || a.str("error") != "invalid_grant" || a.str("access_token") != "" {
				t.Errorf("%s: %s: %d %v", name, form[1], code, a)
			}
		}
	}
}
