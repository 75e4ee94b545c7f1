// Package bolt is the embedded store: one file, one process, one machine. It is the default.
//
// bbolt gives a crash-safe B+tree with one writer. This driver adds what the contract asks beyond that:
// revisions, old values (history) and a log of commits, all in the same file and the same engine
// transaction. So reading at a pinned revision and watching from one are look-ups in short engine
// transactions: nothing ever holds one open, which would keep the file growing and could block its writer.
//
// Writes: one goroutine takes all the transactions that wait, evaluates each against the state left by
// those before it, and commits them with a single engine commit (group commit), each with its own
// revision. Nobody is answered before the sync is done.
//
// Reads: the engine shows a commit to readers shortly before it is synced. The driver does not: until the
// sync is done it answers from history, as of the last durable revision, and nobody waits. After a sync
// that failed for any other reason than lack of room, the outcome is ErrUnknown and the store answers
// ErrUnavailable until it is opened again.
//
// Old revisions stay readable for Options.Retain, or longer while pinned. Pins live in memory: after a
// restart a pinned revision is only as safe as a recent one, and reading it may answer ErrCompacted. When
// the medium is full, old revisions without a pin are given up first.
//
// Deleted values stay in the file's free pages until those are reused; see docs/formats/store-bolt.md.
package bolt

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"

	"redoubt/internal/store"
)

// Store is a store.Store in one file. Make it with Open.
type Store struct {
	db   *bbolt.DB
	path string
	opts Options

	durable atomic.Int64 // newest revision that is synced and may be shown; changes under hot's lock
	hot     hot          // records read lately
	failure atomic.Pointer[error]
	tallies tallies

	requests chan *request // handed over, never buffered: what is handed over gets an answer
	compacts chan *compaction
	quit     chan struct{} // closed by Close
	done     chan struct{} // closed when the writer has ended
	closing  sync.Once
	closeErr error

	mu      sync.Mutex
	changed chan struct{} // closed and replaced after each commit
	pins    map[*pin]struct{}
}

var _ store.Store = (*Store)(nil)

func start(db *bbolt.DB, path string, o Options) (*Store, error) {
	s := &Store{
		db: db, path: path, opts: o, tallies: newTallies(),
		requests: make(chan *request),
		compacts: make(chan *compaction),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
		changed:  make(chan struct{}),
		pins:     map[*pin]struct{}{},
	}
	w := &writer{s: s}
	err := db.View(func(tx *bbolt.Tx) error {
		v := viewOf(tx)
		s.durable.Store(int64(v.rev()))
		w.learn(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	go w.run()
	return s, nil
}

// fail ends the store's usefulness until it is opened again.
func (s *Store) fail(cause error) {
	err := fmt.Errorf("%w: writing %s failed, check the disk and restart: %w", store.ErrUnavailable, s.path, cause)
	s.failure.CompareAndSwap(nil, &err)
	s.wake()
}

// wake tells the watchers that there is something to see.
func (s *Store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) nextChange() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// enter tells whether a call may go on.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.failure.Load(); err != nil {
		return *err
	}
	select {
	case <-s.quit:
		return store.ErrUnavailable
	default:
		return nil
	}
}

// read runs fn in a short engine transaction. newest is the newest revision fn may show; the engine's own
// state is later than that while a commit is being synced.
func (s *Store) read(ctx context.Context, fn func(v view, newest store.Rev) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	v := viewOf(tx)
	// The order matters: every write acknowledged before this call is in durable, and durable may
	// already be ahead of the engine transaction begun above.
	newest := min(store.Rev(s.durable.Load()), v.rev())
	err = fn(v, newest)
	if rerr := tx.Rollback(); err == nil {
		err = rerr
	}
	return err
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (kv store.KV, rev store.Rev, err error) {
	if err := s.enter(ctx); err != nil {
		return kv, 0, err
	}
	if kv, rev, ok := s.hot.get(key, &s.durable); ok {
		return kv, rev, nil
	}
	if kv, rev, err = s.find(ctx, key); err == nil {
		s.hot.put(kv, rev, &s.durable)
	}
	return kv, rev, err
}

// find is Get without the records read lately.
func (s *Store) find(ctx context.Context, key string) (kv store.KV, rev store.Rev, err error) {
	err = s.read(ctx, func(v view, newest store.Rev) error {
		rev = newest
		rec := v.data.Get([]byte(key))
		if newest < v.rev() {
			rec = v.at([]byte(key), newest)
		}
		if rec == nil {
			return store.ErrNotFound
		}
		kv = toKV(key, rec, false)
		return nil
	})
	return kv, rev, err
}

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, q store.Query) (page store.Page, err error) {
	err = s.read(ctx, func(v view, newest store.Rev) error {
		page.Rev = newest
		if q.At != 0 {
			if err := v.kept(q.At, newest); err != nil {
				return err
			}
			page.Rev = q.At
		}
		limit := q.PageLimit()
		page.KVs = make([]store.KV, 0, min(limit, 64))
		take := func(key, rec []byte) bool {
			if len(page.KVs) == limit {
				page.More = true
				return false
			}
			page.KVs = append(page.KVs, toKV(string(key), rec, q.KeysOnly))
			return true
		}
		if page.Rev == v.rev() {
			v.rangeNewest(q.Prefix, q.After, take)
		} else {
			v.rangeAt(q.Prefix, q.After, page.Rev, take)
		}
		return nil
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

type pin struct {
	s     *Store
	rev   store.Rev
	until time.Time
}

func (p *pin) Rev() store.Rev { return p.rev }

func (p *pin) Close() error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	delete(p.s.pins, p)
	return nil
}

// Pin implements store.Store.
func (s *Store) Pin(ctx context.Context, ttl time.Duration) (store.Pin, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: a pin needs a positive time to live", store.ErrInvalid)
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	// Under the lock the writer takes to see how far it may trim: it never trims beyond a revision that
	// was durable when it looked, and pins only ever appear at the newest durable one.
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &pin{s: s, rev: store.Rev(s.durable.Load()), until: time.Now().Add(ttl)}
	s.pins[p] = struct{}{}
	return p, nil
}

// Status implements store.Store.
func (s *Store) Status(ctx context.Context) (store.Status, error) {
	if err := s.enter(ctx); err != nil {
		return store.Status{}, err
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return store.Status{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return store.Status{Driver: "bolt", Rev: store.Rev(s.durable.Load()), Bytes: info.Size()}, nil
}

// Close implements store.Store. It waits for the commit under way and for readers. Closing twice is
// allowed.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.quit)
		<-s.done
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}
