// Package dataplane speaks Managed HSM's data-plane protocol: keys, cryptographic operations, security
// domain, backup and restore, local roles, settings. Its handlers decode, make one call on the device, and
// encode; what they may reach is the device and nothing below it.
//
// Order of every request: host -> HSM, bearer token -> caller, and only then path and body. Azure's
// clients send their first request without token and without body and want the challenge back.
package dataplane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/authn"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
)

// Verifier checks a bearer token; *authn.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, rawToken string) (authn.Identity, error)
}

// Config is what the data plane needs. All fields are required.
type Config struct {
	Fleet    *fleet.Fleet
	Verifier Verifier
	LoginURL func(host string) string // e.g. https://login.microsoftonline.com, for the challenge

	Log *slog.Logger
}

// Handler answers for every HSM of the fleet.
type Handler struct {
	cfg    Config
	routes *azhttp.Router[target]
	again  replays
}

// request is one authenticated request for one HSM.
type request struct {
	*azhttp.Request
	hsm     *hsm.HSM
	res     fleet.Resource
	who     hsm.Caller
	pattern string // of the route that matched
	version apiVersion
	replays *replays
}

// New makes the handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg}
	var rows []azhttp.Route[target]
	for _, r := range slices.Concat(rotationRoutes, keyRoutes, keyImportRoutes, keyBackupRoutes, cryptoRoutes, domainRoutes, backupRoutes, settingRoutes) {
		rows = append(rows, azhttp.Route[target]{Method: r.method, Pattern: r.pattern, Handle: targetOf(r)})
	}
	h.routes = azhttp.NewRouter(rows)
	return h
}

// handler does three things: decode, make one call on the device, encode.
type handler func(*request) (azhttp.Reply, error)

// route is one row of this package's tables.
type route struct {
	method, pattern string
	handle          handler
}

// regionHeader is on every answer but errors and challenges.
const regionHeader = "x-ms-keyvault-region"

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq, err := azhttp.NewRequest(w, r)
	if err != nil {
		h.fail(rq, err)
		return
	}
	reply, err := h.serve(rq)
	if err != nil {
		h.fail(rq, err)
		return
	}
	rq.Send(reply)
}

func (h *Handler) serve(rq *azhttp.Request) (azhttp.Reply, error) {
	label, _, _ := strings.Cut(rq.Host, ".")
	device, res, err := h.cfg.Fleet.Device(label)
	if err != nil {
		return azhttp.Reply{}, err
	}
	who, reply, err := h.authenticate(rq, res.Tenant)
	if err != nil || reply.Status != 0 {
		return reply, err
	}
	q := &request{Request: rq, hsm: device, res: res, who: who, replays: &h.again}
	rq.W.Header().Set(regionHeader, res.Location)
	to, ok := h.route(q)
	if !ok {
		return azhttp.Reply{}, errNoRoute
	}
	if q.version, err = askedVersion(rq.URL.RawQuery, to.poll); err != nil {
		return azhttp.Reply{}, err
	}
	if !q.version.has(to.since) {
		return azhttp.Reply{}, errNoRoute // that version does not know it
	}
	return to.handle(q)
}

var errNoRoute = azhttp.NotFound("No operation of Managed HSM has this method and path.")

// route finds what the request is for.
func (h *Handler) route(q *request) (target, bool) {
	if to, ok := roleRoute(q); ok {
		return to, true
	}
	r, ok := h.routes.Find(q.Request)
	q.pattern = r.Pattern
	return r.Handle, ok
}

// authenticate turns the bearer token into a caller, or answers with the challenge.
func (h *Handler) authenticate(rq *azhttp.Request, tenant string) (hsm.Caller, azhttp.Reply, error) {
	challenge := http.Header{"Www-Authenticate": {authn.Challenge(rq.Host, h.cfg.LoginURL(rq.Host), tenant)}, "Content-Type": {jsonType}}
	token, err := authn.Bearer(rq.Header.Values("Authorization"))
	if errors.Is(err, authn.ErrNoToken) {
		return hsm.Caller{}, azhttp.Reply{Status: http.StatusUnauthorized, Header: challenge}, nil
	}
	var id authn.Identity
	if err == nil {
		id, err = h.cfg.Verifier.Verify(rq.Context(), token)
	}
	if err == nil && !strings.EqualFold(id.Principal.Tenant, tenant) {
		err = authn.ErrWrongTenant
	}
	if err != nil {
		rq.W.Header()["Www-Authenticate"] = challenge["Www-Authenticate"]
		return hsm.Caller{}, azhttp.Reply{}, err
	}
	ip, _, _ := net.SplitHostPort(rq.RemoteAddr)
	return hsm.Caller{Principal: id.Principal, RequestID: rq.ID, IP: ip, Client: clip(rq.UserAgent(), 256)}, azhttp.Reply{}, nil
}

func (h *Handler) fail(rq *azhttp.Request, err error) {
	rq.W.Header().Del(regionHeader)
	rq.Fail(h.cfg.Log, err, " (Activity ID: "+rq.ID+")")
}

// jsonType is the content type even of the challenge's empty body, as in the service.
const jsonType = "application/json; charset=utf-8"

// base is the HSM's URL as this client sees it, without a trailing slash.
func (q *request) base() string { return "https://" + q.Host }

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
