// Package graph answers the few Microsoft Graph requests that az makes around a Managed HSM: who am I, who is
// this assignee, what are these object ids called. It is read-only and knows the people, service principals
// and managed identities of the dev cloud; there are no groups and no applications.
//
// Every object carries its id twice, as "id" and as "objectId": today's Graph says "id", published procedures
// still query "objectId".
package graph

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
)

const (
	maxBody = 64 << 10
	maxPath = 2048
	maxIDs  = 1000 // Graph's own limit for getByIds
)

// Directory is what the handler asks; *cloud.Cloud is one.
type Directory interface {
	Principal(ctx context.Context, objectID string) (cloud.Principal, error)
	Principals(ctx context.Context) ([]cloud.Principal, error)
	Tenant(ctx context.Context) (cloud.Tenant, error)
}

// Verifier checks bearer tokens made for Graph; *authn.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, rawToken string) (authn.Identity, error)
}

// Handler is the http.Handler of Graph. It is safe for concurrent use.
type Handler struct {
	dir    Directory
	tokens Verifier
	base   string
	log    *slog.Logger
}

// New returns a Handler. base is its own URL without version ("https://graph.microsoft.com"), which is put into
// @odata.context; log may be nil.
func New(dir Directory, tokens Verifier, base string, log *slog.Logger) (*Handler, error) {
	if dir == nil || tokens == nil || base == "" {
		return nil, errors.New("graph: directory, verifier and base URL are needed")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Handler{dir: dir, tokens: tokens, base: strings.TrimRight(base, "/"), log: log}, nil
}

// graphError is an answer that is not 200.
type graphError struct {
	status     int
	code, text string
}

func (e *graphError) Error() string { return e.code + ": " + e.text }

func notFound(what string) *graphError {
	return &graphError{http.StatusNotFound, "Request_ResourceNotFound", "Resource '" + clip(what) + "' does not exist in this directory."}
}

// ServeHTTP checks the token, then answers.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	raw, err := authn.Bearer(r.Header.Values("Authorization"))
	var id authn.Identity
	if err == nil {
		id, err = h.tokens.Verify(r.Context(), raw)
	}
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		h.fail(w, r, &graphError{http.StatusUnauthorized, "InvalidAuthenticationToken", err.Error()})
		return
	}
	v, err := h.answer(r, id)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

// answer routes by the raw path: /v1.0 or /beta, then the collection.
func (h *Handler) answer(r *http.Request, id authn.Identity) (any, error) {
	segs, ok := segments(r.URL.EscapedPath())
	if !ok || len(segs) < 2 || (!strings.EqualFold(segs[0], "v1.0") && !strings.EqualFold(segs[0], "beta")) {
		return nil, &graphError{http.StatusBadRequest, "BadRequest", "The path must begin with /v1.0."}
	}
	collection, rest := strings.ToLower(segs[1]), segs[2:]
	if r.Method == http.MethodPost && collection == "directoryobjects" && len(rest) == 1 && strings.EqualFold(rest[0], "getByIds") {
		return h.getByIDs(r)
	}
	if r.Method != http.MethodGet {
		return nil, &graphError{http.StatusMethodNotAllowed, "Request_BadRequest", "This directory can only be read."}
	}
	switch {
	case collection == "me" && len(rest) == 0:
		return h.me(r.Context(), id)
	case collection == "organization" && len(rest) == 0:
		return h.organization(r.Context())
	case len(rest) == 1 && (collection == "users" || collection == "serviceprincipals" || collection == "directoryobjects"):
		return h.one(r.Context(), collection, rest[0])
	case len(rest) > 0:
		return nil, notFound(strings.Join(segs[1:], "/"))
	case collection == "users" || collection == "serviceprincipals":
		return h.list(r, collection)
	case collection == "groups" || collection == "applications":
		if _, err := parseFilter(r.URL.Query().Get("$filter")); err != nil {
			return nil, badFilter(err)
		}
		return listOf(h.context(collection), []map[string]any{}), nil
	}
	return nil, notFound(segs[1])
}

// me is the signed-in person. For a program Graph refuses it, and so do we.
func (h *Handler) me(ctx context.Context, id authn.Identity) (any, error) {
	if id.App {
		return nil, &graphError{http.StatusBadRequest, "BadRequest", "/me request is only valid with delegated authentication flow."}
	}
	p, err := h.dir.Principal(ctx, id.Principal.ID)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil, notFound(id.Principal.ID)
	}
	if err != nil {
		return nil, err
	}
	o := object(p)
	o["@odata.context"] = h.base + "/v1.0/$metadata#users/$entity"
	return o, nil
}

func (h *Handler) organization(ctx context.Context) (any, error) {
	t, err := h.dir.Tenant(ctx)
	if err != nil {
		return nil, err
	}
	return listOf(h.context("organization"), []map[string]any{{
		"id": t.ID, "displayName": t.DisplayName,
		"verifiedDomains": []map[string]any{{"name": t.Domain, "isDefault": true, "isInitial": true}},
	}}), nil
}

// one finds a principal by id, a person also by UPN.
func (h *Handler) one(ctx context.Context, collection, key string) (any, error) {
	all, err := h.dir.Principals(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if !belongs(p, collection) {
			continue
		}
		if strings.EqualFold(p.ObjectID, key) || (p.UPN != "" && strings.EqualFold(p.UPN, key)) {
			o := object(p)
			o["@odata.context"] = h.context(collection) + "/$entity"
			return o, nil
		}
	}
	return nil, notFound(key)
}

