package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"redoubt/internal/fleet"
	"redoubt/internal/keypool"
)

// running is what every server of this package is made of: HTTP servers with the front's limits, things to be
// closed, goroutines to be waited for.
type running struct {
	fresh   fresh
	servers []*http.Server
	closers []func() error // run in reverse order
	work    sync.WaitGroup
	pool    *keypool.Pool // that every HSM's keys come from
	shown   instruments
}

// stopTime is how long running requests have to end when a dev cloud is closed.
const stopTime = 10 * time.Second

// newServer makes an HTTP/1.1 server with the front's limits.
func (r *running) newServer(h http.Handler, header time.Duration, log *slog.Logger) *http.Server {
	srv := &http.Server{Handler: paced(h, log), ConnState: r.fresh.state, ReadHeaderTimeout: header, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	r.servers = append(r.servers, srv)
	return srv
}

// serveTLS answers on a listener until the server is closed.
func (r *running) serveTLS(srv *http.Server, l net.Listener, conf *tls.Config, log *slog.Logger) {
	r.work.Go(func() {
		if err := srv.Serve(tls.NewListener(writers{l}, conf)); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			log.Error("the TLS listener ended", "error", err)
		}
	})
}

// openFleet opens every HSM, with a clock to tend them by and a pool that makes their keys.
func (r *running) openFleet(ctx context.Context, cfg fleet.Config, readyKeys bool) (*fleet.Fleet, error) {
	ticks := time.NewTicker(tendEvery)
	r.closers = append(r.closers, func() error { ticks.Stop(); return nil })
	var o keypool.Options
	if readyKeys {
		o.Stock = keypool.Stock()
	}
	r.pool = keypool.New(o)
	r.closers = append(r.closers, r.pool.Close) // after the fleet
	cfg.MakeKey, cfg.Ticks = r.pool.Generate, ticks.C
	f, err := fleet.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, f.Close)
	r.shown.fleet = f
	return f, nil
}

// close takes no new requests, lets running ones end for as long as patience, and closes everything that is open.
func (r *running) close(patience time.Duration, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	r.fresh.close(&r.work)
	for _, s := range r.servers {
		err := s.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			log.Warn("requests that did not end were cut off")
			err = s.Close()
		}
		errs = append(errs, err)
	}
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	r.work.Wait()
	return errors.Join(errs...)
}
