package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/cloud"
	"redoubt/internal/rbac"
)

const grantDevice = "urn:ietf:params:oauth:grant-type:device_code"

// tokenRequest is a parsed call of the token endpoint.
type tokenRequest struct {
	request
	form   url.Values
	client string // client_id, lower-case
	secret string // client_secret, from the form or the Basic header
	scopes scopes
	v1     bool // asked with "resource": answered in the v1 form
}

// tokenResponse is the v2 answer; v1 adds fields and writes numbers as strings (see writeTokens).
type tokenResponse struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`

	resource string
	expires  time.Time
}

func (s *Server) serveToken(w http.ResponseWriter, r request) {
	resp, err := s.token(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeTokens(w, resp.resource, resp.v1, resp.tokenResponse)
}

// fail answers any error of a handler: the client's in Entra's form, ours as a plain server error.
func (s *Server) fail(w http.ResponseWriter, r request, err error) {
	var oe *oauthError
	if !errors.As(err, &oe) {
		s.log.Error("sign-in failed", "error", err)
		oe = refuse(http.StatusInternalServerError, "server_error", 90033, "The sign-in service failed; its log says why. Try again.")
	} else {
		s.log.Info("sign-in refused", "code", oe.number, "reason", oe.code)
	}
	s.writeError(w, r.Request, oe)
}

type answered struct {
	tokenResponse
	v1 bool
}

func (s *Server) token(r request) (answered, error) {
	form, err := postForm(r)
	if err != nil {
		return answered{}, err
	}
	t := tokenRequest{request: r, form: form, client: strings.ToLower(form.Get("client_id")), secret: form.Get("client_secret")}
	if id, secret, ok := r.BasicAuth(); ok && t.secret == "" {
		// RFC 6749, 2.3.1: both are form-encoded inside the header.
		if id, err = url.QueryUnescape(id); err == nil {
			secret, err = url.QueryUnescape(secret)
		}
		if err != nil {
			return answered{}, badRequest("The Authorization header cannot be read.")
		}
		t.client, t.secret = strings.ToLower(id), secret
	}
	if t.client == "" {
		return answered{}, badRequest("The request body must contain the parameter 'client_id'.")
	}
	var resp tokenResponse
	switch grant := form.Get("grant_type"); grant {
	case "client_credentials":
		resp, err = s.clientCredentials(&t)
	case "password":
		resp, err = s.password(&t)
	case "refresh_token":
		resp, err = s.refresh(&t)
	case "authorization_code":
		resp, err = s.authorizationCode(&t)
	case grantDevice, "device_code":
		resp, err = s.deviceGrant(&t)
	case "":
		err = badRequest("The request body must contain the parameter 'grant_type'.")
	default:
		err = refuse(http.StatusBadRequest, "unsupported_grant_type", 70003, "The grant type '%s' is not supported.", clip(grant))
	}
	return answered{tokenResponse: resp, v1: t.v1 && !t.adfs}, err
}

// postForm reads a form body. A parameter given twice is refused (RFC 6749, 3.2).
func postForm(r request) (url.Values, error) {
	if r.Method != http.MethodPost {
		return nil, refuse(http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint only accepts POST requests.")
	}
	if ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); ct != "application/x-www-form-urlencoded" {
		return nil, badRequest("The request body must be a form (application/x-www-form-urlencoded).")
	}
	if err := r.ParseForm(); err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return nil, refuse(http.StatusRequestEntityTooLarge, "invalid_request", 900144, "The request body is longer than %d bytes.", maxBody)
		}
		return nil, badRequest("The request body cannot be read as a form.")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return nil, badRequest("The parameter '%s' is given more than once.", clip(name))
		}
	}
	return r.PostForm, nil
}

// readScopes finds out which resource a token is wanted for; fallback is the scope of an earlier step.
func (s *Server) readScopes(t *tokenRequest, fallback string) error {
	if res := t.form.Get("resource"); res != "" {
		t.v1 = true
		sc, err := parseScope(t.form.Get("scope"))
		if err != nil && !errors.Is(err, errNoScope) && !errors.Is(err, errTwoScopes) {
			return badRequest("%s", err)
		}
		t.scopes = scopes{resource: res, openID: sc.openID, offline: true}
	} else {
		text := t.form.Get("scope")
		if text == "" {
			text = fallback
		}
		sc, err := parseScope(text)
		if err != nil {
			return refuse(http.StatusBadRequest, "invalid_scope", 70011, "The scope cannot be used: %s.", err)
		}
		t.scopes = sc
	}
	if t.scopes.resource == "" {
		t.scopes.resource = s.graph
	}
	if !s.issuer.Serves(t.scopes.resource) {
		return errResource(clip(t.scopes.resource))
	}
	return nil
}

func (s *Server) clientCredentials(t *tokenRequest) (tokenResponse, error) {
	check, how := s.checkSecret, "1" // "appidacr" of Entra's tokens: 1 is a secret, 2 an assertion
	switch {
	case t.form.Has("client_assertion") || t.form.Has("client_assertion_type"):
		check, how = s.checkAssertion, "2"
	case t.secret == "":
		return tokenResponse{}, refuse(http.StatusUnauthorized, "invalid_client", 7000216,
			"The request must contain 'client_assertion' or 'client_secret' for the grant 'client_credentials'.")
	}
	if err := s.readScopes(t, ""); err != nil {
		return tokenResponse{}, err
	}
	sp, err := check(t)
	if err != nil {
		return tokenResponse{}, err
	}
	p := rbac.Principal{ID: sp.ObjectID, Tenant: s.issuer.tenant, AppID: sp.AppID}
	return s.mint(t, p, map[string]any{"app_displayname": sp.DisplayName, "appidacr": how})
}

// checkSecret checks an application's secret, slowing down guesses. Signing in with a certificate or a federated
// token goes on while the name is locked: nobody guesses those.
func (s *Server) checkSecret(t *tokenRequest) (cloud.ServicePrincipal, error) {
	name := lockedApp(t.client)
	if left := s.lockout.left(name); left > 0 {
		return cloud.ServicePrincipal{}, errLocked(left)
	}
	sp, err := s.dir.CheckSecret(t.Context(), t.client, t.secret)
	var refused *oauthError
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		refused = errUnknownApp(clip(t.client), s.issuer.tenant)
	case errors.Is(err, cloud.ErrBadCredentials):
		refused = errBadSecret(clip(t.client))
	case errors.Is(err, cloud.ErrDisabled):
		refused, err = errAppDisabled(clip(t.client)), nil // whoever asks knows the secret
	case err != nil:
		return sp, fmt.Errorf("check client secret: %w", err)
	}
	if left := s.lockout.settle(name, err == nil); left > 0 {
		return cloud.ServicePrincipal{}, errLocked(left)
	}
	if refused != nil {
		return cloud.ServicePrincipal{}, refused
	}
	return sp, nil
}

// lockedApp and lockedUser are the names under which wrong secrets are counted.
func lockedApp(client string) string { return "app:" + clip(strings.ToLower(client)) }

func lockedUser(upn string) string { return "user:" + clip(strings.ToLower(upn)) }

func (s *Server) mint(t *tokenRequest, p rbac.Principal, extra map[string]any) (tokenResponse, error) {
	token, expires, err := s.issuer.Mint(t.Context(), p, t.scopes.resource, extra)
	if err != nil {
		return tokenResponse{}, fmt.Errorf("mint token: %w", err)
	}
	life := seconds(expires.Sub(s.issuer.now()))
	return tokenResponse{TokenType: "Bearer", ExpiresIn: life, ExtExpiresIn: life, AccessToken: token,
		resource: t.scopes.resource, expires: expires}, nil
}

// signIn checks a person's name and password, slowing down guesses.
func (s *Server) signIn(ctx context.Context, upn, password string) (cloud.User, error) {
	name := lockedUser(upn)
	if left := s.lockout.left(name); left > 0 {
		return cloud.User{}, errLocked(left)
	}
	u, err := s.dir.CheckPassword(ctx, upn, password)
	disabled := errors.Is(err, cloud.ErrDisabled) // whoever asks knows the password
	if err != nil && !disabled && !errors.Is(err, cloud.ErrBadCredentials) {
		return cloud.User{}, fmt.Errorf("check password: %w", err)
	}
	if left := s.lockout.settle(name, err == nil || disabled); left > 0 {
		return cloud.User{}, errLocked(left)
	}
	switch {
	case disabled:
		return cloud.User{}, errUserDisabled()
	case err != nil:
		return cloud.User{}, errBadPassword()
	}
	return u, nil
}

func (s *Server) password(t *tokenRequest) (tokenResponse, error) {
	upn, password := t.form.Get("username"), t.form.Get("password")
	if upn == "" || password == "" {
		return tokenResponse{}, badRequest("The request body must contain the parameters 'username' and 'password'.")
	}
	if err := s.readScopes(t, ""); err != nil {
		return tokenResponse{}, err
	}
	u, err := s.signIn(t.Context(), upn, password)
	if err != nil {
		return tokenResponse{}, err
	}
	return s.userTokens(t, u, "")
}

func (s *Server) refresh(t *tokenRequest) (tokenResponse, error) {
	token := t.form.Get("refresh_token")
	if token == "" {
		return tokenResponse{}, badRequest("The request body must contain the parameter 'refresh_token'.")
	}
	if err := s.readScopes(t, "offline_access"); err != nil {
		return tokenResponse{}, err
	}
	c, err := s.issuer.openRefresh(t.Context(), token)
	if err != nil || c.Client != t.client {
		return tokenResponse{}, refuse(http.StatusBadRequest, "invalid_grant", 700082, "The refresh token is not valid or has expired; sign in again.")
	}
	u, err := s.user(t.Context(), c.Subject, c.Stamp)
	if err != nil {
		return tokenResponse{}, err
	}
	return s.userTokens(t, u, "")
}

// user finds a person who signed in earlier, when stamp was theirs, and may have been removed or disabled or given another
// password since.
func (s *Server) user(ctx context.Context, objectID, stamp string) (cloud.User, error) {
	u, err := s.dir.User(ctx, objectID)
	if errors.Is(err, cloud.ErrNotFound) {
		return u, errUserChanged()
	}
	if err != nil {
		return u, fmt.Errorf("find user: %w", err)
	}
	if u.Disabled {
		return u, errUserDisabled()
	}
	if u.Stamp != stamp {
		return u, errUserChanged()
	}
	return u, nil
}

func (s *Server) authorizationCode(t *tokenRequest) (tokenResponse, error) {
	code, ok := s.codes.take(t.form.Get("code"))
	if !ok || code.client != t.client || code.redirect != t.form.Get("redirect_uri") {
		return tokenResponse{}, refuse(http.StatusBadRequest, "invalid_grant", 70008, "The authorization code is unknown, was used already or has expired; sign in again.")
	}
	if code.challenge != "" {
		sum := sha256.Sum256([]byte(t.form.Get("code_verifier")))
		if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(code.challenge)) != 1 {
			return tokenResponse{}, refuse(http.StatusBadRequest, "invalid_grant", 501481, "The code_verifier does not match the code_challenge of the sign-in.")
		}
	}
	if err := s.readScopes(t, code.scope); err != nil {
		return tokenResponse{}, err
	}
	u, err := s.user(t.Context(), code.user, code.stamp)
	if err != nil {
		return tokenResponse{}, err
	}
	return s.userTokens(t, u, code.nonce)
}

// userTokens is the full set for a person.
func (s *Server) userTokens(t *tokenRequest, u cloud.User, nonce string) (tokenResponse, error) {
	p := rbac.Principal{ID: u.ObjectID, Tenant: s.issuer.tenant, UPN: u.UPN}
	resp, err := s.mint(t, p, map[string]any{"name": u.DisplayName, "appid": t.client, "appidacr": "0"})
	if err != nil {
		return tokenResponse{}, err
	}
	if t.scopes.offline || t.adfs {
		if resp.RefreshToken, err = s.issuer.refreshToken(u, t.client); err != nil {
			return tokenResponse{}, err
		}
	}
	if resp.IDToken, err = s.issuer.idToken(u, t.client, nonce, s.idIssuer(t.request)); err != nil {
		return tokenResponse{}, err
	}
	info, err := json.Marshal(map[string]string{"uid": u.ObjectID, "utid": s.issuer.tenant})
	if err != nil {
		return tokenResponse{}, fmt.Errorf("encode client_info: %w", err)
	}
	resp.ClientInfo = base64.RawURLEncoding.EncodeToString(info)
	return resp, nil
}

// v1Response is the answer to a request that named its resource the old way.
type v1Response struct {
	tokenResponse
	ExpiresIn    string `json:"expires_in"`
	ExtExpiresIn string `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on"`
	Resource     string `json:"resource"`
}

func (s *Server) writeTokens(w http.ResponseWriter, resource string, v1 bool, resp tokenResponse) {
	if !v1 {
		writeJSON(w, http.StatusOK, resp)
		return
	}
	life := strconv.FormatInt(resp.ExpiresIn, 10)
	writeJSON(w, http.StatusOK, v1Response{tokenResponse: resp, ExpiresIn: life, ExtExpiresIn: life,
		ExpiresOn: strconv.FormatInt(resp.expires.Unix(), 10), Resource: resource})
}
