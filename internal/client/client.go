// Package client is a small REST client for Managed HSM and for the few parts of Azure Resource Manager and
// Graph that the operator's tool and the drill need. It speaks to Redoubt and to the genuine service alike,
// and knows nothing of the server: what it sends is what az-shaped clients send.
//
// Rules that hold for every call: the access token goes only to the host it was asked for, over https; the
// authority is the configured one, never one that a challenge names; redirects are not followed; answers
// are bounded in size; no error text contains a token or a shared access signature.
//
// Methods may be called from any goroutine.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config: Azure's public cloud.
const (
	DefaultResourceManager = "https://management.azure.com"
	DefaultGraph           = "https://graph.microsoft.com"
	DefaultAuthority       = "https://login.microsoftonline.com"
	DefaultHSMSuffix       = "managedhsm.azure.net"
	DefaultStorageSuffix   = "core.windows.net"
)

// Config says where the services are. Zero members mean Azure's public names.
type Config struct {
	HTTP            *http.Client // nil: a client that honours HTTPS_PROXY and SSL_CERT_FILE
	Credential      Credential   // required for every call that needs a token
	ResourceManager string       // base URL of the control plane
	ARMAudience     string       // resource of its tokens; empty: ResourceManager
	Graph           string       // base URL of Graph, and resource of its tokens
	HSMSuffix       string       // domain of the HSMs, without a leading dot; may carry a port
	StorageSuffix   string       // suffix of storage endpoints, such as core.windows.net; may carry a port
	Subscription    string       // subscription id; empty: the only one the credential can see
	Tenant          string       // tenant of new HSMs; empty: the subscription's

	// PollEvery is the pause between two looks at a long-running operation. Zero means what the service
	// asks for with Retry-After.
	PollEvery time.Duration
}

// Client is the entry point. Make one with New.
type Client struct {
	cfg  Config
	http *http.Client
	arm  *endpoint
	me   *endpoint

	mu  sync.Mutex
	sub subscription // resolved once
}

// New makes a client. It sends nothing.
func New(cfg Config) (*Client, error) {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
		*s = strings.TrimRight(*s, "/")
	}
	def(&cfg.ResourceManager, DefaultResourceManager)
	def(&cfg.ARMAudience, cfg.ResourceManager)
	def(&cfg.Graph, DefaultGraph)
	def(&cfg.HSMSuffix, DefaultHSMSuffix)
	def(&cfg.StorageSuffix, DefaultStorageSuffix)
	cfg.HSMSuffix = strings.TrimLeft(cfg.HSMSuffix, ".")
	cfg.StorageSuffix = strings.TrimLeft(cfg.StorageSuffix, ".")
	c := &Client{cfg: cfg, http: withoutRedirects(cfg.HTTP)}
	var err error
	if c.arm, err = c.endpoint(cfg.ResourceManager, fixedAudience(cfg.ARMAudience)); err != nil {
		return nil, err
	}
	if c.me, err = c.endpoint(cfg.Graph, fixedAudience(cfg.Graph)); err != nil {
		return nil, err
	}
	return c, nil
}

// withoutRedirects returns a client like h that hands redirects to the caller, who takes them for errors.
func withoutRedirects(h *http.Client) *http.Client {
	out := http.Client{Timeout: time.Minute}
	if h != nil {
		out = *h
	}
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}

// ErrBadName: the text cannot be the name of a managed HSM.
var ErrBadName = errors.New("not a managed HSM name (3 to 24 letters, digits and hyphens)")

// HSMURL is the base URL of the HSM with this name.
func (c *Client) HSMURL(name string) (string, error) {
	if len(name) < 3 || len(name) > 24 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return "", fmt.Errorf("%q: %w", name, ErrBadName)
	}
	return "https://" + strings.ToLower(name) + "." + c.cfg.HSMSuffix, nil
}

// ContainerURL is the address of a blob container, as az composes it.
func (c *Client) ContainerURL(account, container string) string {
	return "https://" + account + ".blob." + c.cfg.StorageSuffix + "/" + container
}

// HSM is the data plane of one managed HSM.
type HSM struct {
	ep       *endpoint
	download atomic.Pointer[url.Values] // what names the last download made with this HSM when polling
}

// HSM returns the data plane at a base URL such as https://contoso.managedhsm.azure.net.
func (c *Client) HSM(base string) (*HSM, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of an HSM; write https://NAME.%s", base, c.cfg.HSMSuffix)
	}
	ep, err := c.endpoint(u.String(), &challenged{})
	if err != nil {
		return nil, err
	}
	return &HSM{ep: ep}, nil
}

// HSMNamed returns the data plane of the HSM with this name.
func (c *Client) HSMNamed(name string) (*HSM, error) {
	base, err := c.HSMURL(name)
	if err != nil {
		return nil, err
	}
	return c.HSM(base)
}

// URL is the HSM's base URL, without a trailing slash.
func (h *HSM) URL() string { return h.ep.base }

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
