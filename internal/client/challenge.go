package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// ErrChallenge: an HSM's 401 does not say, or not credibly, which token it wants.
var ErrChallenge = errors.New("the HSM's sign-in challenge cannot be used")

// challenged is the audience of an HSM: what its first 401 names.
type challenged struct {
	mu  sync.Mutex
	res string
}

func (c *challenged) resource() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.res
}

func (c *challenged) challenge(host string, h http.Header) (bool, error) {
	ch, err := ParseChallenge(host, h)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.res != ch.Resource
	c.res = ch.Resource
	return changed, nil
}

// Challenge is the sign-in that a data plane asks for:
// Bearer authorization="https://AUTHORITY/TENANT", resource="https://SUFFIX".
type Challenge struct {
	Authority string // with the tenant as its path; informative only
	Tenant    string
	Resource  string
}

// ParseChallenge reads the challenge of the answer that came from host (port included when not 443). The
// resource must be a parent domain of that host, so that no server can obtain a token for another service
// by naming it.
func ParseChallenge(host string, h http.Header) (Challenge, error) {
	for _, v := range h.Values("WWW-Authenticate") {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		p := parameters(rest)
		c := Challenge{Authority: p["authorization"], Resource: strings.TrimRight(p["resource"], "/")}
		if c.Authority == "" {
			c.Authority = p["authorization_uri"]
		}
		if c.Resource == "" {
			c.Resource = strings.TrimSuffix(strings.TrimRight(p["scope"], "/"), "/.default")
		}
		if c.Resource == "" {
			continue
		}
		if u, err := url.Parse(c.Authority); err == nil {
			c.Tenant, _, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		}
		return c, checkResource(host, c.Resource)
	}
	return Challenge{}, fmt.Errorf("%w: %s sent none", ErrChallenge, host)
}

// parameters splits name="value" pairs. Values hold no commas and no quotes (spec of the challenge).
func parameters(s string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if ok {
			out[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return out
}

func checkResource(host, resource string) error {
	u, err := url.Parse(resource)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return fmt.Errorf("%w: its resource %q is not a service", ErrChallenge, resource)
	}
	want, got := strings.TrimSuffix(strings.ToLower(u.Host), ":443"), strings.TrimSuffix(strings.ToLower(host), ":443")
	if !strings.HasSuffix(got, "."+want) {
		return fmt.Errorf("%w: its resource %q is not the parent domain of %s; no token was sent", ErrChallenge, resource, host)
	}
	return nil
}
