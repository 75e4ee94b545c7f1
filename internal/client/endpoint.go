package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer  = 32 << 20         // bytes of one answer
	maxTries   = 5                // of one request, the first included
	maxDelay   = 15 * time.Second // between two tries, whatever the service asks for
	firstDelay = 300 * time.Millisecond
	userAgent  = "redoubt-client"
)

// audience finds the resource that tokens for an endpoint are made for.
type audience interface {
	// resource returns it, or "" when a challenge must be asked for first.
	resource() string
	// challenge takes the WWW-Authenticate of a 401 from host and tells whether anything changed.
	challenge(host string, header http.Header) (changed bool, err error)
}

type fixedAudience string

func (f fixedAudience) resource() string { return string(f) }

func (f fixedAudience) challenge(string, http.Header) (bool, error) { return false, nil }

// endpoint is one origin that requests go to.
type endpoint struct {
	c    *Client
	base string // https://host[:port], no trailing slash
	host string
	aud  audience
}

func (c *Client) endpoint(base string, aud audience) (*endpoint, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("client: %q is not an https URL", base)
	}
	return &endpoint{c: c, base: base, host: strings.ToLower(u.Host), aud: aud}, nil
}

// call is one request: path below the base or a whole URL of the same host, a body that is encoded as JSON
// (json.RawMessage goes as it is), and where the answer goes. out may be nil.
type call struct {
	method, path, version string
	query                 url.Values
	header                http.Header
	body, out             any
}

// reply is what a caller may want besides the body.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends a call, with the challenge, retries and error decoding that every call has.
func (e *endpoint) do(ctx context.Context, c call) (reply, error) {
	u, err := e.url(c)
	if err != nil {
		return reply{}, err
	}
	var body []byte
	if c.body != nil {
		if body, err = json.Marshal(c.body); err != nil {
			return reply{}, fmt.Errorf("encode request: %w", err)
		}
	}
	r, err := e.authorized(ctx, request{c.method, u, c.header, body})
	if err != nil {
		return reply{}, err
	}
	if r.status < 200 || r.status > 299 {
		return r, parseError(r.status, r.header, r.body)
	}
	if c.out != nil && len(r.body) > 0 {
		if err := json.Unmarshal(r.body, c.out); err != nil {
			return r, fmt.Errorf("the answer of %s is not what was expected: %w", e.host, err)
		}
	}
	return r, nil
}

func (e *endpoint) url(c call) (string, error) {
	raw := c.path
	if !strings.HasPrefix(raw, "https://") {
		raw = e.base + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Host, e.host) || u.User != nil {
		return "", fmt.Errorf("%s named an address of another host to go on at; refused", e.host)
	}
	q := u.Query()
	for k, v := range c.query {
		q[k] = v
	}
	if c.version != "" && !q.Has("api-version") {
		q.Set("api-version", c.version)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// request is a call in the form it is sent in, any number of times.
type request struct {
	method, url string
	header      http.Header
	body        []byte // nil: none
}

// authorized sends a request with a token. The first request to an HSM goes without token and body, for the
// challenge; a refused token is asked for anew once.
func (e *endpoint) authorized(ctx context.Context, q request) (reply, error) {
	if e.aud.resource() == "" {
		r, err := e.retried(ctx, request{method: q.method, url: q.url, header: q.header}, "")
		if err != nil {
			return reply{}, err
		}
		if r.status >= 400 && r.status != http.StatusUnauthorized {
			return reply{}, parseError(r.status, r.header, r.body) // such as: there is no such HSM
		}
		if r.status != http.StatusUnauthorized {
			return reply{}, fmt.Errorf("%w: %s did not ask for a sign-in (it answered %d); is it a managed HSM?", ErrChallenge, e.host, r.status)
		}
		if _, err := e.aud.challenge(e.host, r.header); err != nil {
			return reply{}, err
		}
	}
	token, err := e.token(ctx)
	if err != nil {
		return reply{}, err
	}
	r, err := e.retried(ctx, q, token)
	if err != nil || r.status != http.StatusUnauthorized {
		return r, err
	}
	changed, err := e.aud.challenge(e.host, r.header)
	if err != nil {
		return reply{}, err
	}
	if f, ok := e.c.cfg.Credential.(interface{ Forget(token string) bool }); ok {
		changed = f.Forget(token) || changed
	}
	if !changed {
		return r, nil
	}
	if token, err = e.token(ctx); err != nil {
		return reply{}, err
	}
	return e.retried(ctx, q, token)
}

func (e *endpoint) token(ctx context.Context) (string, error) {
	if e.c.cfg.Credential == nil {
		return "", errors.New("client: no credential is configured")
	}
	token, _, err := e.c.cfg.Credential.Token(ctx, e.aud.resource())
	if err != nil {
		return "", fmt.Errorf("sign in for %s: %w", e.aud.resource(), err)
	}
	return token, nil
}

// retried sends a request until the answer is not "later". What the service says it did not take up (429,
// 503) is sent again whatever the method; a connection that failed only when the method is a GET, because
// anything else may have been done.
func (e *endpoint) retried(ctx context.Context, q request, token string) (reply, error) {
	delay := firstDelay
	for try := 1; ; try++ {
		r, err := e.once(ctx, q, token)
		again := err == nil && (r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable) ||
			err != nil && q.method == http.MethodGet && ctx.Err() == nil
		if !again || try == maxTries {
			return r, err
		}
		wait := delay
		if err == nil {
			wait = retryAfter(r.header, delay)
		}
		if pause(ctx, wait) != nil {
			return r, errors.Join(err, ctx.Err())
		}
		delay *= 2
	}
}

// retryAfter reads a Retry-After in seconds, within bounds; fallback stands for an absent one.
func retryAfter(h http.Header, fallback time.Duration) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 {
		return min(fallback, maxDelay)
	}
	return min(time.Duration(s)*time.Second, maxDelay)
}

func (e *endpoint) once(ctx context.Context, q request, token string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return reply{}, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	for k, v := range q.header {
		req.Header[k] = v
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := e.c.http.Do(req)
	if err != nil {
		return reply{}, unreachable(e.host, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return reply{}, fmt.Errorf("read the answer of %s: %w", e.host, err)
	}
	if len(b) > maxAnswer {
		return reply{}, fmt.Errorf("the answer of %s is larger than %d bytes", e.host, maxAnswer)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: b}, nil
}

// ErrUnreachable: no answer came from a service.
var ErrUnreachable = errors.New("cannot reach the service")

// unreachable drops url.Error, which repeats the whole URL.
func unreachable(host string, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, host, err)
}

// page is one answer of a list.
type page[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink"`
}

const maxPages = 100_000 // ends a list whose service always names a next page

// list follows a list to its end.
func list[T any](ctx context.Context, e *endpoint, c call) ([]T, error) {
	out := []T{}
	c.method = http.MethodGet
	for range maxPages {
		var p page[T]
		c.out = &p
		if _, err := e.do(ctx, c); err != nil {
			return nil, err
		}
		out = append(out, p.Value...)
		if p.NextLink == "" {
			return out, nil
		}
		c.path, c.query = p.NextLink, nil
	}
	return nil, fmt.Errorf("the list of %s does not end", e.host)
}
