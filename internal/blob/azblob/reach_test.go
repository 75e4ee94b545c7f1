package azblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"redoubt/internal/blob"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTransportErrors: whatever the transport says about a request, the signed URL is not in the error.
func TestTransportErrors(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Options){nil, withToken} {
		for want, make := range map[error]func(*http.Request) error{
			blob.ErrUnreachable: func(r *http.Request) error {
				return &url.Error{Op: r.Method, URL: r.URL.String(), Err: fmt.Errorf("dial %s with %v", r.URL, r.Header)}
			},
			blob.ErrBadTarget: func(r *http.Request) error {
				return &url.Error{Op: r.Method, URL: r.URL.String(), Err: fmt.Errorf("%w: %s %v", blob.ErrBadTarget, r.URL.RawQuery, r.Header)}
			},
		} {
			a := newAccount(t)
			c := a.open(t, func(o *Options) {
				if change != nil {
					change(o)
				}
				o.Transport = roundTrip(func(r *http.Request) (*http.Response, error) { return nil, make(r) })
			})
			for op, err := range every(t.Context(), c) {
				if clean(t, err); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", op, err, want)
				}
			}
		}
	}
}

// TestUnreachable: a closed port, an address that never connects, a server that is silent, one that is not trusted and one
// on a forbidden address each end soon and say so.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	silent := newAccount(t)
	silent.before = hold
	closed := newAccount(t)
	closed.Close()
	up := newAccount(t)
	hang := roundTrip(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
	short := Timing{Connect: 30 * time.Millisecond, Quiet: 60 * time.Millisecond, Patience: 80 * time.Millisecond, FirstDelay: time.Millisecond}
	for name, tc := range map[string]struct {
		c     *Container
		words string
		want  error
	}{
		"closed":     {closed.open(t, nil), "refused", blob.ErrUnreachable},
		"never":      {up.open(t, func(o *Options) { o.Transport, o.Timing = hang, short }), "no connection", blob.ErrUnreachable},
		"silent":     {silent.open(t, func(o *Options) { o.Timing = short; o.Timing.Connect = 5 * time.Second }), "stopped answering", blob.ErrUnreachable},
		"untrusted":  {up.open(t, func(o *Options) { o.Transport.(*http.Transport).TLSClientConfig.RootCAs = nil }), "not trusted", blob.ErrUnreachable},
		"other name": {up.open(t, func(o *Options) { o.Transport.(*http.Transport).TLSClientConfig.ServerName = "" }), "not trusted", blob.ErrUnreachable},
		"forbidden":  {up.open(t, func(o *Options) { o.Transport = forbidden(t) }), "loopback", blob.ErrBadTarget},
	} {
		began := time.Now()
		for op, err := range every(t.Context(), tc.c) {
			if clean(t, err); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%s, %s: %v, want %v with %q", name, op, err, tc.want, tc.words)
			}
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("%s took %v", name, d)
		}
	}
}

// hold takes a request in and does not answer it. A server notices that its client has gone only when it
// has read the body.
func hold(_ int, _ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	return true
}

// forbidden is a transport whose policy does not allow loopback, for a name that resolves to it.
func forbidden(t *testing.T) *http.Transport {
	p := blob.Policy{Suffixes: testPolicy.Suffixes}
	tr := NewTransport(p, nil, p.Dialer(func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}, nil))
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// TestDefaultTiming holds the promise of the package comment: an account that never connects is given up
// well before half a minute, by arithmetic rather than by waiting.
func TestDefaultTiming(t *testing.T) {
	t.Parallel()
	d := Timing{}.withDefaults()
	if worst := d.Patience + d.MaxDelay + d.Connect; worst > 25*time.Second {
		t.Errorf("an unreachable account is reported after %v", worst)
	}
	if d.Quiet > 20*time.Second {
		t.Errorf("a silent account is reported after %v", d.Quiet)
	}
}

// TestDetach: the transport may read on after a call has returned, but not in the caller's buffer.
func TestDetach(t *testing.T) {
	t.Parallel()
	ctx, w := watch(t.Context(), quick)
	defer w.stop()
	u := &upload{data: bytes.NewReader([]byte("abc")), watch: w}
	b := make([]byte, 1)
	if n, err := u.Read(b); n != 1 || err != nil {
		t.Error(n, err)
	}
	u.detach()
	if n, err := u.Read(b); n != 0 || !errors.Is(err, errDetached) {
		t.Error(n, err)
	}
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
}

func TestCancelledMidway(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	ctx, cancel := context.WithCancel(t.Context())
	a.before = func(n int, w http.ResponseWriter, r *http.Request) bool {
		cancel()
		return hold(n, w, r)
	}
	c := a.open(t, nil)
	if err := c.Put(ctx, "n", make([]byte, 1<<20)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
