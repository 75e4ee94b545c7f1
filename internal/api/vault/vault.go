// Package vault is what a dev cloud has of Key Vault: certificates that lie in a folder, to be read.
//
// Terraform's azurerm activates an HSM with the certificates of a key vault: it is given their addresses, fetches each, and asks for
// the security domain to be encrypted for them. So the holders' certificates need such an address, and nothing else of a vault is
// needed. NAME.cer, NAME.crt or NAME.pem in the folder, in PEM or DER form, is the certificate NAME. Files can come and go while the
// server runs.
//
// There are no keys and no secrets here, and nothing can be written: the private keys of the holders belong on media of theirs and not
// into a server. A file that holds a private key besides the certificate is refused. Why there is no more is in docs/decisions/0025.
package vault

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/authn"
)

// Verifier checks a bearer token; *authn.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, rawToken string) (authn.Identity, error)
}

// Config is what the service needs. All fields are required.
type Config struct {
	Dir       string
	Verifier  Verifier
	Challenge func(host string) string // value of WWW-Authenticate for a client that reached host
	Log       *slog.Logger
}

// Handler answers for the vault.
type Handler struct {
	cfg    Config
	routes *azhttp.Router[handle]
}

type handle func(*request) (azhttp.Reply, error)

// request is one request of a principal who has signed in. Certificates are public, so anybody who has may read them.
type request struct {
	*azhttp.Request
	dir string
}

var routes = []azhttp.Route[handle]{
	{Method: http.MethodGet, Pattern: "certificates", Handle: list},
	{Method: http.MethodGet, Pattern: "certificates/{name}", Handle: get},
	{Method: http.MethodGet, Pattern: "certificates/{name}/{version}", Handle: get},
}

// New makes the service.
func New(cfg Config) *Handler { return &Handler{cfg: cfg, routes: azhttp.NewRouter(routes)} }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq, err := azhttp.NewRequest(w, r)
	var reply azhttp.Reply
	if err == nil {
		reply, err = h.serve(rq)
	}
	if err != nil {
		rq.Fail(h.cfg.Log, err, "")
		return
	}
	rq.Send(reply)
}

func (h *Handler) serve(rq *azhttp.Request) (azhttp.Reply, error) {
	token, err := authn.Bearer(rq.Header.Values("Authorization"))
	if err == nil {
		_, err = h.cfg.Verifier.Verify(rq.Context(), token)
	}
	if err != nil {
		rq.SetHeader("Www-Authenticate", h.cfg.Challenge(rq.Host))
		if errors.Is(err, authn.ErrNoToken) {
			return azhttp.Reply{Status: http.StatusUnauthorized}, nil
		}
		return azhttp.Reply{}, err
	}
	found, ok := h.routes.Find(rq)
	if !ok {
		return azhttp.Reply{}, azhttp.NotFound("The vault of this dev cloud holds certificates to be read, and nothing else: GET /certificates, /certificates/{name} and /certificates/{name}/{version}. Keys belong in a managed HSM.")
	}
	return found.Handle(&request{Request: rq, dir: h.cfg.Dir})
}
