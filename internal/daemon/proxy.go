package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"redoubt/internal/handoff"
	"redoubt/internal/quickack"
)

// proxy is the CONNECT proxy through which unmodified clients reach the dev cloud under Azure's own names.
// It never dials: a connection for an owned name is handed to the dev cloud's own listener inside this
// process, any other target is refused. So nothing leaves the machine, and a tunnel costs no copy.
type proxy struct {
	owned func(host, port string) bool
	into  *handoff.Listener
	log   *slog.Logger

	patience time.Duration // for the CONNECT request

	work   sync.WaitGroup // connections between accept and their handing over
	mu     sync.Mutex
	open   map[net.Conn]struct{} // those connections; guarded by mu
	closed bool                  // guarded by mu
}

// acceptPause is how long the proxy waits after a connection could not be accepted.
const acceptPause = 50 * time.Millisecond

// accept serves proxy connections until the listener closes. Any other failure passes (the process is out
// of file descriptors, say): whoever brings it about must not end the proxy for everybody.
func (p *proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Error("the proxy could not accept a connection", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		p.serve(c)
	}
}

// serve answers one accepted connection in the background.
func (p *proxy) serve(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	if p.open == nil {
		p.open = make(map[net.Conn]struct{})
	}
	p.open[c] = struct{}{}
	p.work.Go(func() {
		err := p.connect(c)
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
		if err != nil {
			p.log.Debug("proxy connection ended", "error", err)
			_ = c.Close()
		}
	})
}

// Close ends the connections that were not handed over yet, and waits for that.
func (p *proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
	return nil
}

// connectBytes is the most a CONNECT request may have.
const connectBytes = 16 << 10

// connect reads the CONNECT request and hands the connection over. With an error, the connection is still
// the caller's.
func (p *proxy) connect(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(p.patience))
	limit := &io.LimitedReader{R: c, N: connectBytes}
	br := bufio.NewReaderSize(limit, 4096)
	req, err := http.ReadRequest(br)
	if err != nil {
		return err
	}
	if req.Method != http.MethodConnect {
		return refuse(c, http.StatusMethodNotAllowed, "this proxy only answers CONNECT: set HTTPS_PROXY, not HTTP_PROXY")
	}
	host, port, err := net.SplitHostPort(req.Host)
	if err != nil || !p.owned(strings.ToLower(host), port) {
		p.log.Info("refused a connection to a name outside the dev cloud", "target", req.Host)
		return refuse(c, http.StatusForbidden, "the dev cloud does not own this name and never dials outward: "+req.Host)
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Time{})
	limit.N = math.MaxInt64
	return p.into.Give(&buffered{Conn: quickack.Wrap(c), r: br})
}

var errRefused = errors.New("refused")

// refuse answers and sees to it that the answer arrives: what the client may still be sending is read, or
// closing would reset the connection.
func refuse(c net.Conn, status int, why string) error {
	_, err := fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, http.StatusText(status), len(why), why)
	if err != nil {
		return err
	}
	if t, ok := c.(*net.TCPConn); ok && t.CloseWrite() == nil {
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, c, 64<<10)
	}
	return errRefused
}

// buffered is a connection whose first bytes may have been read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) {
	if b.r != nil {
		if b.r.Buffered() > 0 {
			return b.r.Read(p)
		}
		b.r = nil
	}
	return b.Conn.Read(p)
}
