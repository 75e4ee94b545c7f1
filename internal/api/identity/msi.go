package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/cloud"
	"redoubt/internal/rbac"
)

// MSI answers managed identity requests as App Service does. Programs find it through two variables:
// IDENTITY_ENDPOINT, its URL on loopback, and IDENTITY_HEADER, a secret that proves that the caller runs as the
// user who may read the variables:
//
//	GET {endpoint}?api-version=2019-08-01&resource=https://managedhsm.azure.net&client_id=...
//	X-IDENTITY-HEADER: {secret}
//
// The identity is chosen with client_id, principal_id (or object_id), or mi_res_id (or msi_res_id); without
// any, the only one there is. It is an http.Handler, safe for concurrent use.
type MSI struct {
	managed
	secret [sha256.Size]byte
}

// managed makes tokens for managed identities; MSI and IMDS are two ways to ask for them.
type managed struct {
	issuer *Issuer
	dir    Directory
	log    *slog.Logger
}

func newManaged(issuer *Issuer, dir Directory, log *slog.Logger) (managed, error) {
	if issuer == nil || dir == nil {
		return managed{}, errors.New("identity: managed identity needs an issuer and a directory")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return managed{issuer, dir, log}, nil
}

// NewMSI returns the handler. The secret must not be empty.
func NewMSI(issuer *Issuer, dir Directory, headerSecret string, log *slog.Logger) (*MSI, error) {
	m, err := newManaged(issuer, dir, log)
	if err == nil && headerSecret == "" {
		err = errors.New("identity: the App Service endpoint needs a header secret")
	}
	return &MSI{managed: m, secret: sha256.Sum256([]byte(headerSecret))}, err
}

// msiResponse is the answer of api-version 2019-08-01.
type msiResponse struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   string `json:"expires_on"` // Unix seconds
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	ClientID    string `json:"client_id"`
}

// ServeHTTP answers one token request.
func (m *MSI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := sha256.Sum256([]byte(r.Header.Get("X-IDENTITY-HEADER")))
	if subtle.ConstantTimeCompare(got[:], m.secret[:]) != 1 {
		m.refuse(w, http.StatusUnauthorized, "The header X-IDENTITY-HEADER must carry the value of IDENTITY_HEADER.")
		return
	}
	if r.Method != http.MethodGet {
		m.refuse(w, http.StatusMethodNotAllowed, "Managed identity tokens are asked for with GET.")
		return
	}
	t, status, problem := m.token(r)
	if problem != "" {
		m.refuse(w, status, problem)
		return
	}
	writeJSON(w, http.StatusOK, msiResponse{AccessToken: t.token, ExpiresOn: strconv.FormatInt(t.expires.Unix(), 10),
		Resource: t.resource, TokenType: "Bearer", ClientID: t.clientID})
}

func (m *MSI) refuse(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]any{"statusCode": status, "message": text})
}

// managedToken is one that was made.
type managedToken struct {
	token, resource, clientID string
	expires                   time.Time
}

// token answers a request's query, or says what is wrong.
func (m managed) token(r *http.Request) (t managedToken, status int, problem string) {
	q := r.URL.Query()
	sc, err := parseScope(q.Get("resource"))
	if err != nil || !m.issuer.Serves(sc.resource) {
		return t, http.StatusBadRequest, "The parameter resource must name a resource of this cloud."
	}
	mi, problem, err := m.choose(r.Context(), q)
	if problem != "" {
		return t, http.StatusBadRequest, problem
	}
	t = managedToken{resource: sc.resource, clientID: mi.ClientID}
	if err == nil {
		p := rbac.Principal{ID: mi.PrincipalID, Tenant: m.issuer.tenant, AppID: mi.ClientID}
		t.token, t.expires, err = m.issuer.Mint(r.Context(), p, sc.resource, map[string]any{"xms_mirid": mi.ResourceID, "appidacr": "2"})
	}
	if err != nil {
		m.log.Error("managed identity failed", "error", err)
		return t, http.StatusInternalServerError, "The identity service failed; its log says why."
	}
	return t, 0, ""
}

// choose finds the identity that the request means, or says what is wrong with it.
func (m managed) choose(ctx context.Context, q map[string][]string) (mi cloud.ManagedIdentity, problem string, err error) {
	all, err := m.dir.ManagedIdentities(ctx, "/")
	if err != nil {
		return mi, "", err
	}
	for _, by := range []struct {
		params []string
		of     func(cloud.ManagedIdentity) string
	}{
		{[]string{"client_id"}, func(i cloud.ManagedIdentity) string { return i.ClientID }},
		{[]string{"principal_id", "object_id"}, func(i cloud.ManagedIdentity) string { return i.PrincipalID }},
		{[]string{"mi_res_id", "msi_res_id"}, func(i cloud.ManagedIdentity) string { return i.ResourceID }},
	} {
		for _, param := range by.params {
			if len(q[param]) == 0 || q[param][0] == "" {
				continue
			}
			for _, i := range all {
				if strings.EqualFold(by.of(i), strings.TrimRight(q[param][0], "/")) {
					return i, "", nil
				}
			}
			return mi, "No managed identity has this " + param + "; list them with 'az identity list'.", nil
		}
	}
	switch len(all) {
	case 1:
		return all[0], "", nil
	case 0:
		return mi, "There is no managed identity; create one with 'az identity create'.", nil
	}
	return mi, "There are several managed identities; choose one with client_id, principal_id or mi_res_id.", nil
}
