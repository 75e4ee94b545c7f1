package identity

import (
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// IMDS answers managed identity requests as the instance metadata service of a virtual machine does, at
// http://169.254.169.254 there and on loopback here. Programs are told where by AZURE_POD_IDENTITY_AUTHORITY_HOST:
//
//	GET {host}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://managedhsm.azure.net&client_id=...
//	Metadata: true
//
// The identity is chosen as with MSI. There is no secret: every process of the machine is believed, as on a
// virtual machine. The header keeps out requests that a program was talked into by somebody else; so do the checks
// that nobody has forwarded the request, and that it names this machine as its host (no page of a browser does
// after its name was made to lead here). It is an http.Handler, safe for concurrent use.
type IMDS struct{ managed }

// NewIMDS returns the handler. log may be nil.
func NewIMDS(issuer *Issuer, dir Directory, log *slog.Logger) (*IMDS, error) {
	m, err := newManaged(issuer, dir, log)
	return &IMDS{m}, err
}

// imdsResponse is the service's answer: every value is a string, times are seconds.
type imdsResponse struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"`
	ExpiresOn    string `json:"expires_on"`
	ExtExpiresIn string `json:"ext_expires_in"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

// imdsVersion is the form of an api-version; the service takes every one since 2018-02-01 alike.
var imdsVersion = regexp.MustCompile(`^20[0-9]{2}-[0-9]{2}-[0-9]{2}$`)

// ServeHTTP answers one token request.
func (m *IMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Values("X-Forwarded-For") != nil || r.Header.Values("Forwarded") != nil:
		m.refuse(w, http.StatusBadRequest, "invalid_request", "Requests that were forwarded are refused.")
	case !isLoopback(hostOf(r.Host)):
		m.refuse(w, http.StatusBadRequest, "invalid_request", "The request names another host.")
	case !strings.EqualFold(r.Header.Get("Metadata"), "true"):
		m.refuse(w, http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
	case strings.TrimRight(r.URL.EscapedPath(), "/") != "/metadata/identity/oauth2/token":
		m.refuse(w, http.StatusNotFound, "not_found", "There are only tokens here: /metadata/identity/oauth2/token")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		m.refuse(w, http.StatusMethodNotAllowed, "invalid_request", "Tokens are asked for with GET.")
	case !imdsVersion.MatchString(r.URL.Query().Get("api-version")):
		m.refuse(w, http.StatusBadRequest, "bad_request_102", "Required api-version parameter not specified or not valid; use 2018-02-01.")
	default:
		m.serve(w, r)
	}
}

func (m *IMDS) serve(w http.ResponseWriter, r *http.Request) {
	t, status, problem := m.token(r)
	if problem != "" {
		m.refuse(w, status, "invalid_request", problem)
		return
	}
	now := m.issuer.now()
	life := strconv.FormatInt(seconds(t.expires.Sub(now)), 10)
	writeJSON(w, http.StatusOK, imdsResponse{AccessToken: t.token, ClientID: t.clientID, ExpiresIn: life, ExtExpiresIn: life,
		ExpiresOn: strconv.FormatInt(t.expires.Unix(), 10), NotBefore: strconv.FormatInt(now.Unix(), 10), Resource: t.resource, TokenType: "Bearer"})
}

func (m *IMDS) refuse(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": text})
}

func hostOf(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return hostport
}
