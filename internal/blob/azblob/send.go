package azblob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/blob"
)

// Timing bounds how long the driver waits and how often it tries. The zero value of a member means its default.
type Timing struct {
	// Connect is the time a try may take to get a connection, TLS included (5 s).
	Connect time.Duration
	// Quiet is the time in which something must move once there is a connection; after that the call
	// fails without another try (15 s).
	Quiet time.Duration
	// Patience is the time after which no further try begins (15 s).
	Patience time.Duration
	// Attempts is the number of tries at most (5).
	Attempts int
	// FirstDelay is the pause before the second try; it triples with each (200 ms).
	FirstDelay time.Duration
	// MaxDelay bounds the pause, also one that the service asks for (5 s).
	MaxDelay time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.Connect, 5 * time.Second}, {&t.Quiet, 15 * time.Second}, {&t.Patience, 15 * time.Second},
		{&t.FirstDelay, 200 * time.Millisecond}, {&t.MaxDelay, 5 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	if t.Attempts == 0 {
		t.Attempts = 5
	}
	return t
}

// NewTransport makes a transport that keeps to the policy: its connections go only to checked addresses
// of configured hosts, no proxy of the environment is used, and TLS is verified against config's roots.
// A nil config means the system's roots; a nil dial means (Policy).Dialer with the system's resolver.
// The caller closes idle connections when it is done with it.
func NewTransport(p blob.Policy, config *tls.Config, dial blob.Dial) *http.Transport {
	if dial == nil {
		dial = p.Dialer(nil, nil)
	}
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return &http.Transport{
		DialContext: dial, TLSClientConfig: config, DisableCompression: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
	}
}

// call is one call of the protocol.
type call struct {
	op     string // for messages
	method string
	name   string // object; "" = the container
	query  string // encoded, without the SAS
	header http.Header
	body   []byte
	ok     int // the one status that means success
}

// do sends a call until it has a clear answer, patience ends or ctx is done. The error has a sentinel of
// package blob and no secret. unclear is the error of an earlier try that may have taken effect although
// its answer did not arrive.
func (c *Container) do(ctx context.Context, k call) (resp *response, unclear, err error) {
	began, delay, renewed := time.Now(), c.timing.FirstDelay, false
	for n := 1; ; n++ {
		resp, err := c.try(ctx, k)
		if err == nil {
			return resp, unclear, nil
		}
		if ctx.Err() != nil {
			return nil, unclear, fmt.Errorf("%s: %w", k.op, ctx.Err())
		}
		var f *failure
		if !errors.As(err, &f) {
			return nil, unclear, fmt.Errorf("%s: %w", k.op, err)
		}
		if f.renewToken && !renewed {
			renewed = true
			continue
		}
		if !f.again || n >= c.timing.Attempts || time.Since(began) >= c.timing.Patience {
			return nil, unclear, fmt.Errorf("%s: %w", k.op, err)
		}
		if f.unclear {
			unclear = fmt.Errorf("%s: %w", k.op, err)
		}
		select {
		case <-time.After(min(max(delay, f.after), c.timing.MaxDelay)):
		case <-ctx.Done():
			return nil, unclear, fmt.Errorf("%s: %w", k.op, ctx.Err())
		}
		delay *= 3
	}
}

// try sends the call once.
func (c *Container) try(outer context.Context, k call) (*response, error) {
	cred, err := c.credential(outer)
	if err != nil {
		return nil, err
	}
	ctx, w := watch(outer, c.timing)
	body := &upload{data: bytes.NewReader(k.body), watch: w}
	resp, err := c.opt.Transport.RoundTrip(c.request(ctx, k, cred, body)) //nolint:bodyclose // response.Close does
	body.detach()
	if err != nil {
		cause := context.Cause(ctx)
		w.stop()
		return nil, noAnswer(err, cause, w.connected.Load(), cred)
	}
	w.alive()
	r := &response{body: resp.Body, watch: w, ctx: ctx, header: resp.Header, length: resp.ContentLength, cred: cred}
	if resp.StatusCode == k.ok {
		return r, nil
	}
	f := answered(resp.StatusCode, k, r)
	_ = r.Close() // the answer was read; a connection that breaks after it changes nothing
	if f.renewToken {
		c.forget(cred.token)
	}
	return nil, f
}

// request builds the request of one try. Names and container were checked, so that the path needs no escapes.
func (c *Container) request(ctx context.Context, k call, cred credential, body *upload) *http.Request {
	u := &url.URL{Scheme: "https", Host: c.target.Host, Path: "/" + c.target.Container, RawQuery: k.query}
	if k.name != "" {
		u.Path += "/" + k.name
	}
	header := k.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("X-Ms-Version", apiVersion)
	header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	header.Set("X-Ms-Client-Request-Id", rand.Text())
	header.Set("User-Agent", "redoubt")
	header.Set("Accept-Encoding", "identity")
	if cred.sas != "" {
		u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+cred.sas, "&")
	} else {
		header.Set("Authorization", "Bearer "+cred.token)
	}
	req := &http.Request{Method: k.method, URL: u, Host: c.target.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if k.method == http.MethodPut {
		req.ContentLength = int64(len(k.body))
		req.Body = http.NoBody
		if len(k.body) > 0 {
			req.Body = body
		}
	}
	return req.WithContext(ctx)
}

// credential is what one try is signed with; also what must not show in its errors.
type credential struct{ sas, token string } // exactly one is set

// renewBefore is how long before its end a token is replaced.
const renewBefore = 2 * time.Minute

func (c *Container) credential(ctx context.Context) (credential, error) {
	if c.opt.SAS != nil {
		text := c.opt.SAS()
		_, err := sasFields(text)
		return credential{sas: text}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && time.Until(c.expires) > renewBefore {
		return credential{token: c.token}, nil
	}
	token, expires, err := c.opt.Token(ctx)
	if err != nil {
		return credential{}, fmt.Errorf("%w: no access token for the managed identity: %s", blob.ErrBadCredential, redact(err.Error(), credential{token: token}))
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return credential{}, fmt.Errorf("%w: the access token of the managed identity is malformed", blob.ErrBadCredential)
	}
	c.token, c.expires = token, expires
	return credential{token: token}, nil
}

// forget drops a token that was refused, unless another try has replaced it already.
func (c *Container) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}