func (h *Handler) list(r *http.Request, collection string) (any, error) {
	f, err := parseFilter(r.URL.Query().Get("$filter"))
	if err != nil {
		return nil, badFilter(err)
	}
	all, err := h.dir.Principals(r.Context())
	if err != nil {
		return nil, err
	}
	found := []map[string]any{}
	for _, p := range all {
		if belongs(p, collection) && f.match(properties(p)) {
			found = append(found, object(p))
		}
	}
	return listOf(h.context(collection), found), nil
}

func (h *Handler) getByIDs(r *http.Request) (any, error) {
	var req struct {
		IDs   []string `json:"ids"`
		Types []string `json:"types"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, &graphError{http.StatusBadRequest, "BadRequest", "The request body must be JSON with a list 'ids'."}
	}
	if len(req.IDs) > maxIDs {
		return nil, &graphError{http.StatusBadRequest, "Request_BadRequest", "At most 1000 ids may be asked for at once."}
	}
	found := []map[string]any{}
	for _, id := range req.IDs {
		p, err := h.dir.Principal(r.Context(), id)
		if errors.Is(err, cloud.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if wanted(p, req.Types) {
			o := object(p)
			o["@odata.type"] = odataType(p)
			found = append(found, o)
		}
	}
	return listOf(h.context("directoryObjects"), found), nil
}

func wanted(p cloud.Principal, types []string) bool {
	if len(types) == 0 {
		return true
	}
	for _, t := range types {
		if strings.EqualFold(t, "directoryObject") || strings.EqualFold("#microsoft.graph."+t, odataType(p)) {
			return true
		}
	}
	return false
}

func (h *Handler) context(collection string) string { return h.base + "/v1.0/$metadata#" + collection }

func listOf(odataContext string, value []map[string]any) map[string]any {
	return map[string]any{"@odata.context": odataContext, "value": value}
}

func belongs(p cloud.Principal, collection string) bool {
	switch collection {
	case "users":
		return p.Kind == cloud.KindUser
	case "serviceprincipals":
		return p.Kind != cloud.KindUser
	}
	return true
}

func odataType(p cloud.Principal) string {
	if p.Kind == cloud.KindUser {
		return "#microsoft.graph.user"
	}
	return "#microsoft.graph.servicePrincipal"
}

// object is a principal as Graph shows it where its type is plain from the collection.
func object(p cloud.Principal) map[string]any {
	o := map[string]any{"id": p.ObjectID, "objectId": p.ObjectID, "displayName": p.DisplayName}
	if p.Kind == cloud.KindUser {
		for _, k := range []string{"givenName", "jobTitle", "mobilePhone", "officeLocation", "preferredLanguage", "surname"} {
			o[k] = nil
		}
		o["businessPhones"] = []string{}
		o["mail"], o["userPrincipalName"] = p.UPN, p.UPN
		return o
	}
	o["appId"], o["appDisplayName"], o["accountEnabled"] = p.AppID, p.DisplayName, !p.Disabled
	o["servicePrincipalNames"], o["servicePrincipalType"] = []string{p.AppID}, "Application"
	o["alternativeNames"] = []string{}
	if p.Kind == cloud.KindManagedIdentity {
		o["servicePrincipalType"] = "ManagedIdentity"
		o["alternativeNames"] = []string{"isExplicit=True", p.ResourceID}
	}
	return o
}

// properties are the values that a filter may name, all lower-case.
func properties(p cloud.Principal) map[string][]string {
	m := map[string][]string{"id": {p.ObjectID}, "displayname": {p.DisplayName}}
	if p.Kind == cloud.KindUser {
		m["userprincipalname"], m["mail"] = []string{p.UPN}, []string{p.UPN}
		return m
	}
	m["appid"] = []string{p.AppID}
	m["serviceprincipalnames"] = []string{p.AppID}
	m["serviceprincipaltype"] = []string{"Application"}
	if p.Kind == cloud.KindManagedIdentity {
		m["serviceprincipaltype"] = []string{"ManagedIdentity"}
		m["alternativenames"] = []string{p.ResourceID}
	}
	return m
}

func segments(escaped string) ([]string, bool) {
	if len(escaped) > maxPath {
		return nil, false
	}
	var out []string
	for p := range strings.SplitSeq(escaped, "/") {
		if p == "" {
			continue
		}
		s, err := url.PathUnescape(p)
		if err != nil {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var ge *graphError
	if !errors.As(err, &ge) {
		h.log.Error("graph request failed", "error", err)
		ge = &graphError{http.StatusInternalServerError, "InternalServerError", "The directory failed; its log says why."}
	}
	id := cloud.NewGUID()
	writeJSON(w, ge.status, map[string]any{"error": map[string]any{
		"code": ge.code, "message": ge.text,
		"innerError": map[string]string{"date": time.Now().UTC().Format("2006-01-02T15:04:05"), "request-id": id,
			"client-request-id": clip(r.Header.Get("client-request-id"))},
	}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json;odata.metadata=minimal;charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(b) //nolint:errcheck // the client went away; there is nobody to tell
}

func clip(s string) string {
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}
