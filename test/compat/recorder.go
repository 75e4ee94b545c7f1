package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"redoubt/internal/handoff"
	"redoubt/internal/quickack"
)

// recorder is a CONNECT proxy on loopback for one program. It ends TLS for the names of HSMs and of the control plane, writes every
// request and its answer down, and passes them on, unchanged, to the dev cloud. For all other names it is a pipe to the dev
// cloud's own proxy, which refuses what is not its own.
type recorder struct {
	program, mode, verb string
	listener            net.Listener
	inner               *handoff.Listener
	server              *http.Server
	transport           *http.Transport
	proxy               string // host and port of the dev cloud's proxy
	tls                 *tls.Config
	work                sync.WaitGroup

	mu    sync.Mutex
	file  *os.File
	err   error // the first failure to write
	conns map[net.Conn]struct{}
	ended bool
}

// recorded tells whether a host name, without port, is that of an HSM or of the control plane.
func recorded(host string) bool {
	return host == "management.azure.com" || strings.HasSuffix(host, ".managedhsm.azure.net") || strings.HasSuffix(host, ".managedhsm.localhost")
}

// startRecorder opens a recorder for one run of a program. What it writes goes to recording/ in the working folder.
func (w *world) startRecorder(program, mode, verb string) (*recorder, error) {
	dir, err := w.folder("recording")
	if err != nil {
		return nil, err
	}
	up, err := url.Parse(w.env["HTTPS_PROXY"])
	if err != nil {
		return nil, err
	}
	r := &recorder{program: program, mode: mode, verb: verb, proxy: up.Host, tls: w.authority.config(), conns: map[net.Conn]struct{}{}}
	if r.transport, err = w.upstream(); err != nil {
		return nil, err
	}
	if r.file, err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.jsonl", mode, program, verb)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
		return nil, err
	}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	r.inner = handoff.New(r.listener.Addr())
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 30 * time.Second}
	r.work.Go(func() { _ = r.server.Serve(r.inner) }) // ends with http.ErrServerClosed
	r.work.Go(r.accept)
	return r, nil
}

func (r *recorder) addr() string { return r.listener.Addr().String() }

// close ends the recorder and tells whether all was written down.
func (r *recorder) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	r.ended = true
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(err, r.server.Shutdown(ctx), r.inner.Close()) // what is being passed on is written down
	r.work.Wait()
	r.transport.CloseIdleConnections()
	return errors.Join(err, r.err, r.file.Close())
}

func (r *recorder) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		if !r.keep(c) {
			return
		}
		r.work.Go(func() {
			_ = r.connect(c) // a client that goes away is no failure of ours
		})
	}
}

// keep remembers a connection, so that close can end it.
func (r *recorder) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		_ = c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

// connect answers a CONNECT request: recorded names come to ServeHTTP below, all others go on.
func (r *recorder) connect(c net.Conn) error {
	c = quickack.Wrap(c)
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		_ = c.Close()
		return err
	}
	host, _, err := net.SplitHostPort(req.Host)
	if req.Method != http.MethodConnect || err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return c.Close()
	}
	if !recorded(strings.ToLower(host)) {
		return r.pipe(c, br, req.Host)
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return err
	}
	return r.inner.Give(tls.Server(&buffered{Conn: c, r: br}, r.tls))
}

// pipe passes a connection on to the dev cloud's proxy.
func (r *recorder) pipe(c net.Conn, rest io.Reader, target string) error {
	defer func() { _ = c.Close() }()
	up, err := net.Dial("tcp", r.proxy)
	if err != nil {
		return err
	}
	defer func() { _ = up.Close() }()
	if !r.keep(up) {
		return net.ErrClosed
	}
	if _, err := fmt.Fprintf(up, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return err
	}
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(up, rest); done <- struct{}{} }()
	go func() { _, _ = io.Copy(c, up); done <- struct{}{} }()
	<-done
	return nil
}

// exchange is one line of the recording.
type exchange struct {
	Program string `json:"program"`
	Mode    string `json:"mode"`
	Verb    string `json:"verb"`
	Host    string `json:"host"`
	Method  string `json:"method"`
	Target  string `json:"target"` // path and query as they were sent

	RequestHeader  http.Header `json:"requestHeader"`
	RequestBody    string      `json:"requestBody,omitempty"`
	Status         int         `json:"status"`
	ResponseHeader http.Header `json:"responseHeader"`
	ResponseBody   string      `json:"responseBody,omitempty"`
}

// ServeHTTP passes a request on and writes both sides down.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	e, body, err := r.forward(req)
	if err != nil {
		r.fail(fmt.Errorf("record %s %s: %w", req.Method, req.URL.Path, err))
		http.Error(w, "the recorder could not reach the dev cloud: "+err.Error(), http.StatusBadGateway)
		return
	}
	for name, values := range e.ResponseHeader {
		w.Header()[name] = values
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // a client that went away
}

func (r *recorder) forward(req *http.Request) (exchange, []byte, error) {
	sent, err := io.ReadAll(req.Body)
	if err != nil {
		return exchange{}, nil, err
	}
	out := req.Clone(context.WithoutCancel(req.Context())) // what was sent is sent, and is written down
	out.URL.Scheme, out.URL.Host, out.RequestURI = "https", req.Host, ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(sent)), int64(len(sent))
	if len(sent) == 0 {
		out.Body = http.NoBody
	} else { // a kept connection that the server has just closed is no answer: then the body goes again
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sent)), nil }
	}
	res, err := r.transport.RoundTrip(out)
	if err != nil {
		return exchange{}, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return exchange{}, nil, err
	}
	e := exchange{Program: r.program, Mode: r.mode, Verb: r.verb, Host: req.Host, Method: req.Method, Target: req.RequestURI, RequestHeader: req.Header.Clone(),
		RequestBody: signature.ReplaceAllString(string(sent), "${1}(cut)"), Status: res.StatusCode, ResponseHeader: res.Header, ResponseBody: string(got)}
	if e.RequestHeader.Get("Authorization") != "" {
		e.RequestHeader.Set("Authorization", "(cut)")
	}
	r.write(e)
	return e, got, nil
}

// signature is what makes a SAS token a secret.
var signature = regexp.MustCompile(`(\bsig=)[^&"\\]+`)

func (r *recorder) write(e exchange) {
	line, err := json.Marshal(e)
	if err == nil {
		r.mu.Lock()
		_, err = r.file.Write(append(line, '\n'))
		r.mu.Unlock()
	}
	r.fail(err)
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

// buffered is a connection whose first bytes may have been read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
