package azhttp

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"redoubt/internal/audit"
	"redoubt/internal/rbac"
)

// AuditEntry is what the audit log says of a request that comes to no guard of its own: who is nobody when there was no
// token that is believed. status is that of the answer, and err why it is no success.
func (rq *Request) AuditEntry(operation string, who rbac.Principal, status int, err error) audit.Entry {
	ip, _, _ := net.SplitHostPort(rq.RemoteAddr)
	e := audit.Entry{Operation: operation, Result: "Success", Status: status, Principal: who.ID, AppID: who.AppID, UPN: who.UPN, CallerIP: ip,
		ClientInfo: Clip(rq.UserAgent(), 256), RequestID: rq.ID, RequestURI: AuditedURI(rq.Request), DurationMS: float64(rq.Elapsed().Microseconds()) / 1000,
		Details: map[string]string{"method": Clip(rq.Verb(), 16)}}
	if err == nil && status < 400 {
		return e
	}
	if e.Result = "Failed"; status == http.StatusForbidden || errors.Is(err, rbac.ErrDenied) {
		e.Result = "Denied"
	}
	if err != nil {
		e.Reason = Clip(err.Error(), 512)
	}
	return e
}

// AuditedURI is the address of a request as it goes into the audit log. Of the query only what is read here is
// kept with its value: anything else may be what a client put there by mistake, such as a SAS.
func AuditedURI(r *http.Request) string {
	path, query := r.URL.EscapedPath(), r.URL.RawQuery
	if !strings.Contains(query, "&") && harmless(query) || query == "" {
		return address(Clip(r.Host, 255), path, query)
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if !harmless(pair) {
			name, _, named := strings.Cut(pair, "=")
			if pair = "..."; named {
				pair = Clip(name, 32) + "=..."
			}
		}
		kept = append(kept, pair)
	}
	return address(Clip(r.Host, 255), path, strings.Join(kept, "&"))
}

// harmless tells of name=value in a query that its value may be recorded.
func harmless(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	switch name = Unquery(name); {
	case strings.EqualFold(name, "api-version"), strings.EqualFold(name, "maxresults"), strings.EqualFold(name, "$filter"):
		return len(pair) <= 256
	}
	return false
}

// longestURI is how much of an address is recorded, bytes.
const longestURI = 2048

func address(host, path, query string) string {
	if query == "" {
		return Clip("https://"+host+path, longestURI)
	}
	return Clip("https://"+host+path+"?"+query, longestURI)
}

// Unquery is a name or value of a query as it was meant; one that is not escaped as it must be stays as it is.
func Unquery(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

// Clip cuts a text that a client chose to n bytes. What is left does not hold the rest: entries wait in memory.
func Clip(s string, n int) string {
	if len(s) > n {
		return strings.Clone(s[:n])
	}
	return s
}
