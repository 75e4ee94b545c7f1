package daemon

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// The limits of the program itself, redoubtd serve, with its own times.

// patience is when a test gives up.
const patience = 3 * time.Minute

// health is the address of the process's health listener.
func (p *process) health() net.Addr {
	p.t.Helper()
	return must[*net.TCPAddr](p.t)(net.ResolveTCPAddr("tcp", p.healthAddr))
}

// tls connects to a name of the site.
func (r *realm) tls(name string) *tls.Conn {
	r.t.Helper()
	conf := r.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.ServerName = name
	c := must[net.Conn](r.t)((&tls.Dialer{Config: conf}).DialContext(r.t.Context(), "tcp", r.addr))
	r.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	return c.(*tls.Conn)
}

// tcp connects and says nothing.
func (r *realm) tcp() (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", r.addr)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

// drip sends text byte by byte, a byte each 200 ms and for ever the last, until the connection ends; it returns
// whether the other side ended it.
func drip(c net.Conn, text string) bool {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		ended <- err
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case err := <-ended:
			var timeout net.Error
			return !errors.As(err, &timeout) || !timeout.Timeout()
		case <-tick.C:
			_, _ = c.Write([]byte{text[min(i, len(text)-1)]}) // an error shows in the other direction, too
		}
	}
}

// TestServeSlowClients: whoever sends a handshake, a header or a body too slowly, or does not read its answers, is cut off,
// and nobody else notices.
func TestServeSlowClients(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	p := r.spawn()
	h := r.activated("one")
	ctx := t.Context()
	must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	for i := range 24 { // so that answers are large, and few of them fill the buffers of the way
		must[client.Key](t)(h.CreateKey(ctx, fmt.Sprintf("k%d", i), client.CreateKey{Kty: "oct-HSM", Size: 256, Tags: map[string]string{"x": strings.Repeat("x", 256), "y": strings.Repeat("y", 256)}}))
	}
	token := r.idp.sign(r.idp.good("https://" + siteSuffix))
	name := "one." + siteSuffix
	var wg sync.WaitGroup
	gone := func(what string, c net.Conn, text string) {
		wg.Go(func() {
			if !drip(c, text) {
				t.Errorf("%s: the connection is still open", what)
			}
		})
	}
	gone("handshake", must[net.Conn](t)(r.tcp()), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("x", 1000))
	gone("header", r.tls(name), "GET /keys?api-version=7.4 HTTP/1.1\r\nHost: "+name+"\r\nX-Slow: "+strings.Repeat("x", 10_000))
	body := r.tls(name)
	fmt.Fprintf(body, "POST /keys/k/sign?api-version=7.4 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", name, token)
	gone("body", body, `"alg":"ES256","value":"`+strings.Repeat("A", 10_000))
	deaf := r.tls(name)
	go func() { // asks again and again, and reads nothing; where that ends, the server's count shows
		ask := []byte("GET /keys?api-version=7.4 HTTP/1.1\r\nHost: " + name + "\r\nAuthorization: Bearer " + token + "\r\n\r\n")
		for {
			if _, err := deaf.Write(ask); err != nil {
				return
			}
		}
	}()
	over := make(chan struct{})
	go func() { wg.Wait(); close(over) }()
	signed := 0
	for left := true; left; signed++ {
		must[client.Result](t)(h.Sign(ctx, "k", "", "ES256", make([]byte, 32)))
		select {
		case <-over:
			left = false
		default:
		}
	}
	t.Logf("%d signatures were made beside slow clients", signed)
	m := scrape(t, p.health()) // the client that signs has a connection or two
	for deadline := time.Now().Add(patience); m.value("redoubt_connections") > 2 && time.Now().Before(deadline); m = scrape(t, p.health()) {
		must[client.Result](t)(h.Sign(ctx, "k", "", "ES256", make([]byte, 32)))
	}
	if n := m.value("redoubt_connections"); n > 2 {
		t.Errorf("%v connections are left", n)
	}
}

