package daemon

import (
	"context"
	"log/slog"
	"syscall"
	"time"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/authn"
	"redoubt/internal/fleet"
	"redoubt/internal/metrics"
	"redoubt/internal/store/bolt"
	"redoubt/internal/throttle"
)

// instruments are what a server shows of itself, and where the figures come from. Everything but metrics is
// set before the phase leaves "starting" and not changed afterwards.
type instruments struct {
	metrics      *metrics.Metrics
	access       *slog.Logger // nil: requests are not logged
	everyRequest bool         // those that went well, too

	store       *bolt.Store
	place       place
	fleet       *fleet.Fleet
	verifiers   []*authn.Verifier
	issuers     []*authn.RemoteKeys
	certificate func() time.Time // end of its validity; nil: it renews itself
	audits      *auditFiles      // nil: they are not sent anywhere
	limits      *throttle.Limits // nil: there are none
	connections int              // that are served at once; 0: no limit
}

// instrument makes the metrics. phase tells "starting", "ready" or "draining".
func (r *running) instrument(phase func() string, log *slog.Logger) {
	r.shown.metrics = metrics.New(func(ctx context.Context) (metrics.Site, bool) {
		p := phase()
		if p == "starting" || r.shown.fleet == nil { // the rest is being opened
			return metrics.Site{}, false
		}
		s := r.site(ctx)
		s.Ready = p == "ready"
		return s, true
	}, log)
}

// site asks everything how it is.
func (r *running) site(ctx context.Context) metrics.Site {
	i := &r.shown
	s := metrics.Site{HSMs: r.devices(ctx), SyslogFails: i.audits.failing(), Store: i.store.Figures(), Keys: r.pool.Shelves(), Connections: r.fresh.open.Load(), Accepted: r.fresh.accepted.Load(),
		MostConns: i.connections}
	if st, err := i.store.Status(ctx); err == nil {
		s.StoreBytes = st.Bytes
	}
	s.Free, s.Size = room(i.place.data)
	for _, v := range i.verifiers {
		s.Tokens = s.Tokens.Add(v.Remembered())
	}
	for _, is := range i.issuers {
		s.Issuers = append(s.Issuers, is.Figures())
	}
	if i.limits != nil {
		s.Throttled = i.limits.Refused()
	}
	if i.certificate != nil {
		s.Certificate = i.certificate()
	}
	return s
}

// devices asks every live HSM how it is.
func (r *running) devices(ctx context.Context) (out []metrics.HSM) {
	f := r.shown.fleet
	for _, res := range f.List(false) {
		h := metrics.HSM{Name: res.Name}
		if d, _, err := f.Device(res.Name); err == nil {
			h.Open, h.Figures = true, d.Figures()
			h.Status, _ = d.Status(ctx) // what is wrong is in its State
			h.Unsent = r.shown.audits.unsent(res.ID)
		}
		out = append(out, h)
	}
	return out
}

// room tells how much of a folder's file system is left, and its size; 0 where the system does not say.
func room(dir string) (free, size uint64) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0
	}
	block := uint64(st.Bsize)
	return st.Bavail * block, st.Blocks * block
}

// observer is told of every request of one plane.
func (r *running) observer(plane string, counts azhttp.Observer) azhttp.Observer {
	if r.shown.access == nil {
		return counts
	}
	return azhttp.Observers{counts, accessLog{log: r.shown.access, plane: plane, all: r.shown.everyRequest}}
}

func (r *running) dataObserver() azhttp.Observer {
	return r.observer("data", r.shown.metrics.DataPlane())
}

func (r *running) controlObserver() azhttp.Observer {
	return r.observer("control", r.shown.metrics.ControlPlane())
}
