package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"redoubt/internal/fleet"
)

// The health listener speaks plain HTTP on loopback, to whoever is on the machine: probes, and `redoubtd
// status`. It has names and states of HSMs, never a key.

// health is the answer of GET /status.
type health struct {
	Phase       string      `json:"phase"` // "starting", "ready", "draining"
	Since       time.Time   `json:"since"`
	Address     string      `json:"address,omitempty"`
	Certificate time.Time   `json:"certificateUntil"`
	Connections int64       `json:"connections"`
	Limit       int         `json:"connectionsLimit,omitempty"`
	Throttled   uint64      `json:"throttled"` // requests refused with 429 since the start
	Free        uint64      `json:"dataFreeBytes,omitempty"`
	Size        uint64      `json:"dataSizeBytes,omitempty"`
	Issuers     []string    `json:"issuersFailing,omitempty"` // whose keys could not be fetched when that was last tried
	HSMs        []hsmHealth `json:"hsms"`
}

type hsmHealth struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`            // the device's, or "Unavailable"
	Domain   string   `json:"domain,omitempty"` // id of its security domain
	Warnings []string `json:"warnings,omitempty"`

	LastBackup   *time.Time `json:"lastBackup,omitempty"` // of the content in the newest full backup that still counts
	Unconfirmed  bool       `json:"securityDomainUnconfirmed,omitempty"`
	Jobs         int        `json:"jobsRunning"`
	AuditWaiting int        `json:"auditWaiting"`           // entries that are not in the file yet
	AuditStopped bool       `json:"auditStopped,omitempty"` // changes are refused
}

// outsideTLS is how the server trusts issuers and storage: the system's authorities, and those of
// outbound.ca-file.
func (c *Config) outsideTLS() (*tls.Config, error) {
	roots, err := outsideRoots(c.Outbound.CAFile)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, err
}

// serveHealth answers from before the HSMs are opened until the last request has been drained.
func (s *Server) serveHealth(ctx context.Context) error {
	var err error
	s.health, err = s.openHealth(ctx, "listen.health", s.cfg.Listen.Health, healthFace{phase: s.now, metrics: s.shown.metrics,
		status: func(ctx context.Context, phase string) any { return s.status(ctx, phase) }}, s.log)
	return err
}

// phase of a dev cloud: its health answers from when all of it does.
func (d *Dev) phase() string { return "ready" }

// serveHealth opens the health listener of a dev cloud, if one was asked for.
func (d *Dev) serveHealth(ctx context.Context) (err error) {
	if d.cfg.Health != "" {
		d.healthAddr, err = d.openHealth(ctx, "--health", d.cfg.Health, healthFace{phase: d.phase, metrics: d.shown.metrics}, d.log)
	}
	return err
}

// openHealth opens a health listener.
func (r *running) openHealth(ctx context.Context, option, addr string, face healthFace, log *slog.Logger) (net.Addr, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, cannotListen(option, err)
	}
	if at, _, _ := net.SplitHostPort(l.Addr().String()); !isLoopback(at) { // "localhost" is whatever the system says it is
		return nil, errors.Join(fmt.Errorf("%s: %s is %s, which is not a loopback address", option, addr, at), l.Close())
	}
	srv := &http.Server{Handler: face, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: writeTime, MaxHeaderBytes: headerBytes}
	srv.SetKeepAlivesEnabled(false)
	r.work.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the health listener ended", "error", err)
		}
	})
	r.closers = append(r.closers, srv.Close)
	return l.Addr(), nil
}

// healthFace is what the health listener answers.
type healthFace struct {
	phase   func() string
	status  func(ctx context.Context, phase string) any // nil: there is none
	metrics http.Handler
}

// ServeHTTP implements http.Handler.
func (f healthFace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	phase := f.phase()
	if host := strings.Trim(hostOnly(r.Host), "[]"); host != "" && !isLoopback(host) { // a page in a browser on this machine, whose name was made to lead here
		http.Error(w, "ask by a loopback address or localhost; a reverse proxy has to name one, too", http.StatusMisdirectedRequest)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
		return
	}
	switch {
	case r.URL.Path == "/healthz":
		fmt.Fprintln(w, "ok")
	case r.URL.Path == "/readyz":
		if phase != "ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, phase)
	case r.URL.Path == "/metrics":
		f.metrics.ServeHTTP(w, r)
	case r.URL.Path == "/status" && f.status != nil:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(f.status(r.Context(), phase)) // the client went away
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) status(ctx context.Context, phase string) health {
	h := health{Phase: phase, Since: s.since.UTC(), Certificate: s.pair.current().Leaf.NotAfter, HSMs: []hsmHealth{}}
	if phase == "starting" { // the HSMs are being opened
		return h
	}
	if s.addr != nil {
		h.Address = s.addr.String()
	}
	if s.fleet == nil {
		return h
	}
	h.Connections, h.Limit = s.fresh.open.Load(), s.cfg.Limits.Connections
	h.Free, h.Size = room(s.cfg.DataDirectory)
	if l := s.shown.limits; l != nil {
		for _, n := range l.Refused() {
			h.Throttled += n
		}
	}
	for _, is := range s.shown.issuers {
		if f := is.Figures(); f.Failing {
			h.Issuers = append(h.Issuers, f.Issuer)
		}
	}
	for _, r := range s.fleet.List(false) {
		h.HSMs = append(h.HSMs, s.deviceHealth(ctx, r))
	}
	return h
}

func (s *Server) deviceHealth(ctx context.Context, r fleet.Resource) hsmHealth {
	out := hsmHealth{Name: r.Name, State: "Unavailable"}
	d, _, err := s.fleet.Device(r.Name)
	if err != nil {
		return out
	}
	st, err := d.Status(ctx)
	out.State, out.Domain, out.Warnings = string(st.State), st.DomainID, st.Warnings
	f := d.Figures()
	out.Unconfirmed, out.Jobs, out.AuditWaiting, out.AuditStopped = st.Unconfirmed, f.Running, f.Audit.Waiting, f.Audit.Stopped
	if st.LastBackup != 0 {
		at := time.Unix(st.LastBackup, 0).UTC()
		out.LastBackup = &at
	}
	if err != nil {
		out.Warnings = append(out.Warnings, "its store does not answer; the log says why")
	}
	return out
}

// askHealth asks a running server how it is.
func askHealth(ctx context.Context, addr string) (h health, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return h, err
	}
	c := &http.Client{Timeout: headerTime, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return h, fmt.Errorf("no server answers at listen.health; start it with redoubtd serve, or see in its log why it ended: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return h, fmt.Errorf("what answers at %s is no redoubtd: %s", addr, resp.Status)
	}
	return h, json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&h)
}
