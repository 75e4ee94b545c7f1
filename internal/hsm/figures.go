package hsm

import (
	"sync/atomic"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/tally"
)

// Figures are what the device counts of itself since it was opened, and what waits in it now. They need no
// permission, like Status: there is no name of a key and no principal in them.
type Figures struct {
	Audit     AuditFigures
	Materials tally.Lookups         // keys used, and whether they were unwrapped already
	Records   tally.Lookups         // sealed records read, and whether they were open already
	Jobs      map[string]JobFigures // by kind
	Running   int                   // jobs of this process
}

// AuditFigures are how the audit log is.
type AuditFigures struct {
	Entries uint64    // lines of the chain
	Waiting int       // entries in memory that are not in the file yet
	Oldest  time.Time // of the entries that a power loss would take; zero for none
	Stopped bool      // the file takes none: changes are refused
}

// JobFigures are how jobs of one kind went.
type JobFigures struct {
	Started, Succeeded, Failed uint64
	Took                       tally.Distribution
}

// Figures tells them. Nothing is read from the store.
func (h *HSM) Figures() Figures {
	f := Figures{Materials: h.cache.materials.Read(), Records: h.cache.records.Read(), Jobs: make(map[string]JobFigures, len(h.jobbed))}
	for kind, t := range h.jobbed {
		f.Jobs[kind] = JobFigures{t.started.Load(), t.succeeded.Load(), t.failed.Load(), t.took.Read()}
	}
	f.Audit = AuditFigures{Entries: h.cfg.Audit.Head().Seq, Waiting: len(h.queue) + int(h.behind.count.Load()), Oldest: h.cfg.Audit.Loose(), Stopped: h.mute.Load()}
	if at := h.behind.oldest.Load(); at != 0 && (f.Audit.Oldest.IsZero() || at < f.Audit.Oldest.UnixNano()) {
		f.Audit.Oldest = time.Unix(0, at)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Running = len(h.jobs)
	return f
}

// jobTally counts jobs of one kind.
type jobTally struct {
	started, succeeded, failed atomic.Uint64
	took                       *tally.Histogram
}

func jobTallies() map[string]*jobTally {
	out := make(map[string]*jobTally)
	for kind := range startedBy {
		out[kind] = &jobTally{took: tally.NewHistogram(100*time.Millisecond, time.Second, 5*time.Second, 15*time.Second, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour, 6*time.Hour)}
	}
	return out
}

func (t *jobTally) end(err error, took time.Duration) {
	t.took.Observe(took)
	if err != nil {
		t.failed.Add(1)
		return
	}
	t.succeeded.Add(1)
}

// backlogTally is what others may know of the sequencer's backlog.
type backlogTally struct {
	count  atomic.Int64
	oldest atomic.Int64 // Unix nanoseconds, 0 for none
}

func (t *backlogTally) note(backlog []audit.Entry) {
	t.count.Store(int64(len(backlog)))
	if len(backlog) == 0 {
		t.oldest.Store(0)
		return
	}
	t.oldest.Store(backlog[0].Time.UnixNano())
}

// lastBackup is the time of the restore point if it is one of the present content.
func (d device) lastBackup() int64 {
	if d.Point == nil || d.Point.Lineage != d.Lineage {
		return 0
	}
	return d.Point.Time
}
