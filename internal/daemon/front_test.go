package daemon

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/client"
)

// connect asks the proxy for a tunnel and returns its answer's status.
func (s *site) connect(target string) (net.Conn, *bufio.Reader, int, string) {
	s.t.Helper()
	c := s.dial(s.proxyAddr)
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		s.t.Fatalf("CONNECT %s: %v", target, err)
	}
	why := ""
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(br)
		why = string(b)
	}
	return c, br, resp.StatusCode, why
}

// tunnel is TLS to a name through the proxy.
func (s *site) tunnel(name string) *tls.Conn {
	s.t.Helper()
	c, _, status, why := s.connect(name + ":443")
	if status != http.StatusOK {
		s.t.Fatalf("CONNECT %s: %d %s", name, status, why)
	}
	tc := tls.Client(c, &tls.Config{ServerName: name, RootCAs: s.ca.pool()})
	if err := tc.HandshakeContext(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return tc
}

// TestProxyRefusesForeignNames, and says why. Nothing is resolved or dialled: TestMain sees to that.
func TestProxyRefusesForeignNames(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	for _, target := range []string{"example.com:443", "azcliprod.blob.core.windows.net:443", "management.azure.com:80", "management.azure.com:8443", "169.254.169.254:80", "10.0.0.1:443", "127.0.0.1:22",
		"localhost:22", "[::1]:443", "*.managedhsm.azure.net:443", "managedhsm.azure.net:443", "aka.ms:443", "login.microsoftonline.com.example.com:443"} {
		_, _, status, why := s.connect(target)
		if status != http.StatusForbidden || !strings.Contains(why, "never dials outward") {
			t.Errorf("%s: %d %s", target, status, why)
		}
	}
	for _, target := range []string{"management.azure.com:443", "LOGIN.microsoftonline.com:443", "any-hsm.managedhsm.azure.net:443", s.tlsAddr.String()} {
		if _, _, status, why := s.connect(target); status != http.StatusOK {
			t.Errorf("%s: %d %s", target, status, why)
		}
	}
}

// TestProxyJunk: whatever comes in the place of a CONNECT request is cut off or refused.
func TestProxyJunk(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{testOnlyHeaderTime: 300 * time.Millisecond})
	for _, junk := range []string{
		"", "\x16\x03\x01\x02\x00\x01", "GET http://management.azure.com/ HTTP/1.1\r\nHost: management.azure.com\r\n\r\n", "POST http://x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"CONNECT\r\n\r\n", "CONNECT  HTTP/1.1\r\n\r\n", "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT management.azure.com HTTP/1.1\r\n\r\n", "CONNECT a:b:c HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT management.azure.com:443 HTTP/1.1\r\nA: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "CONNECT management.azure.com:443 HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 10_000),
		"CONNECT management.azure.com:443 HTTP/1.1\r\nHost", strings.Repeat("\x00", 100_000),
	} {
		c := s.dial(s.proxyAddr)
		go func() { _, _ = io.WriteString(c, junk) }() // the proxy may hang up before it has read all
		b, err := io.ReadAll(io.LimitReader(c, 4096))
		if strings.HasPrefix(string(b), "HTTP/1.1 200") {
			t.Errorf("%.40q: %s", junk, b)
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%.40q: the proxy keeps the connection open", junk)
		}
		_ = c.Close()
	}
	if status, _ := s.get("https://management.azure.com/metadata/endpoints", ""); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
}

// TestEagerClient: bytes that come with the CONNECT request belong to the tunnel.
func TestEagerClient(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	c := s.dial(s.proxyAddr)
	tc := tls.Client(&eager{Conn: c}, &tls.Config{ServerName: "management.azure.com", RootCAs: s.ca.pool()})
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tc, "GET /metadata/endpoints HTTP/1.1\r\nHost: management.azure.com\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// eager sends the CONNECT request in one packet with the first write, and drops the proxy's answer.
type eager struct {
	net.Conn
	done bool
	r    *bufio.Reader
}

func (r *eager) Write(p []byte) (int, error) {
	if r.done {
		return r.Conn.Write(p)
	}
	r.done = true
	if _, err := r.Conn.Write(append([]byte("CONNECT management.azure.com:443 HTTP/1.1\r\nHost: management.azure.com:443\r\n\r\n"), p...)); err != nil {
		return 0, err
	}
	r.r = bufio.NewReader(r.Conn)
	for {
		line, err := r.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line == "\r\n" {
			return len(p), nil
		}
	}
}

func (r *eager) Read(p []byte) (int, error) { return r.r.Read(p) }

// TestSlowHeader: a client that sends its header byte by byte is cut off.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{testOnlyHeaderTime: 300 * time.Millisecond})
	for name, c := range map[string]net.Conn{"request": s.tunnel("management.azure.com"), "handshake": s.dial(s.tlsAddr), "CONNECT": s.dial(s.proxyAddr)} {
		began := time.Now()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for _, b := range []byte("GET / HTTP/1.1\r\nHost: management.azure.com\r\nX-Slow: " + strings.Repeat("x", 1000)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-stop:
					return
				}
			}
		})
		_, err := io.Copy(io.Discard, c)
		close(stop)
		wg.Wait()
		var timeout net.Error
		if took := time.Since(began); took > 5*time.Second || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: cut off after %v, %v", name, took, err)
		}
	}
}

