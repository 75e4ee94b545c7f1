// Package arm is the control plane: the resource provider for managed HSMs, and of the rest of Azure
// Resource Manager just what the documented procedures use (subscriptions, resource groups, user-assigned
// identities, role assignments, storage accounts).
//
// Path segments are compared without regard to letter case, doubled slashes are tolerated. The api-versions of
// managed HSMs are those of the published documents; of other providers every one is accepted. Long-running operations are finished when they are answered: a PUT answers 200
// with provisioningState Succeeded (201 is refused by clients), a purge 202 as its clients demand.
package arm

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/audit"
	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
)

// Endpoints are the URLs that answers name. URLs have no trailing slash but Graph, which is a resource id;
// suffixes have no leading dot and may carry a port.
type Endpoints struct {
	CloudName                   string
	ResourceManager, Login      string
	ADFS                        bool // clients sign in under {Login}/adfs
	Graph                       string
	TenantID                    string
	DeviceSuffix, StorageSuffix string
	VaultSuffix                 string // of key vaults; empty: there are none
	Attestation                 string // attestation service of every region; empty: there is none
}

// Config is what the control plane needs; all fields but HSMsOnly, Trail and Log are required.
type Config struct {
	Fleet       *fleet.Fleet
	Cloud       *cloud.Cloud
	Verifier    azhttp.Verifier
	Endpoints   func(host string) Endpoints // by the host the client reached
	RemoveBlobs func(account string) error  // deletes what a storage account held; not called with HSMsOnly
	// HSMsOnly leaves out storage accounts and managed identities, where others have those.
	HSMsOnly bool
	Trail    *audit.Trail // has what was changed and refused; may be nil
	Clock    func() time.Time
	Log      *slog.Logger
	Observer azhttp.Observer // is told of every request; may be nil
	Limits   azhttp.Limits   // how often clients may ask; may be nil
}

// Handler is the control plane's http.Handler.
type Handler struct {
	cfg    Config
	table  []route
	routes *azhttp.Router[route]
}

// request is one authenticated request.
type request struct {
	*azhttp.Request
	h   *Handler
	who authn.Identity

	below []string // scopes to which a list is cut; nil: it is whole

	action, scope string // that were asked for first
	begun         bool   // the audit log says so
	details       map[string]string
}

// route is one row of the tables: action is the control-plane permission it needs at the resource the
// path names ("" for what every signed-in principal may do).
type route struct {
	method, pattern, action string
	handle                  func(*request) (azhttp.Reply, error)
}

// New makes the handler.
func New(cfg Config) *Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg}
	var rows []azhttp.Route[route]
	table := slices.Concat(generalRoutes, providerRoutes, resourceRoutes, hsmRoutes, keyRoutes, endpointRoutes, deletedRoutes, tagRoutes)
	if !cfg.HSMsOnly {
		table = slices.Concat(table, identityRoutes, storageRoutes)
	}
	h.table = table
	for _, r := range table {
		rows = append(rows, azhttp.Route[route]{Method: r.method, Pattern: r.pattern, Handle: r})
	}
	h.routes = azhttp.NewRouter(rows)
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq, err := azhttp.NewRequest(w, r)
	q := &request{Request: rq, h: h}
	var reply azhttp.Reply
	if err == nil {
		reply, err = h.serve(q)
	}
	if err != nil {
		err = wireError(err)
	}
	if err = q.trace(reply.Status, err); err != nil {
		rq.Fail(h.cfg.Log, err, "")
	} else {
		rq.Send(reply)
	}
	rq.Answered(h.cfg.Observer)
}

