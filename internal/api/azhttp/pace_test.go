package azhttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// paced is a server whose bodies are under the given pace.
func paced(t *testing.T, p Pace, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Limit(w, r)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, s *httptest.Server) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func status(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func readBody(w http.ResponseWriter, r *http.Request) {
	rq, err := NewRequest(w, r)
	if err == nil {
		_, err = rq.ReadBody()
	}
	if err != nil {
		p, _ := FromError(err)
		w.WriteHeader(p.Status)
	}
}

// TestSlowBody: a body that stops coming ends the request with a clear answer.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	c := dial(t, paced(t, Pace{50 * time.Millisecond, 1 << 20}, readBody))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
	if got := status(t, bufio.NewReader(c)); got != http.StatusRequestTimeout {
		t.Errorf("status %d", got)
	}
}

// TestUnreadBody: a refusal does not wait for ever for a body that nobody reads.
func TestUnreadBody(t *testing.T) {
	t.Parallel()
	c := dial(t, paced(t, Pace{50 * time.Millisecond, 1 << 20}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{")
	if got := status(t, bufio.NewReader(c)); got != http.StatusUnauthorized {
		t.Errorf("status %d", got)
	}
}

// TestSteadyBody: a long body that keeps the rate may take longer than the grace.
func TestSteadyBody(t *testing.T) {
	t.Parallel()
	c := dial(t, paced(t, Pace{time.Second, 1}, readBody))
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n")
	start := time.Now()
	for range 40 { // each byte buys a second more
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond) // the slowness is what is tested
	}
	if got := status(t, bufio.NewReader(c)); got != http.StatusOK || time.Since(start) < time.Second {
		t.Errorf("status %d after %v", got, time.Since(start))
	}
}

// TestHandlerOutlivesTheGrace: once the body is there the handler may take its time, and the connection
// serves further requests.
func TestHandlerOutlivesTheGrace(t *testing.T) {
	t.Parallel()
	s := paced(t, Pace{30 * time.Millisecond, 1 << 30}, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 150*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		if r.Context().Err() != nil {
			t.Error("the deadline of the body ended the request")
		}
	})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for range 2 {
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
		if got := status(t, br); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if got := status(t, br); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	}
}

// TestNoDeadlines: where the ResponseWriter has none, the body is left alone.
func TestNoDeadlines(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("abc"))
	before := r.Body
	LimitBody(httptest.NewRecorder(), r)
	if r.Body != before {
		t.Error("the body was wrapped")
	}
}