// TestBigHeader is refused with the status for it.
func TestBigHeader(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	c := s.tunnel("management.azure.com")
	go func() {
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: management.azure.com\r\nX-Big: %s\r\n\r\n", strings.Repeat("x", 128<<10))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("%+v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// TestThousandIdleConnections: silent clients cost no one else anything, and do not delay the end.
func TestThousandIdleConnections(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	var mu sync.Mutex
	var idle []net.Conn
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for range 250 {
				var c net.Conn
				switch worker {
				case 0: // nothing said to the proxy
					c = s.dial(s.proxyAddr)
				case 1: // nothing said to the TLS listener
					c = s.dial(s.tlsAddr)
				case 2: // a tunnel without TLS
					c, _, _, _ = s.connect("management.azure.com:443")
				case 3: // TLS without a request
					c = s.tunnel("management.azure.com")
				}
				mu.Lock()
				idle = append(idle, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(idle) != 1000 {
		t.Fatalf("%d connections", len(idle))
	}
	began := time.Now()
	h := s.create("contosomhsm")
	s.activate(h)
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM"}))
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("beside 1000 idle connections it took %v", took)
	}
	began = time.Now()
	s.stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// TestForeignHostHeader: the name in TLS and the Host header need not agree: what counts is the Host header, and a foreign one is refused.
func TestForeignHostHeader(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	for host, want := range map[string]int{"example.com": http.StatusMisdirectedRequest, "other.blob.core.windows.net": http.StatusMisdirectedRequest, "nothing.managedhsm.azure.net": http.StatusNotFound,
		"management.azure.com": http.StatusUnauthorized, "MANAGEMENT.azure.com.": http.StatusUnauthorized, "169.254.169.254": http.StatusMisdirectedRequest} {
		c := s.tunnel("management.azure.com")
		fmt.Fprintf(c, "GET /subscriptions HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %+v, %v", host, resp, err)
			continue
		}
		_ = resp.Body.Close()
		_ = c.Close()
	}
}

// TestRequestSmuggling: a request that could be read in two ways is not read at all.
func TestRequestSmuggling(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	for _, raw := range []string{
		"POST / HTTP/1.1\r\nHost: management.azure.com\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: management.azure.com\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: management.azure.com\r\nHost: example.com\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET /\x01 HTTP/1.1\r\nHost: management.azure.com\r\n\r\n",
	} {
		c := s.tunnel("management.azure.com")
		_, _ = io.WriteString(c, raw)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%.60q: %v", raw, err)
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%.60q: %d", raw, resp.StatusCode)
		}
		_ = c.Close()
	}
}

// TestRequestsInFlightEnd: closing waits for a request that is under way.
func TestRequestsInFlightEnd(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	c := s.tunnel("management.azure.com")
	br := bufio.NewReader(c)
	fmt.Fprintf(c, "PUT /subscriptions/%s/resourceGroups/g HTTP/1.1\r\nHost: management.azure.com\r\nAuthorization: Bearer %s\r\nContent-Length: 22\r\nExpect: 100-continue\r\n\r\n",
		s.Get("AZURE_SUBSCRIPTION_ID"), s.token("https://management.azure.com"))
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") { // the handler reads the body
		t.Fatalf("%q, %v", line, err)
	}
	began := time.Now()
	d := s.Dev
	s.Dev = nil
	ended := make(chan error)
	go func() { ended <- d.Close() }()
	for accepting(d.tlsAddr) {
	}
	fmt.Fprint(c, `{"location": "westus"}`)
	if _, err := br.ReadString('\n'); err != nil { // the end of the first answer
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%+v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if err := <-ended; err != nil || time.Since(began) > 8*time.Second {
		t.Errorf("closing took %v, %v", time.Since(began), err)
	}
}

// accepting tells whether somebody listens there.
func accepting(addr net.Addr) bool {
	c, err := net.Dial("tcp", addr.String()) //nolint:noctx // refused or accepted at once
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// TestEveryBodyHasAPace: the front limits bodies before any service sees them.
func TestEveryBodyHasAPace(t *testing.T) {
	t.Parallel()
	kinds := make(chan string, 2)
	addr := plainServer(t, paced(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { kinds <- fmt.Sprintf("%T", r.Body) }), discard()))
	for _, body := range []io.Reader{strings.NewReader("x"), nil} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr, body)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{DisableKeepAlives: true}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if kind := <-kinds; (kind == "*azhttp.pacedBody") != (body != nil) {
			t.Errorf("the body is a %s", kind)
		}
	}
}

// deadlines records what is set on a connection.
type deadlines struct {
	net.Conn
	write []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }
func (d *deadlines) Write(p []byte) (int, error)        { return len(p), nil }

// TestWritesHaveADeadline, each its own, unless somebody has set another.
func TestWritesHaveADeadline(t *testing.T) {
	t.Parallel()
	d := &deadlines{}
	w := &writer{Conn: d}
	for range 2 {
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.write) != 2 || time.Until(d.write[1]) > writeTime || time.Until(d.write[1]) < writeTime/2 {
		t.Errorf("deadlines %v", d.write)
	}
	soon := time.Now().Add(time.Second)
	if err := w.SetWriteDeadline(soon); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil || len(d.write) != 3 || !d.write[2].Equal(soon) {
		t.Errorf("deadlines %v, %v", d.write, err)
	}
}
