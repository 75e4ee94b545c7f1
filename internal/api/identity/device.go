package identity

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"
)

// device is a sign-in on a device without a browser (RFC 8628): the device polls with the device code while a
// person enters the user code elsewhere.
type device struct {
	userCode string
	client   string
	scope    string
	user     string // object id, once approved
	stamp    string // the person's, when they approved
}

func (s *Server) serveDeviceCode(w http.ResponseWriter, r request) {
	form, err := postForm(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	t := tokenRequest{request: r, form: form, client: strings.ToLower(form.Get("client_id"))}
	if t.client == "" {
		s.fail(w, r, badRequest("The request body must contain the parameter 'client_id'."))
		return
	}
	if err := s.readScopes(&t, ""); err != nil {
		s.fail(w, r, err)
		return
	}
	scope := form.Get("scope")
	if t.v1 {
		scope = t.scopes.resource + "/.default offline_access openid"
	}
	code := rand.Text() + rand.Text()
	d := device{userCode: rand.Text()[:9], client: t.client, scope: scope}
	if !s.devices.add(code, d) || !s.userCodes.add(d.userCode, code) {
		s.fail(w, r, refuse(http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "Too many sign-ins are under way; wait a few minutes."))
		return
	}
	page := r.base + "/device"
	if r.adfs {
		page = r.base + "/adfs/oauth2/deviceauth"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": code, "verification_uri": page, "verification_url": page,
		"expires_in": seconds(s.devices.life), "interval": 1,
		"message": "To sign in to this local cloud, open " + page +
			" in a browser that trusts its CA (and uses its proxy, if you do) and enter the code " + d.userCode + ".",
	})
}

func (s *Server) deviceGrant(t *tokenRequest) (tokenResponse, error) {
	code := t.form.Get("device_code")
	if code == "" {
		code = t.form.Get("code")
	}
	var d device
	found := s.devices.with(code, func(it *device) bool {
		d = *it
		return it.user != "" && it.client == t.client // approved: good for one answer
	})
	switch {
	case !found:
		return tokenResponse{}, refuse(http.StatusBadRequest, "expired_token", 70020, "The device code is unknown or has expired; start the sign-in again.")
	case d.client != t.client:
		return tokenResponse{}, refuse(http.StatusBadRequest, "invalid_grant", 70000, "The device code belongs to another client.")
	case d.user == "":
		return tokenResponse{}, refuse(http.StatusBadRequest, "authorization_pending", 70016, "The sign-in has not been approved yet.")
	}
	if err := s.readScopes(t, d.scope); err != nil {
		return tokenResponse{}, err
	}
	u, err := s.user(t.Context(), d.user, d.stamp)
	if err != nil {
		return tokenResponse{}, err
	}
	return s.userTokens(t, u, "")
}

// approval is what a person enters on the device page.
type approval struct {
	UserCode string `json:"user_code"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// serveDevicePage shows the page and takes its form. The same form as JSON is answered with JSON, for
// scripts:
//
//	POST /device {"user_code":"ABCDEFGHI","username":"operator@...","password":"..."} -> {"status":"approved"}
func (s *Server) serveDevicePage(w http.ResponseWriter, r request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		s.page(w, http.StatusOK, pageData{Title: "Sign in a device", Action: r.URL.EscapedPath(), AskCode: true, AskPassword: true,
			UserCode: clip(r.URL.Query().Get("user_code"))})
		return
	}
	ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	asJSON := ct == "application/json"
	a, err := readApproval(r, asJSON)
	if err == nil {
		err = s.approve(r, a)
	}
	switch {
	case err == nil && asJSON:
		writeJSON(w, http.StatusOK, map[string]string{"status": "approved"})
	case err == nil:
		s.page(w, http.StatusOK, pageData{Title: "Device signed in", Text: "The device is signed in. You may close this window."})
	case asJSON:
		s.fail(w, r, err)
	default:
		s.failPage(w, err, pageData{Title: "Sign in a device", Action: r.URL.EscapedPath(), AskCode: true, AskPassword: true,
			UserCode: clip(a.UserCode), Username: clip(a.Username)})
	}
}

func readApproval(r request, asJSON bool) (approval, error) {
	var a approval
	if asJSON {
		if r.Method != http.MethodPost {
			return a, refuse(http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint only accepts POST requests.")
		}
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			return a, badRequest("The request body cannot be read as JSON.")
		}
		return a, nil
	}
	form, err := postForm(r)
	if err != nil {
		return a, err
	}
	return approval{UserCode: form.Get("user_code"), Username: form.Get("username"), Password: form.Get("password")}, nil
}

func (s *Server) approve(r request, a approval) error {
	userCode := strings.ToUpper(strings.TrimSpace(a.UserCode))
	var code string
	if !s.userCodes.with(userCode, func(c *string) bool { code = *c; return false }) {
		return refuse(http.StatusBadRequest, "invalid_grant", 70020, "The code is unknown or has expired.")
	}
	u, err := s.signIn(r.Context(), a.Username, a.Password)
	if err != nil {
		return err
	}
	s.userCodes.take(userCode)
	if !s.devices.with(code, func(d *device) bool { d.user, d.stamp = u.ObjectID, u.Stamp; return false }) {
		return refuse(http.StatusBadRequest, "invalid_grant", 70020, "The code is unknown or has expired.")
	}
	return nil
}

// failPage shows an error above the form it belongs to.
func (s *Server) failPage(w http.ResponseWriter, err error, p pageData) {
	var oe *oauthError
	if !errors.As(err, &oe) {
		s.log.Error("sign-in failed", "error", err)
		oe = refuse(http.StatusInternalServerError, "server_error", 90033, "The sign-in service failed; its log says why. Try again.")
	}
	p.Problem = oe.Error()
	s.page(w, oe.status, p)
}