// TestServeOversize: a header or a body that is too large is refused with the status for it, and the server goes on.
func TestServeOversize(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	r.spawn()
	r.activated("one")
	name := "one." + siteSuffix
	token := r.idp.sign(r.idp.good("https://" + siteSuffix))
	send := func(head string, body io.Reader) *http.Response {
		t.Helper()
		c := r.tls(name)
		go func() {
			_, _ = io.WriteString(c, head) // the server may hang up before it has all
			_, _ = io.Copy(c, body)
		}()
		resp := must[*http.Response](t)(http.ReadResponse(bufio.NewReader(c), nil))
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	if resp := send("GET /keys HTTP/1.1\r\nHost: "+name+"\r\nX-Big: "+strings.Repeat("x", 200<<10)+"\r\n\r\n", http.NoBody); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 200 KiB: %d", resp.StatusCode)
	}
	if resp := send("GET /keys HTTP/1.1\r\nHost: "+name+"\r\n"+strings.Repeat("A: b\r\n", 50_000)+"\r\n", http.NoBody); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("50,000 headers: %d", resp.StatusCode)
	}
	big := bytes.Repeat([]byte(" "), 1<<20+1)
	head := "POST /keys/k/create?api-version=7.4 HTTP/1.1\r\nHost: " + name + "\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\n"
	for what, h := range map[string]string{"announced": fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)), "chunked": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(big))} {
		resp := send(head+h, bytes.NewReader(big))
		answer, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !bytes.Contains(answer, []byte("RequestBodyTooLarge")) {
			t.Errorf("a body of more than 1 MiB, %s: %d %s", what, resp.StatusCode, answer)
		}
	}
	if resp := r.ask(http.MethodGet, "https://"+name+"/keys?api-version=7.4", token); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}

// idle are the connections that TestTenThousandIdleConnections holds: those on which a request was answered, and those that
// say nothing.
const (
	idleTLS    = 2_000
	idleSilent = 8_000
)