func (h *Handler) serve(q *request) (azhttp.Reply, error) {
	rq := q.Request
	if len(rq.Path) == 2 && strings.EqualFold(rq.Path[0], "metadata") && strings.EqualFold(rq.Path[1], "endpoints") {
		if err := rq.Stranger(h.cfg.Limits); err != nil {
			return azhttp.Reply{}, err
		}
		return metadata(h.cfg.Endpoints(rq.Host), rq.URL.Query().Get("api-version"))
	}
	who, err := rq.SignIn(h.cfg.Verifier, h.cfg.Limits)
	switch {
	case err == nil:
	case !azhttp.Unbelieved(err):
		return azhttp.Reply{}, err
	default:
		e := h.cfg.Endpoints(rq.Host)
		rq.W.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="The authentication failed"`, e.Login, e.TenantID))
		return azhttp.Reply{}, &azhttp.Problem{Status: http.StatusUnauthorized, Code: "AuthenticationFailed", Message: "Authentication failed: " + err.Error()}
	}
	q.who = who
	if err := rq.Admit(who, h.cfg.Limits); err != nil {
		return azhttp.Reply{}, err
	}
	if handle, ok := authorizationRoute(q); ok {
		return handle(q)
	}
	if slices.ContainsFunc(rq.Path, notAName) {
		return azhttp.Reply{}, &azhttp.Problem{Status: http.StatusBadRequest, Code: "BadRequest", Message: "The request path has a name with a slash or a control character in it, which no resource can have."}
	}
	found, ok := h.routes.Find(rq)
	if !ok {
		return azhttp.Reply{}, azhttp.NotFound(fmt.Sprintf("This control plane has no operation %s %s.", rq.Method, rq.URL.Path))
	}
	r := found.Handle
	if err := q.checkVersion(); err != nil {
		return azhttp.Reply{}, err
	}
	if r.action != "" {
		if err := q.permitRoute(r); err != nil {
			return azhttp.Reply{}, err
		}
	}
	return r.handle(q)
}

// notAName tells of a segment of a path that is no name. One with an escaped slash would make the scope that permissions are
// looked up at look like a place further down, where the caller may have rights.
func notAName(segment string) bool {
	return strings.ContainsFunc(segment, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f })
}

// partial are the lists that show a caller whose roles are further down what lies there, as Azure does. Their handlers
// ask sees about each entry.
var partial = []string{
	"subscriptions/{sub}/providers/Microsoft.KeyVault/managedHSMs", "subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.KeyVault/managedHSMs",
	"subscriptions/{sub}/resources", "subscriptions/{sub}/resourceGroups/{rg}/resources", "subscriptions/{sub}/resourceGroups",
}

// permitRoute checks the permission of a route at the scope that the path names.
func (q *request) permitRoute(r route) error {
	scope := resourceScope(q.Path)
	err := q.permit(r.action, scope)
	var refused *azhttp.Problem
	if !errors.As(err, &refused) || r.method != http.MethodGet || !slices.Contains(partial, r.pattern) {
		return err
	}
	scopes, serr := q.h.cfg.Cloud.Scopes(q.Context(), q.ids(), scope, r.action)
	if serr != nil {
		return serr
	}
	if len(scopes) == 0 {
		return err
	}
	q.below = scopes
	return nil
}

// sees tells whether the caller may see the entry with this id in a list.
func (q *request) sees(id string) bool {
	return q.below == nil || slices.ContainsFunc(q.below, func(s string) bool { return cloud.ScopeContains(s, id) })
}

// ids are the object ids by which the caller can have roles.
func (q *request) ids() []string {
	return append([]string{q.who.Principal.ID}, q.who.Principal.Groups...)
}

// permit checks a control-plane permission of the caller, and records that a change is begun.
func (q *request) permit(action, scope string) error {
	ok, err := q.h.cfg.Cloud.May(q.Context(), q.ids(), scope, action)
	if err != nil {
		return err
	}
	if !ok {
		return q.denied(action, scope)
	}
	return q.begin(action, scope)
}

// resourceScope is the scope a path names: the resource (of an HSM also its key), its group or its subscription.
func resourceScope(path []string) string {
	n := len(path)
	switch {
	case n >= 10 && strings.EqualFold(path[4], "providers") && strings.EqualFold(path[8], "keys"):
		n = 10 // a key of an HSM is a resource of its own
	case n >= 8 && strings.EqualFold(path[4], "providers"):
		n = 8
	case n >= 4 && strings.EqualFold(path[2], "resourceGroups"):
		n = 4
	case n >= 2:
		n = 2
	}
	return "/" + strings.Join(path[:n], "/")
}

// wireError gives the cloud's sentinels their wire form; everything else goes through azhttp's table.
func wireError(err error) error {
	for _, m := range []struct {
		is     error
		status int
		code   string
	}{{cloud.ErrNotFound, 404, "ResourceNotFound"}, {cloud.ErrLastOwner, 409, "Conflict"}, {cloud.ErrTooMany, 400, "RoleAssignmentLimitExceeded"}, {cloud.ErrExists, 409, "Conflict"}, {cloud.ErrInvalid, 400, "InvalidParameter"}, {cloud.ErrBusy, 409, "Conflict"}} {
		if errors.Is(err, m.is) {
			return &azhttp.Problem{Status: m.status, Code: m.code, Message: err.Error()}
		}
	}
	return err
}

func (q *request) endpoints() Endpoints { return q.h.cfg.Endpoints(q.Host) }

func (q *request) group() string {
	return "/subscriptions/" + q.Param("sub") + "/resourceGroups/" + q.Param("rg")
}

// values is the shape of every list answer.
func values[T any](list []T) azhttp.Reply {
	if list == nil {
		list = []T{}
	}
	return azhttp.Reply{Body: struct {
		Value []T `json:"value"`
	}{list}}
}
