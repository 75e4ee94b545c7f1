package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// proxy stands in for name resolution: clients that are told of it reach a server by any name, as they would in a
// site with DNS. It connects to what it was given and to nothing else, and reads nothing.
type proxy struct {
	url    string
	server *http.Server
	done   chan error
}

// startProxy takes CONNECT requests. route tells the address of a host and port, or "".
func startProxy(ctx context.Context, route func(hostport string) string) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{url: "http://" + l.Addr().String(), done: make(chan error, 1)}
	p.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		to := ""
		if q.Method == http.MethodConnect {
			to = route(strings.ToLower(q.Host))
		}
		if to == "" {
			http.Error(w, "not a name of this test: "+q.Host, http.StatusForbidden)
			return
		}
		connect(w, q, to)
	})}
	go func() { p.done <- p.server.Serve(l) }()
	return p, nil
}

func connect(w http.ResponseWriter, q *http.Request, to string) {
	server, err := new(net.Dialer).DialContext(q.Context(), "tcp", to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, early, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = server.Close()
		return
	}
	_, err = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() {
		if err == nil {
			_, _ = io.Copy(server, early) // with what was read ahead; who ends first ends the other
		}
		_ = server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	both.Wait()
}

func (p *proxy) stop() error {
	if p == nil {
		return nil
	}
	err := p.server.Close()
	if served := <-p.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// variables are what clients are told.
func (p *proxy) variables(ca string) []string {
	return []string{"HTTPS_PROXY=" + p.url, "https_proxy=" + p.url, "NO_PROXY=", "no_proxy=", "REQUESTS_CA_BUNDLE=" + ca, "SSL_CERT_FILE=" + ca}
}

func (p *proxy) address() *url.URL {
	u, err := url.Parse(p.url)
	if err != nil {
		panic(err) // it was made of an address
	}
	return u
}