// TestTenThousandIdleConnections: beside them the server answers, its memory stays within bounds, and it ends in good time.
func TestTenThousandIdleConnections(t *testing.T) {
	t.Parallel()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < 2*(idleTLS+idleSilent) {
		files.Cur = files.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < idleTLS+idleSilent+1000 {
			t.Fatalf("this test needs more open files than %d: %v", files.Cur, err)
		}
	}
	r := newRealm(t, "[limits]\nconnections = 12000\nunauthenticated-per-second = 100000\n")
	r.init()
	p := r.spawn()
	h := r.activated("one")
	ctx := t.Context()
	must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	before := scrape(t, p.health()).value("process_resident_memory_bytes")

	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []net.Conn
	defer func() {
		for _, c := range all {
			_ = c.Close()
		}
	}()
	const workers = 8
	hold := func(n int, open func() (net.Conn, error)) {
		for range workers {
			wg.Go(func() {
				for range n / workers {
					c, err := open()
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					all = append(all, c)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	conf := r.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.ServerName, conf.ClientSessionCache = siteHost, tls.NewLRUClientSessionCache(1)
	hold(idleTLS, func() (net.Conn, error) {
		c, err := r.tcp()
		if err != nil {
			return nil, err
		}
		s := tls.Client(c, conf)
		if _, err := io.WriteString(s, "HEAD /metadata/endpoints HTTP/1.1\r\nHost: "+siteHost+"\r\n\r\n"); err != nil {
			return c, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(s), &http.Request{Method: http.MethodHead})
		if err != nil {
			return c, err
		}
		return s, resp.Body.Close()
	})
	hold(idleSilent, r.tcp)
	most := 0.0
	for range 50 {
		must[client.Result](t)(h.Sign(ctx, "k", "", "ES256", make([]byte, 32)))
		most = max(most, scrape(t, p.health()).value("redoubt_connections"))
	}
	m := scrape(t, p.health())
	after := m.value("process_resident_memory_bytes")
	t.Logf("%d connections, %v seen open at once, resident memory %.0f MiB before and %.0f MiB with them", len(all), most, before/(1<<20), after/(1<<20))
	if most < idleTLS || len(all) != idleTLS+idleSilent {
		t.Errorf("%v connections were open at once, of %d", most, len(all))
	}
	if after > before+1<<30 { // 64 KiB for each would be 640 MiB
		t.Errorf("%.0f MiB more memory for %d connections", (after-before)/(1<<20), len(all))
	}
	r.http.CloseIdleConnections()
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v; it said: %s", err, p.err.String())
	}
}

// TestConnectionsWaitTheirTurn: when silent clients have taken all connections, a good one waits until they are cut off, and
// is served.
func TestConnectionsWaitTheirTurn(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[limits]\nconnections = 20\n")
	r.init()
	p := r.spawn()
	for range 60 {
		c := must[net.Conn](t)(r.tcp())
		t.Cleanup(func() { _ = c.Close() })
	}
	resp := r.ask(http.MethodGet, "https://"+siteHost+"/metadata/endpoints", "")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%d", resp.StatusCode)
	}
	if n := scrape(t, p.health()).value("redoubt_connections_accepted_total"); n < 21 {
		t.Errorf("%v connections were accepted: the good one did not wait", n)
	}
}

// TestMetricsAndAuditOutliveTheDrain: what is answered while the server drains is counted, and on record.
func TestMetricsAndAuditOutliveTheDrain(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := must[*Server](t)(StartServe(t.Context(), r.config(), ServeOptions{}))
	r.addr = s.addr.String()
	r.activated("one")
	r.http.CloseIdleConnections()
	file := s.cfg.place().audit(s.fleet.List(false)[0].ID)
	name, body := "one."+siteSuffix, `{"kty":"oct-HSM","key_size":256}`
	begin := func(key string) (net.Conn, *bufio.Reader) {
		c := r.tls(name)
		fmt.Fprintf(c, "POST /keys/%s/create?api-version=7.4 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
			key, name, r.idp.sign(r.idp.good("https://"+siteSuffix)), len(body))
		in := bufio.NewReader(c)
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = in.ReadString('\n')
		return c, in
	}
	first, fromFirst := begin("first")
	second, fromSecond := begin("second")
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for accepting(s.addr) {
	}
	end := func(c net.Conn, in *bufio.Reader) string {
		t.Helper()
		_, _ = io.WriteString(c, body)
		resp := must[*http.Response](t)(http.ReadResponse(in, nil))
		answer, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d: %s", resp.StatusCode, answer)
		}
		return resp.Header.Get("X-Ms-Request-Id")
	}
	ids := map[string]bool{end(first, fromFirst): true}
	m := scrape(t, s.health)
	for deadline := time.Now().Add(patience); m.families["redoubt_requests_total"] != nil && !strings.Contains(m.text, `operation="KeyCreate"`) && time.Now().Before(deadline); m = scrape(t, s.health) { // the answer goes first
	}
	m.want(0, "redoubt_ready")
	m.want(1, "redoubt_requests_total", "hsm=one", "operation=KeyCreate", "class=2xx")
	m.want(1, "redoubt_hsm_state", "hsm=one", "state=Active")
	ids[end(second, fromSecond)] = true
	if err := <-closed; err != nil {
		t.Error(err)
	}
	found := 0
	_, err := audit.Verify(bytes.NewReader(must[[]byte](t)(os.ReadFile(file))), "", func(e audit.Entry) error {
		if e.Operation == "KeyCreate" && e.Result == "Success" && ids[e.RequestID] {
			found++
		}
		return nil
	})
	if err != nil || found != 2 || len(ids) != 2 {
		t.Errorf("%d of 2 keys are on record: %v", found, err)
	}
}
