package identity

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
)

// authCode is a browser sign-in that waits to be exchanged at the token endpoint.
type authCode struct {
	client, redirect, scope string
	challenge               string // PKCE S256, empty when the client sent none
	nonce                   string
	user, stamp             string // object id and stamp of the person
}

// authorizeParams are carried through the sign-in page as hidden fields.
var authorizeParams = []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "resource",
	"state", "nonce", "code_challenge", "code_challenge_method"}

// serveAuthorize is the browser sign-in: a page that asks for name and password, then a code for the client
// that listens on loopback (RFC 8252). Other redirect targets are refused.
func (s *Server) serveAuthorize(w http.ResponseWriter, r request) {
	var form url.Values
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		form = r.URL.Query()
	default:
		var err error
		if form, err = postForm(r); err != nil {
			s.failPage(w, err, pageData{Title: "Sign in"})
			return
		}
	}
	redirect, err := checkAuthorize(form)
	if err != nil {
		s.failPage(w, err, pageData{Title: "Sign in"})
		return
	}
	p := pageData{Title: "Sign in", Action: r.URL.EscapedPath(), AskPassword: true, Hidden: map[string]string{}, redirect: redirect,
		Username: clip(form.Get("login_hint"))}
	for _, k := range authorizeParams {
		if form.Has(k) {
			p.Hidden[k] = form.Get(k)
		}
	}
	if r.Method != http.MethodPost {
		s.page(w, http.StatusOK, p)
		return
	}
	u, err := s.signIn(r.Context(), form.Get("username"), form.Get("password"))
	if err != nil {
		p.Username = clip(form.Get("username"))
		s.failPage(w, err, p)
		return
	}
	scope := form.Get("scope")
	if res := form.Get("resource"); res != "" {
		scope = res + "/.default offline_access openid"
	}
	code := rand.Text() + rand.Text()
	ok := s.codes.add(code, authCode{client: strings.ToLower(form.Get("client_id")), redirect: form.Get("redirect_uri"), scope: scope,
		challenge: form.Get("code_challenge"), nonce: form.Get("nonce"), user: u.ObjectID, stamp: u.Stamp})
	if !ok {
		s.failPage(w, refuse(http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "Too many sign-ins are under way; wait a few minutes."), p)
		return
	}
	s.sendCode(w, r, form, redirect, code)
}

// checkAuthorize returns where the code goes.
func checkAuthorize(form url.Values) (*url.URL, error) {
	if form.Get("response_type") != "code" || form.Get("client_id") == "" {
		return nil, badRequest("The sign-in needs client_id and response_type=code. On a machine without a browser use 'az login --use-device-code'.")
	}
	if m := form.Get("code_challenge_method"); form.Get("code_challenge") != "" && m != "S256" {
		return nil, badRequest("The code_challenge_method must be S256.")
	}
	if m := form.Get("response_mode"); m != "" && m != "query" && m != "form_post" {
		return nil, badRequest("The response_mode must be query or form_post.")
	}
	u, err := url.Parse(form.Get("redirect_uri"))
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || !isLoopback(u.Hostname()) {
		return nil, refuse(http.StatusBadRequest, "invalid_request", 50011, "The redirect_uri must be on http://localhost.")
	}
	return u, nil
}

func isLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || host == "127.0.0.1" || host == "::1"
}

// sendCode hands the code to the waiting client in the way it asked for.
func (s *Server) sendCode(w http.ResponseWriter, r request, form url.Values, redirect *url.URL, code string) {
	if form.Get("response_mode") == "form_post" {
		s.page(w, http.StatusOK, pageData{Title: "Signed in", Action: redirect.String(), Submit: true, redirect: redirect,
			Hidden: map[string]string{"code": code, "state": form.Get("state")}})
		return
	}
	to := *redirect
	q := to.Query()
	q.Set("code", code)
	q.Set("state", form.Get("state"))
	to.RawQuery = q.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request, to.String(), http.StatusSeeOther)
}
