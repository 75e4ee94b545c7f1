package azblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"redoubt/internal/blob"
)

var (
	errConnect = errors.New("no connection in time")
	errQuiet   = errors.New("the account stopped answering")
)

// watchdog ends a try when there is no connection, or nothing moves on it, for too long.
type watchdog struct {
	quiet     time.Duration
	cancel    context.CancelCauseFunc
	timer     *time.Timer
	connected atomic.Bool
	stopped   atomic.Bool
}

// watch starts a watchdog; the context it returns is cancelled with errConnect or errQuiet.
func watch(ctx context.Context, t Timing) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{quiet: t.Quiet, cancel: cancel}
	w.timer = time.AfterFunc(t.Connect, func() {
		if w.connected.Load() {
			cancel(errQuiet)
		} else {
			cancel(errConnect)
		}
	})
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		w.connected.Store(true)
		w.alive()
	}}), w
}

// alive reports that something moved.
func (w *watchdog) alive() {
	if !w.stopped.Load() {
		w.timer.Reset(w.quiet)
	}
}

func (w *watchdog) stop() {
	w.stopped.Store(true)
	w.timer.Stop()
	w.cancel(nil)
}

// upload is a request's body; the transport reads it as fast as the connection takes it, and may go on
// for a moment after it has returned. Then detach has taken the bytes away: they are the caller's again.
type upload struct {
	mu    sync.Mutex
	data  *bytes.Reader // guarded by mu; nil = detached
	watch *watchdog
}

var errDetached = errors.New("the request is over")

func (u *upload) Read(p []byte) (int, error) {
	u.watch.alive()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.data == nil {
		return 0, errDetached
	}
	return u.data.Read(p)
}

// Close implements io.Closer; the transport calls it.
func (u *upload) Close() error { return nil }

func (u *upload) detach() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.data = nil
}

// response is the body of an answer, watched. It must be closed.
type response struct {
	body   io.ReadCloser
	watch  *watchdog
	ctx    context.Context // the try's
	header http.Header
	length int64 // -1 = unknown
	cred   credential
}

func (r *response) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.watch.alive()
	if err != nil && !errors.Is(err, io.EOF) {
		err = noAnswer(err, context.Cause(r.ctx), true, r.cred)
	}
	return n, err
}

func (r *response) Close() error {
	err := r.body.Close()
	r.watch.stop()
	if err != nil {
		return noAnswer(err, nil, true, r.cred)
	}
	return nil
}

// download is an object being read; a broken connection is replaced by another that goes on from there.
type download struct {
	*response
	ctx     context.Context // the caller's
	c       *Container
	name    string
	etag    string
	size    int64
	off     int64 // bytes delivered
	resumed int
	broken  error // what ended the current connection; dealt with when no bytes are left to deliver
}

func (d *download) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.off < d.size {
		if d.broken != nil {
			if err := d.resume(); err != nil {
				return 0, err
			}
		}
		n, err := d.response.Read(p)
		d.off += int64(n)
		if errors.Is(err, io.EOF) && d.off < d.size {
			err = fmt.Errorf("%w: the connection broke after %d of %d bytes", blob.ErrUnreachable, d.off, d.size)
		}
		d.broken = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// resume asks for the rest of the object.
func (d *download) resume() error {
	if err := d.ctx.Err(); err != nil {
		return fmt.Errorf("get %s: %w", d.name, err)
	}
	d.resumed++
	if d.etag == "" || d.resumed >= d.c.timing.Attempts {
		return fmt.Errorf("get %s: %w", d.name, d.broken)
	}
	_ = d.Close() // it is broken already
	resp, _, err := d.c.do(d.ctx, call{
		op: "get " + d.name, method: http.MethodGet, name: d.name, ok: http.StatusPartialContent,
		header: http.Header{"Range": {fmt.Sprintf("bytes=%d-", d.off)}, "If-Match": {d.etag}},
	})
	if err != nil {
		return err
	}
	d.response, d.broken = resp, nil
	want := fmt.Sprintf("bytes %d-%d/%d", d.off, d.size-1, d.size)
	if got := resp.header.Get("Content-Range"); got != want {
		return fmt.Errorf("get %s: %w: the account sent another part of the object than asked for", d.name, blob.ErrUnreachable)
	}
	return nil
}
