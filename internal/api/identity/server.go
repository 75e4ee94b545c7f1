package identity

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/cloud"
)

const (
	maxBody = 64 << 10
	maxPath = 2048
)

// Directory is what the server asks about principals; *cloud.Cloud is one.
type Directory interface {
	Tenant(ctx context.Context) (cloud.Tenant, error)
	User(ctx context.Context, idOrUPN string) (cloud.User, error)
	CheckPassword(ctx context.Context, upn, password string) (cloud.User, error)
	CheckSecret(ctx context.Context, appID, secret string) (cloud.ServicePrincipal, error)
	Application(ctx context.Context, id string) (cloud.Application, error)
	Issuer(ctx context.Context, url string) (cloud.ExternalIssuer, error)
	ManagedIdentities(ctx context.Context, scope string) ([]cloud.ManagedIdentity, error)
}

// Config is what a Server needs; all but Log and GraphResource are required.
type Config struct {
	Issuer    *Issuer
	Directory Directory
	// Bases are the URLs under which clients reach this server, without path:
	// "https://login.microsoftonline.com", "https://localhost:8443". Links in an answer use the one whose
	// host was asked, else the first.
	Bases []string
	// GraphResource is the audience of a sign-in that asks for no resource. "https://graph.microsoft.com"
	// when empty.
	GraphResource string
	Log           *slog.Logger
}

// Server is the http.Handler of the token service. It is safe for concurrent use.
type Server struct {
	issuer    *Issuer
	dir       Directory
	bases     []string
	graph     string
	log       *slog.Logger
	lockout   *lockout
	replays   *replays
	local     localIssuers
	devices   *pending[device]
	userCodes *pending[string] // user code -> device code
	codes     *pending[authCode]
}

// NewServer checks the configuration and returns a Server.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Issuer == nil || cfg.Directory == nil || len(cfg.Bases) == 0 {
		return nil, errors.New("identity: issuer, directory and at least one base URL are needed")
	}
	s := &Server{issuer: cfg.Issuer, dir: cfg.Directory, graph: cfg.GraphResource, log: cfg.Log}
	for _, b := range cfg.Bases {
		s.bases = append(s.bases, strings.TrimRight(b, "/"))
	}
	if s.graph == "" {
		s.graph = "https://graph.microsoft.com"
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.lockout = newLockout(s.issuer.now)
	s.replays = newReplays(s.issuer.now)
	s.devices = newPending[device](s.issuer.now, 15*time.Minute)
	s.userCodes = newPending[string](s.issuer.now, 15*time.Minute)
	s.codes = newPending[authCode](s.issuer.now, 5*time.Minute)
	return s, nil
}

// Unlock ends the lock that wrong secrets have put on a person (by UPN) and on an application (by client id).
func (s *Server) Unlock(upn, appID string) {
	s.lockout.forget(lockedUser(upn))
	s.lockout.forget(lockedApp(appID))
}

// request is one request with its path taken apart.
type request struct {
	*http.Request
	base   string // "https://login.microsoftonline.com"
	tenant string // first segment as the client wrote it: GUID, domain, organizations, common, adfs
	adfs   bool
}

// authority is the URL that the paths of this sign-in hang below.
func (s *Server) authority(r request) string {
	if r.adfs {
		return r.base + "/adfs"
	}
	return r.base + "/" + s.issuer.tenant
}

// ServeHTTP routes by the raw path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	raw := r.URL.EscapedPath()
	if len(raw) > maxPath {
		http.Error(w, "path too long", http.StatusRequestURITooLong)
		return
	}
	segs, ok := segments(raw)
	if !ok {
		http.Error(w, "malformed path", http.StatusBadRequest)
		return
	}
	rq := request{Request: r, base: s.baseFor(r.Host)}
	if len(segs) == 0 {
		s.page(w, http.StatusOK, pageData{Title: "Redoubt dev sign-in", Text: "This is the sign-in service of a local Redoubt cloud."})
		return
	}
	rq.tenant, rq.adfs = segs[0], strings.EqualFold(segs[0], "adfs")
	if rq.adfs && len(segs) > 1 && s.knowsTenant(request{Request: r, tenant: segs[1]}) {
		segs = segs[1:] // azurerm puts the tenant behind any login endpoint: /adfs/{tenant}/oauth2/v2.0/token
	}
	s.route(w, rq, strings.ToLower(strings.Join(segs[1:], "/")), segs)
}

func (s *Server) route(w http.ResponseWriter, r request, rest string, segs []string) {
	first := strings.ToLower(r.tenant)
	switch {
	case first == "device" && rest == "", rest == "oauth2/deviceauth":
		s.serveDevicePage(w, r)
		return
	case first == ".well-known" && rest == "openid-configuration":
		s.serveDiscovery(w, r)
		return
	case first == "common" && rest == "discovery/instance":
		s.serveInstance(w, r)
		return
	case first == "common" && strings.HasPrefix(rest, "userrealm/") && len(segs) == 3:
		s.serveUserRealm(w, r, segs[2])
		return
	}
	if !s.knowsTenant(r) {
		s.writeError(w, r.Request, errTenant(clip(r.tenant)))
		return
	}
	switch rest {
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		s.serveDiscovery(w, r)
	case "discovery/keys", "discovery/v2.0/keys":
		writeJSON(w, http.StatusOK, s.issuer.jwks())
	case "oauth2/token", "oauth2/v2.0/token":
		s.serveToken(w, r)
	case "oauth2/devicecode", "oauth2/v2.0/devicecode":
		s.serveDeviceCode(w, r)
	case "oauth2/authorize", "oauth2/v2.0/authorize":
		s.serveAuthorize(w, r)
	case "oauth2/logout", "oauth2/v2.0/logout":
		s.page(w, http.StatusOK, pageData{Title: "Signed out", Text: "You are signed out. You may close this window."})
	default:
		http.Error(w, "no such page", http.StatusNotFound)
	}
}

