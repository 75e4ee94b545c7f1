// Package metrics shows what the server counts to Prometheus. It is the only package that knows Prometheus:
// the others count for themselves (package tally, and Figures methods) and are read when a scrape comes.
//
// Every label has values from a bounded set that the operator or this program chose: HSMs, operations,
// issuers of the configuration, words. Never a name of a key, a principal, an address, or anything else that
// a client sends. docs/metrics.md lists every metric; a test compares.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/authn"
	"redoubt/internal/hsm"
	"redoubt/internal/keypool"
	"redoubt/internal/store/bolt"
	"redoubt/internal/tally"
)

// HSM is one live HSM as it was asked.
type HSM struct {
	Name    string
	Open    bool // false: it could not be opened; the rest is empty
	Status  hsm.Status
	Figures hsm.Figures
	Unsent  uint64 // audit entries that the syslog receiver has not confirmed
}

// Site is the whole server as it was asked.
type Site struct {
	Ready       bool
	HSMs        []HSM
	Store       bolt.Figures
	StoreBytes  int64
	Free        uint64 // bytes that the data directory's file system has room for
	Size        uint64 // bytes of that file system
	Tokens      tally.Lookups
	Keys        []keypool.Shelf
	Issuers     []authn.RemoteFigures
	SyslogFails bool              // audit entries cannot be sent
	Certificate time.Time         // end of the TLS certificate's validity; zero: it renews itself
	Connections int64             // open now
	Accepted    uint64            // since the start
	MostConns   int               // that are served at once; 0: no limit
	Throttled   map[string]uint64 // requests refused, by kind of limit
}

// Metrics are all metrics of one server.
type Metrics struct {
	registry *prometheus.Registry
	data     *dataPlane
	control  *controlPlane
	handler  http.Handler
}

// New makes them. ask is called at every scrape, by one at a time; ok is false while there is nothing to be told yet.
func New(ask func(ctx context.Context) (s Site, ok bool), log *slog.Logger) *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{registry: r, data: newDataPlane(r), control: newControlPlane(r)}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(),
		&collector{ask: ask, data: m.data})
	m.handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), MaxRequestsInFlight: 2,
		DisableCompression: true, Timeout: scrapeTime})
	return m
}

// scrapeTime bounds a scrape: what asks a store or an unlock driver that hangs must not pile up.
const scrapeTime = 10 * time.Second

// DataPlane is told of the requests for HSMs.
func (m *Metrics) DataPlane() azhttp.Observer { return m.data }

// ControlPlane is told of the requests of the control plane.
func (m *Metrics) ControlPlane() azhttp.Observer { return m.control }

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// buildInfo is the version of the program, as the go command stamped it.
func buildInfo() prometheus.Collector {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = strings.Trim(info.Main.Version, "()")
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "redoubt_build_info", Help: "The version of the program; the value is 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	g.Set(1)
	return g
}
