package dataplane

import (
	"errors"
	"net/http"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/fleet"
)

// What the audit log calls requests that are no operation.
const (
	tracedSignIn  = "Authentication"   // no token, or one that is not believed
	tracedUnknown = "UnknownOperation" // no operation has this method and path
	tracedHost    = "UnknownHost"      // no HSM has this name
	// tracedThrottled: somebody came too often, and what they wanted was not looked at.
	tracedThrottled = "Throttled"
)

// trace records a request that came to no guard, as far as the limit for refusals lets it: in the log of the HSM that it
// was for, or, when there is none, in that of the control plane.
func (h *Handler) trace(q *request, status int, err error) {
	if q.Traced {
		return
	}
	q.Traced = true
	if err != nil {
		status = azhttp.StatusOf(err)
	}
	name := tracedUnknown
	switch {
	case errors.Is(err, fleet.ErrUnknownHost):
		name = tracedHost
	case status == http.StatusUnauthorized:
		name = tracedSignIn
	case status == http.StatusTooManyRequests:
		name = tracedThrottled
	case q.Operation != 0:
		name = q.Operation.String()
	}
	who := q.who.Principal
	if who.ID == "" {
		who.ID = q.Principal // turned away before anything else
	}
	e := q.AuditEntry(name, who, status, err)
	if err == nil && status == http.StatusUnauthorized {
		e.Reason = "the request had no token"
	}
	if q.hsm == nil {
		h.cfg.Trail.Note(e)
		return
	}
	e.Version = q.who.Version
	q.hsm.Trace(e)
}
