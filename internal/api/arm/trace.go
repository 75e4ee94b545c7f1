package arm

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/audit"
	"redoubt/internal/cloud"
)

// What the audit log of the control plane has (docs/audit.md): of every change two entries, one that says that it was
// begun, which is durable before anything is done, and one with its outcome; and, within limits, every request that was
// refused or failed. Reads that succeed have none, as in Azure's activity log.

const resultStarted = "Started"

// changes tells of a method that it is meant to change something.
func (q *request) changes() bool {
	switch q.Verb() {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return true
}

// begin records that a permitted change is begun, once for a request. While the log takes nothing, nothing is changed.
func (q *request) begin(action, scope string) error {
	if q.action == "" {
		q.action, q.scope = action, scope
	}
	if q.begun || !q.changes() {
		return nil
	}
	e := q.entry(0, nil)
	e.Result = resultStarted
	if err := q.h.cfg.Trail.Record(e); err != nil {
		return q.h.unrecorded(err)
	}
	q.begun = true
	return nil
}

// unrecorded is the answer when the log takes nothing.
func (h *Handler) unrecorded(err error) error {
	h.cfg.Log.Error("the audit log of the control plane cannot be written; changes are refused until it can", "error", err)
	return &azhttp.Problem{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Inner: "AuditUnavailable",
		Message: "The audit log of the control plane cannot be written, so nothing can be changed until it can: the operator of this server must make room for it, or repair its disk; nothing needs a restart."}
}

// trace records the outcome. What could not be recorded as it must be has failed, whatever it did.
func (q *request) trace(status int, err error) error {
	if err != nil {
		status = azhttp.StatusOf(err)
	} else if status == 0 {
		status = http.StatusOK
	}
	switch {
	case q.begun:
		if lost := q.h.cfg.Trail.Record(q.entry(status, err)); lost != nil && err == nil {
			return q.h.unrecorded(lost)
		}
	case status >= 400:
		q.h.cfg.Trail.Note(q.entry(status, err))
	}
	return err
}

// entry is what is known of the request. Its operation is the action that was asked for.
func (q *request) entry(status int, err error) audit.Entry {
	name := q.action
	switch {
	case name == "" && status == http.StatusUnauthorized:
		name = "Authentication"
	case name == "" && status == http.StatusTooManyRequests:
		name = "Throttled"
	case name == "":
		name = "UnknownOperation"
	}
	e := q.AuditEntry(name, q.who.Principal, status, err)
	e.Target, e.Version = q.scope, azhttp.Clip(q.askedVersion(), 32)
	if e.Target == "" {
		e.Target = resourceScope(q.Path)
	}
	e.Target = azhttp.Clip(e.Target, 1024) // anybody with a token can ask for a place with an endless name
	e.Resource = q.resource(e.Target)
	maps.Copy(e.Details, q.details)
	return e
}

// note adds a detail to the entry of the outcome; never a secret.
func (q *request) note(name, value string) {
	if q.details == nil {
		q.details = make(map[string]string)
	}
	q.details[name] = azhttp.Clip(value, 256)
}

// resource is the one that a scope is about.
func (q *request) resource(scope string) *audit.Resource {
	r := &audit.Resource{ID: strings.ToUpper(scope), Tenant: q.endpoints().TenantID, Type: "subscriptions"}
	segs := strings.Split(strings.Trim(scope, "/"), "/")
	for i := 0; i+1 < len(segs); i++ {
		switch strings.ToLower(segs[i]) {
		case "resourcegroups":
			r.Group, r.Name, r.Type = segs[i+1], segs[i+1], "resourceGroups"
		case "managedhsms", "deletedmanagedhsms":
			r.Name, r.Type = segs[i+1], ""
			if known, err := q.h.cfg.Fleet.Get(segs[i+1]); err == nil {
				r.SKUFamily, r.SKUName = known.SKUFamily, known.SKUName
			}
		case "userassignedidentities", "storageaccounts":
			r.Name, r.Type = segs[i+1], segs[i]
		}
	}
	return r
}

func (q *request) denied(action, scope string) error {
	q.action, q.scope = action, scope
	p := q.who.Principal
	text := fmt.Sprintf("The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		cmp.Or(p.UPN, p.AppID, q.who.Name), p.ID, action, scope)
	if role, ok := cloud.LeastRole(action); ok {
		text += fmt.Sprintf(" If the scope is right, ask an Owner to assign %q there.", role.RoleName)
	}
	if lost := p.GroupsLost; lost != "" {
		text += " Roles of groups may not have counted: " + lost + "."
	}
	return &azhttp.Problem{Status: http.StatusForbidden, Code: "AuthorizationFailed", Message: text}
}
