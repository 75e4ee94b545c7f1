// Package dataplane speaks Managed HSM's data-plane protocol: keys, cryptographic operations, security
// domain, backup and restore, local roles, settings. Its handlers decode, make one call on the device, and
// encode; what they may reach is the device and nothing below it.
//
// Order of every request: host -> HSM, bearer token -> caller, network rules, and only then path and body. Azure's
// clients send their first request without token and without body and want the challenge back.
package dataplane

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/audit"
	"redoubt/internal/authn"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
)

// Config is what the data plane needs. All fields but Trail, Observer and Limits are required.
type Config struct {
	Fleet    *fleet.Fleet
	Verifier azhttp.Verifier
	LoginURL func(host string) string // e.g. https://login.microsoftonline.com, for the challenge
	Trail    *audit.Trail             // has the requests that reach no HSM; may be nil

	Log      *slog.Logger
	Observer azhttp.Observer // is told of every request
	Limits   azhttp.Limits   // how often clients may ask
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

// routes are all routes but those of roles, whose scope stands before the fixed part.
func routes() []route {
	return slices.Concat(rotationRoutes, releaseRoutes, keyRoutes, keyImportRoutes, keyBackupRoutes, cryptoRoutes, domainRoutes, backupRoutes, settingRoutes)
}

// New makes the handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg}
	var rows []azhttp.Route[target]
	for _, r := range routes() {
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

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq, err := azhttp.NewRequest(w, r)
	q := &request{Request: rq, replays: &h.again}
	var reply azhttp.Reply
	if err == nil {
		reply, err = h.serve(q)
	}
	h.trace(q, reply.Status, err)
	rq.SetHeader("X-Ms-Server-Latency", strconv.FormatInt(rq.Elapsed().Milliseconds(), 10))
	if err != nil {
		rq.Fail(h.cfg.Log, err, " (Activity ID: "+rq.ID+")")
	} else {
		rq.Send(reply)
	}
	rq.Answered(h.cfg.Observer)
}

func (h *Handler) serve(q *request) (reply azhttp.Reply, err error) {
	label, _, _ := strings.Cut(q.Host, ".")
	q.hsm, q.res, err = h.cfg.Fleet.Device(label)
	q.HSM = q.res.Name
	if err != nil {
		return azhttp.Reply{}, err
	}
	if q.who, reply, err = h.authenticate(q.Request, q.res.Tenant); err != nil || reply.Status != 0 {
		return reply, err
	}
	q.who.Seen = &q.Traced
	to, err := h.route(q)
	q.Operation = to.op
	if out := q.res.Admit(q.who.IP, q.who.ID); out != nil {
		return azhttp.Reply{}, q.turnAway(to, out)
	}
	if err != nil {
		return azhttp.Reply{}, err
	}
	if q.version, err = askedVersion(q.URL.RawQuery, to.poll); err != nil {
		return azhttp.Reply{}, err
	}
	if !q.version.has(to.since) {
		return azhttp.Reply{}, errNoRoute // that version does not know it
	}
	q.who.Version, q.who.URI = q.version.String(), azhttp.AuditedURI(q.Request.Request)
	if reply, err = to.handle(q); err == nil {
		q.served(to)
	}
	return reply, err
}

// turnAway answers a request that the network rules of the HSM keep out, before its version and body are looked at.
// One that is an operation gets its audit entry from the device.
func (q *request) turnAway(to target, why error) error {
	if to.op == 0 {
		return why
	}
	if v, err := askedVersion(q.URL.RawQuery, to.poll); err == nil {
		q.who.Version = v.String()
	}
	q.who.URI, q.who.Barred = azhttp.AuditedURI(q.Request.Request), why
	return q.hsm.TurnAway(q.Context(), q.who, to.op)
}

// served adds the headers of every answer but errors and challenges.
func (q *request) served(to target) {
	family := "Ipv4"
	if strings.Contains(q.who.IP, ":") {
		family = "Ipv6"
	}
	q.SetHeader("X-Ms-Keyvault-Region", q.res.Location)
	q.SetHeader("X-Ms-Keyvault-Network-Info", "conn_type="+family+";addr="+q.who.IP+";act_addr_fam="+family+";")
	if to.manages {
		q.SetHeader("X-Ms-Build-Version", buildVersion())
	}
}

// buildVersion is that of the program, as the go command stamped it.
var buildVersion = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return strings.Trim(info.Main.Version, "()")
})

var errNoRoute = azhttp.NotFound("No operation of Managed HSM has this method and path.")

// route finds what the request is for.
func (h *Handler) route(q *request) (target, error) {
	if to, ok := roleRoute(q); ok {
		return to, nil
	}
	if len(q.Path) > 1 && (strings.EqualFold(q.Path[0], "keys") || strings.EqualFold(q.Path[0], "deletedkeys")) && nameless(q.URL.EscapedPath()) {
		return target{}, azhttp.Bad("The request URI has an empty name: a key name has 1 to 127 characters.")
	}
	r, ok := h.routes.Find(q.Request)
	if !ok {
		return target{}, errNoRoute
	}
	q.pattern = r.Pattern
	return r.Handle, nil
}

// nameless tells of a path such as /keys//create, in which a key without a name is meant. Empty segments at the
// beginning, at the end, and in the place of a version are of no account.
func nameless(path string) bool {
	if !strings.Contains(path, "//") {
		return false
	}
	_, behind, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	return strings.HasPrefix(behind, "/") && strings.Trim(behind, "/") != ""
}

// authenticate turns the bearer token into a caller, or answers with the challenge.
func (h *Handler) authenticate(rq *azhttp.Request, tenant string) (hsm.Caller, azhttp.Reply, error) {
	id, err := rq.SignIn(h.cfg.Verifier, h.cfg.Limits)
	if errors.Is(err, authn.ErrNoToken) {
		h.challenge(rq, tenant)
		rq.SetHeader("Content-Type", "application/json; charset=utf-8") // of the empty body, as in the service
		return hsm.Caller{}, azhttp.Reply{Status: http.StatusUnauthorized}, nil
	}
	if err == nil && !strings.EqualFold(id.Principal.Tenant, tenant) {
		err = authn.ErrWrongTenant
	}
	if err != nil {
		if azhttp.Unbelieved(err) {
			h.challenge(rq, tenant)
		}
		return hsm.Caller{}, azhttp.Reply{}, err
	}
	if err := rq.Admit(id, h.cfg.Limits); err != nil {
		return hsm.Caller{}, azhttp.Reply{}, err
	}
	ip, _, _ := net.SplitHostPort(rq.RemoteAddr)
	return hsm.Caller{Principal: id.Principal, RequestID: rq.ID, IP: ip, Client: azhttp.Clip(rq.UserAgent(), 256), Status: azhttp.StatusOf}, azhttp.Reply{}, nil
}

func (h *Handler) challenge(rq *azhttp.Request, tenant string) {
	rq.SetHeader("Www-Authenticate", authn.Challenge(rq.Host, h.cfg.LoginURL(rq.Host), tenant))
}

// base is the HSM's URL as this client sees it, without a trailing slash.
func (q *request) base() string { return "https://" + q.Host }