// segments splits an escaped path at its slashes, drops empty parts and undoes the escaping of each.
func segments(escaped string) ([]string, bool) {
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

func (s *Server) baseFor(host string) string {
	for _, b := range s.bases {
		if _, h, _ := strings.Cut(b, "://"); strings.EqualFold(h, host) {
			return b
		}
	}
	return s.bases[0]
}

func (s *Server) knowsTenant(r request) bool {
	switch t := strings.ToLower(r.tenant); t {
	case "adfs", "common", "organizations", s.issuer.tenant:
		return true
	default:
		known, err := s.dir.Tenant(r.Context())
		return err == nil && t == known.Domain
	}
}

// discovery is the OpenID provider metadata that clients read.
type discovery struct {
	Issuer          string   `json:"issuer"`
	Authorization   string   `json:"authorization_endpoint"`
	Token           string   `json:"token_endpoint"`
	Device          string   `json:"device_authorization_endpoint"`
	EndSession      string   `json:"end_session_endpoint"`
	JWKS            string   `json:"jwks_uri"`
	ResponseTypes   []string `json:"response_types_supported"`
	ResponseModes   []string `json:"response_modes_supported"`
	SubjectTypes    []string `json:"subject_types_supported"`
	SigningAlgs     []string `json:"id_token_signing_alg_values_supported"`
	Scopes          []string `json:"scopes_supported"`
	AuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
	ChallengeMethod []string `json:"code_challenge_methods_supported"`
	Claims          []string `json:"claims_supported"`
}

// serveDiscovery names the tenant by its GUID whatever the client called it: clients take the tenant from
// the token endpoint.
func (s *Server) serveDiscovery(w http.ResponseWriter, r request) {
	a := s.authority(r)
	v2 := "/oauth2/v2.0/"
	keys := a + "/discovery/v2.0/keys"
	if r.adfs {
		v2, keys = "/oauth2/", a+"/discovery/keys"
	}
	writeJSON(w, http.StatusOK, discovery{
		Issuer: s.idIssuer(r), Authorization: a + v2 + "authorize", Token: a + v2 + "token", Device: a + v2 + "devicecode",
		EndSession: a + v2 + "logout", JWKS: keys,
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query", "form_post"}, SubjectTypes: []string{"public"},
		SigningAlgs: []string{"RS256"}, Scopes: []string{"openid", "profile", "email", "offline_access"},
		AuthMethods: []string{"client_secret_post", "private_key_jwt", "client_secret_basic"}, ChallengeMethod: []string{"S256"},
		Claims: []string{"aud", "exp", "iat", "iss", "name", "oid", "preferred_username", "sub", "tid", "upn"},
	})
}

// idIssuer is the "iss" of id tokens.
func (s *Server) idIssuer(r request) string {
	if r.adfs {
		return s.authority(r)
	}
	return s.authority(r) + "/v2.0"
}

// serveInstance tells a client that the authority it was configured with is a known one.
func (s *Server) serveInstance(w http.ResponseWriter, r request) {
	asked, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	base := ""
	if err == nil {
		base = s.instanceBase(asked)
	}
	if base == "" {
		s.writeError(w, r.Request, refuse(http.StatusBadRequest, "invalid_instance", 50049, "The authority is not one of this cloud."))
		return
	}
	aliases := make([]string, 0, len(s.bases))
	for _, b := range s.bases {
		_, h, _ := strings.Cut(b, "://")
		aliases = append(aliases, h)
	}
	type network struct {
		Network string   `json:"preferred_network"`
		Cache   string   `json:"preferred_cache"`
		Aliases []string `json:"aliases"`
	}
	// Each host is a network of its own: a token made for one name must not be looked up under another,
	// which the client might not be able to reach.
	metadata := make([]network, 0, len(aliases))
	for _, h := range aliases {
		metadata = append(metadata, network{h, h, []string{h}})
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": base + "/" + s.issuer.tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  metadata,
	})
}

// instanceBase is the base that an authority asked about belongs to, or empty. MSAL for Python takes the port
// off before it asks, so a host without one stands for the base of that host on any port.
func (s *Server) instanceBase(asked *url.URL) string {
	byName := ""
	for _, b := range s.bases {
		_, h, _ := strings.Cut(b, "://")
		if strings.EqualFold(h, asked.Host) {
			return b
		}
		if name, _, _ := strings.Cut(h, ":"); asked.Port() == "" && byName == "" && strings.EqualFold(name, asked.Host) {
			byName = b
		}
	}
	return byName
}

// serveUserRealm says that a person signs in here and nowhere else. It does so for unknown names too, so
// that names cannot be tried out.
func (s *Server) serveUserRealm(w http.ResponseWriter, r request, user string) {
	_, domain, _ := strings.Cut(user, "@")
	_, host, _ := strings.Cut(r.base, "://")
	writeJSON(w, http.StatusOK, map[string]string{
		"ver": "1.0", "account_type": "Managed", "domain_name": clip(domain),
		"cloud_instance_name": host, "cloud_audience_urn": "urn:federation:MicrosoftOnline",
	})
}

// clip bounds what is echoed to the client.
func clip(s string) string {
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "")
	}
	return s
}
