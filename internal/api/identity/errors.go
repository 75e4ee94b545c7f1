package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"redoubt/internal/cloud"
)

// oauthError is one way in which a token is refused: the OAuth code, Entra's AADSTS number that scripts and
// people look for, and a sentence of ours.
type oauthError struct {
	status int
	code   string
	number int
	text   string
}

func (e *oauthError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.number, e.text) }

func refuse(status int, code string, number int, format string, args ...any) *oauthError {
	return &oauthError{status: status, code: code, number: number, text: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *oauthError {
	return refuse(http.StatusBadRequest, "invalid_request", 900144, format, args...)
}

func errBadPassword() *oauthError {
	return refuse(http.StatusBadRequest, "invalid_grant", 50126, "Invalid username or password.")
}

func errBadSecret(app string) *oauthError {
	return refuse(http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided for app '%s'.", app)
}

func errUnknownApp(app, tenant string) *oauthError {
	return refuse(http.StatusBadRequest, "unauthorized_client", 700016, "Application '%s' was not found in the directory '%s'.", app, tenant)
}

func errUserChanged() *oauthError {
	return refuse(http.StatusBadRequest, "invalid_grant", 50173, "The user was removed or the password was changed; sign in again.")
}

func errUserDisabled() *oauthError {
	return refuse(http.StatusBadRequest, "invalid_grant", 50057, "The user account is disabled; 'redoubtd identity user enable' enables it.")
}

func errAppDisabled(app string) *oauthError {
	return refuse(http.StatusBadRequest, "unauthorized_client", 7000112, "Application '%s' is disabled; 'redoubtd identity app enable' enables it.", app)
}

func errLocked(left time.Duration) *oauthError {
	return refuse(http.StatusBadRequest, "invalid_grant", 50053,
		"The account is locked, you've tried to sign in too many times with an incorrect user ID or password. Wait %s and try again.",
		max(left.Round(time.Second), time.Second))
}

func errResource(resource string) *oauthError {
	return refuse(http.StatusBadRequest, "invalid_resource", 500011,
		"The resource '%s' is not served by this cloud; check the scope or resource of the request.", resource)
}

func errTenant(tenant string) *oauthError {
	return refuse(http.StatusBadRequest, "invalid_request", 90002, "Tenant '%s' not found; use the tenant id of this cloud.", tenant)
}

// errorBody is Entra's form of an OAuth error.
type errorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
}

func (s *Server) writeError(w http.ResponseWriter, r *http.Request, e *oauthError) {
	body := errorBody{
		Error:         e.code,
		Codes:         []int{e.number},
		Timestamp:     s.issuer.now().UTC().Format("2006-01-02 15:04:05Z"),
		TraceID:       cloud.NewGUID(),
		CorrelationID: correlation(r),
	}
	body.Description = fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s",
		e.Error(), body.TraceID, body.CorrelationID, body.Timestamp)
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="redoubt"`)
	}
	writeJSON(w, e.status, body)
}

// correlation is the client's own request id when it sent a sound one.
func correlation(r *http.Request) string {
	id := strings.ToLower(r.Header.Get("client-request-id"))
	if len(id) == 36 && strings.Trim(id, "0123456789abcdef-") == "" {
		return id
	}
	return cloud.NewGUID()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(b) //nolint:errcheck // the client went away; there is nobody to tell
}

// seconds is a lifetime as OAuth writes it.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
