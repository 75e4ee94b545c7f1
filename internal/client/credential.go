package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Credential gets access tokens. A resource is a URL such as https://managedhsm.azure.net.
type Credential interface {
	// Token returns a token for the resource and when it expires.
	Token(ctx context.Context, resource string) (string, time.Time, error)
}

// ErrSignIn: the identity service refused, or cannot be reached.
var ErrSignIn = errors.New("sign-in failed")

// ErrNoCredential: nothing that could sign in is configured.
var ErrNoCredential = errors.New("no credential found")

// azClientID is the public client id under which the Azure CLI signs people in.
const azClientID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// ClientSecret signs a service principal in.
type ClientSecret struct {
	HTTP      *http.Client // nil: the default one
	Authority string       // empty: DefaultAuthority
	Tenant    string
	ClientID  string
	Secret    func() string // kept behind a function so that it cannot be printed
}

// Token implements Credential.
func (c ClientSecret) Token(ctx context.Context, resource string) (string, time.Time, error) {
	return askToken(ctx, c.HTTP, c.Authority, c.Tenant, url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ClientID},
		"client_secret": {c.Secret()}, "scope": {scope(resource)}})
}

// UserPassword signs a person in with name and password: for development and drills, where no person and no
// second factor can be asked.
type UserPassword struct {
	HTTP      *http.Client
	Authority string
	Tenant    string // empty: organizations
	Username  string
	Password  func() string
}

// Token implements Credential.
func (c UserPassword) Token(ctx context.Context, resource string) (string, time.Time, error) {
	tenant := c.Tenant
	if tenant == "" {
		tenant = "organizations"
	}
	return askToken(ctx, c.HTTP, c.Authority, tenant, url.Values{"grant_type": {"password"}, "client_id": {azClientID},
		"username": {c.Username}, "password": {c.Password()}, "scope": {scope(resource) + " openid profile"}})
}

// scope is a v2 scope for a resource. The audience is the scope without its ending, so a resource's own
// trailing slash would have to be kept; ours have none.
func scope(resource string) string { return strings.TrimRight(resource, "/") + "/.default" }

// askToken calls a token endpoint.
func askToken(ctx context.Context, h *http.Client, authority, tenant string, form url.Values) (string, time.Time, error) {
	if authority == "" {
		authority = DefaultAuthority
	}
	u, err := url.Parse(strings.TrimRight(authority, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", time.Time{}, fmt.Errorf("%w: the authority %q is not an https URL", ErrSignIn, authority)
	}
	if strings.HasSuffix(strings.ToLower(u.Path), "/adfs") {
		u = u.JoinPath("oauth2/token")
	} else {
		u = u.JoinPath(tenant, "oauth2/v2.0/token")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", ErrSignIn, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return fetchToken(withoutRedirects(h), req)
}

// tokenAnswer has the members of every kind of token answer; numbers also come as strings.
type tokenAnswer struct {
	AccessToken string      `json:"access_token"`
	ExpiresIn   json.Number `json:"expires_in"`
	ExpiresOn   json.Number `json:"expires_on"`
	Error       any         `json:"error"`
	Description string      `json:"error_description"`
	Message     string      `json:"message"`
}

func fetchToken(h *http.Client, req *http.Request) (string, time.Time, error) {
	req.Header.Set("Accept", "application/json")
	resp, err := h.Do(req)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", ErrSignIn, unreachable(req.URL.Host, err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: read the answer of %s: %w", ErrSignIn, req.URL.Host, err)
	}
	var a tokenAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %s answered %d, and not in JSON", ErrSignIn, req.URL.Host, resp.StatusCode)
	}
	if resp.StatusCode != http.StatusOK || a.AccessToken == "" {
		text := a.Description
		if text == "" {
			text = a.Message
		}
		if code, ok := a.Error.(string); ok && text == "" {
			text = code
		}
		return "", time.Time{}, fmt.Errorf("%w: %s answered %d: %s", ErrSignIn, req.URL.Host, resp.StatusCode, firstLine(text))
	}
	return a.AccessToken, a.expires(time.Now()), nil
}

func (a tokenAnswer) expires(now time.Time) time.Time {
	if n, err := strconv.ParseInt(a.ExpiresOn.String(), 10, 64); err == nil && n > 0 {
		return time.Unix(n, 0)
	}
	if n, err := strconv.ParseInt(a.ExpiresIn.String(), 10, 64); err == nil && n > 0 {
		return now.Add(time.Duration(n) * time.Second)
	}
	return now.Add(5 * time.Minute)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(s)
}

// ManagedIdentity asks the identity endpoint of App Service's form (IDENTITY_ENDPOINT, IDENTITY_HEADER).
type ManagedIdentity struct {
	HTTP     *http.Client
	Endpoint string
	Header   func() string
	ClientID string // of a user-assigned identity; empty: the only one
}

// Token implements Credential.
func (m ManagedIdentity) Token(ctx context.Context, resource string) (string, time.Time, error) {
	u, err := url.Parse(m.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && onMachine(u.Hostname())) {
		return "", time.Time{}, fmt.Errorf("%w: the identity endpoint must be https, or http on this machine", ErrSignIn)
	}
	q := u.Query()
	q.Set("api-version", "2019-08-01")
	q.Set("resource", resource)
	if m.ClientID != "" {
		q.Set("client_id", m.ClientID)
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", ErrSignIn, err)
	}
	req.Header.Set("X-IDENTITY-HEADER", m.Header())
	return fetchToken(withoutRedirects(m.HTTP), req)
}

// onMachine tells whether a host is this machine or its link: where plain http carries no secret away.
func onMachine(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (a.IsLoopback() || a.IsLinkLocalUnicast())
}

// Cached keeps another credential's tokens until shortly before they expire.
type Cached struct {
	from Credential
	mu   sync.Mutex
	held map[string]heldToken
}

type heldToken struct {
	token   string
	expires time.Time
}

// NewCached wraps a credential.
func NewCached(from Credential) *Cached { return &Cached{from: from, held: map[string]heldToken{}} }

const tokenMargin = 2 * time.Minute

// Token implements Credential.
func (c *Cached) Token(ctx context.Context, resource string) (string, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.held[resource]; ok && time.Until(h.expires) > tokenMargin {
		return h.token, h.expires, nil
	}
	token, expires, err := c.from.Token(ctx, resource)
	if err != nil {
		return "", time.Time{}, err
	}
	c.held[resource] = heldToken{token, expires}
	return token, expires, nil
}

// Forget drops a token that a service refused, and tells whether it was held.
func (c *Cached) Forget(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r, h := range c.held {
		if h.token == token {
			delete(c.held, r)
			return true
		}
	}
	return false
}
