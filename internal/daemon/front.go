package daemon

import (
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"redoubt/internal/api/azhttp"
)

// Limits of the front, so that slow or silent clients hold nothing for long. There is no time limit for a
// request as a whole: blobs are large. Instead every part has its own: the handshake and the header
// (headerTime), the body (azhttp.BodyPace), each piece of the answer (writeTime), the pause between two
// requests (idleTime).
const (
	headerTime  = 10 * time.Second
	writeTime   = 30 * time.Second
	idleTime    = 2 * time.Minute
	headerBytes = 64 << 10
)

// paced puts every request's body under the front's pace. A request that a fault of this program ends is in the log, and its
// connection ends with it; what package http says by itself is about connections, and for debugging.
func paced(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler { //nolint:errorlint // the very value, as package http compares it
					log.ErrorContext(r.Context(), "a request was ended by a fault of this program; please report it", "method", r.Method, "fault", p, "stack", string(debug.Stack()))
				}
				panic(http.ErrAbortHandler)
			}
		}()
		azhttp.LimitBody(w, r)
		next.ServeHTTP(w, r)
	})
}

// writers is a listener whose connections give their peer writeTime to take each piece that is written (a
// TLS record, at most).
type writers struct{ net.Listener }

// Accept implements net.Listener.
func (l writers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &writer{Conn: c}, nil
}

type writer struct {
	net.Conn
	fixed atomic.Bool // somebody has set a deadline of their own
}

// Write implements net.Conn.
func (w *writer) Write(p []byte) (int, error) {
	if !w.fixed.Load() {
		_ = w.Conn.SetWriteDeadline(time.Now().Add(writeTime))
	}
	return w.Conn.Write(p)
}

// SetWriteDeadline implements net.Conn.
func (w *writer) SetWriteDeadline(t time.Time) error {
	w.fixed.Store(!t.IsZero())
	return w.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (w *writer) SetDeadline(t time.Time) error {
	w.fixed.Store(!t.IsZero())
	return w.Conn.SetDeadline(t)
}

// fresh knows the connections on which no request has come yet. A server that shuts down serves none of
// them, and yet would wait five seconds for them.
type fresh struct {
	open     atomic.Int64  // connections, whatever has come on them
	accepted atomic.Uint64 // since the start

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
}

// state is an http.Server's ConnState.
func (f *fresh) state(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		f.open.Add(1)
		f.accepted.Add(1)
	case http.StateClosed, http.StateHijacked:
		f.open.Add(-1)
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s != http.StateNew {
		delete(f.conns, c)
		return
	}
	if f.conns == nil {
		f.conns = make(map[net.Conn]struct{})
	}
	f.conns[c] = struct{}{}
}

// close closes them, in the background: closing TLS tells the peer, which can take some seconds.
func (f *fresh) close(work *sync.WaitGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		work.Go(func() { _ = c.Close() })
	}
}
