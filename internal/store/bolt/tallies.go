package bolt

import (
	"errors"
	"sync/atomic"
	"time"

	"redoubt/internal/store"
	"redoubt/internal/tally"
)

// tallies are what the store counts of itself.
type tallies struct {
	done, conflicts, failed atomic.Uint64
	commit                  *tally.Histogram
}

func newTallies() tallies {
	const ms = time.Millisecond
	return tallies{commit: tally.NewHistogram(ms/4, ms/2, ms, 2*ms, 4*ms, 8*ms, 16*ms, 32*ms, 64*ms, 128*ms, 256*ms, 512*ms, 1024*ms, 4096*ms)}
}

func (t *tallies) answered(err error) {
	var conflict *store.Conflict
	switch {
	case err == nil:
		t.done.Add(1)
	case errors.As(err, &conflict):
		t.conflicts.Add(1)
	default:
		t.failed.Add(1)
	}
}

// Figures are counts since the store was opened.
type Figures struct {
	Done, Conflicts, Failed uint64             // transactions, by what became of them
	Commit                  tally.Distribution // how long the engine took to write and sync a group of them
	Hot                     tally.Lookups      // records read, and whether they were in memory
}

// Figures tells them. It asks neither the file nor the writer.
func (s *Store) Figures() Figures {
	t := &s.tallies
	return Figures{Done: t.done.Load(), Conflicts: t.conflicts.Load(), Failed: t.failed.Load(), Commit: t.commit.Read(), Hot: s.hot.asked.Read()}
}
