// Package mem is the store in memory: for tests, and for nothing that must survive the process.
//
// It keeps every version of every record since New (or since the last Compact), so reading at an old
// revision and watching from one are plain look-ups. That makes it the reference the other drivers are
// measured against: it is meant to be obviously right rather than fast, yet it is quick enough to run a
// device's kill matrix thousands of times a second.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"redoubt/internal/store"
)

// version is one state of a key: a record, or its absence from rev on.
type version struct {
	rev     store.Rev
	create  store.Rev // 0 when deleted
	val     []byte
	deleted bool
}

// Store is an in-memory store.Store. Make it with New.
type Store struct {
	mu      sync.RWMutex
	rev     store.Rev
	floor   store.Rev            // lowest revision that can still be read
	keys    []string             // sorted: every key with at least one version kept
	history map[string][]version // ascending revisions
	log     map[store.Rev][]string
	pins    map[*pin]struct{}
	changed chan struct{} // closed and replaced by every commit
	closed  chan struct{}
}

var _ store.Store = (*Store)(nil)

// New makes an empty store.
func New() *Store {
	return &Store{
		rev:     1, // 0 is "none", so an empty store is at revision 1
		history: map[string][]version{},
		log:     map[store.Rev][]string{},
		pins:    map[*pin]struct{}{},
		changed: make(chan struct{}),
		closed:  make(chan struct{}),
	}
}

// enter tells whether a call may go on.
func (s *Store) enter(ctx context.Context) error {
	select {
	case <-s.closed:
		return store.ErrUnavailable
	default:
		return ctx.Err()
	}
}

// at finds the state of key at rev.
func (s *Store) at(key string, rev store.Rev) (store.KV, bool) {
	vs := s.history[key]
	i := sort.Search(len(vs), func(i int) bool { return vs[i].rev > rev }) - 1
	if i < 0 || vs[i].deleted {
		return store.KV{}, false
	}
	return store.KV{Key: key, Val: bytes.Clone(vs[i].val), Create: vs[i].create, Mod: vs[i].rev}, true
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, store.Rev, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.enter(ctx); err != nil {
		return store.KV{}, 0, err
	}
	kv, ok := s.at(key, s.rev)
	if !ok {
		return store.KV{}, s.rev, store.ErrNotFound
	}
	return kv, s.rev, nil
}

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, q store.Query) (store.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.enter(ctx); err != nil {
		return store.Page{}, err
	}
	page := store.Page{Rev: s.rev}
	if q.At != 0 {
		if err := s.kept(q.At); err != nil {
			return store.Page{}, err
		}
		page.Rev = q.At
	}
	i, _ := slices.BinarySearch(s.keys, max(q.Prefix, q.After))
	for ; i < len(s.keys) && strings.HasPrefix(s.keys[i], q.Prefix); i++ {
		if q.After != "" && s.keys[i] <= q.After {
			continue
		}
		kv, ok := s.at(s.keys[i], page.Rev)
		if !ok {
			continue
		}
		if len(page.KVs) == q.PageLimit() {
			page.More = true
			break
		}
		if q.KeysOnly {
			kv.Val = nil
		}
		page.KVs = append(page.KVs, kv)
	}
	return page, nil
}

// kept tells whether rev can be read.
func (s *Store) kept(rev store.Rev) error {
	if rev < s.floor || rev > s.rev {
		return fmt.Errorf("%w: %d is not within %d..%d", store.ErrCompacted, rev, s.floor, s.rev)
	}
	return nil
}

// Txn implements store.Store.
func (s *Store) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	if err := store.CheckTxn(ifs, then); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	if c := s.conflict(ifs); c != nil {
		return 0, c
	}
	s.apply(then)
	return s.rev, nil
}

func (s *Store) conflict(ifs []store.Cond) error {
	var c *store.Conflict
	for _, cond := range ifs {
		kv, ok := s.at(cond.Key, s.rev)
		if cond.Holds(kv, ok) {
			continue
		}
		if c == nil {
			c = &store.Conflict{Now: map[string]store.KV{}}
		}
		c.Failed = append(c.Failed, cond)
		if ok {
			c.Now[cond.Key] = kv
		}
	}
	if c == nil {
		return nil
	}
	return c
}

// apply commits ops as one revision. Nothing is committed when no op changes anything.
func (s *Store) apply(ops []store.Op) {
	rev := s.rev + 1
	var touched []string
	for _, op := range ops {
		old, exists := s.at(op.Key, s.rev)
		if op.Delete && !exists {
			continue
		}
		v := version{rev: rev, create: rev, val: bytes.Clone(op.Val), deleted: op.Delete}
		if exists {
			v.create = old.Create
		}
		if len(s.history[op.Key]) == 0 {
			i, _ := slices.BinarySearch(s.keys, op.Key)
			s.keys = slices.Insert(s.keys, i, op.Key)
		}
		s.history[op.Key] = append(s.history[op.Key], v)
		touched = append(touched, op.Key)
	}
	if touched == nil {
		return
	}
	slices.Sort(touched)
	s.log[rev] = touched
	s.rev = rev
	close(s.changed)
	s.changed = make(chan struct{})
}

// Compact forgets what is needed only to read revisions before rev. It never goes beyond the newest
// revision or a pin; the answer is the lowest revision that can be read from now on.
func (s *Store) Compact(rev store.Rev) store.Rev {
	s.mu.Lock()
	defer s.mu.Unlock()
	rev = min(rev, s.rev)
	for p := range s.pins {
		if time.Now().Before(p.until) {
			rev = min(rev, p.rev)
		}
	}
	if rev <= s.floor {
		return s.floor
	}
	for r := range s.log {
		if r <= rev {
			delete(s.log, r)
		}
	}
	s.floor = rev
	s.keys = slices.DeleteFunc(s.keys, func(key string) bool {
		vs := s.history[key]
		i := max(sort.Search(len(vs), func(i int) bool { return vs[i].rev > rev })-1, 0)
		if vs[i].deleted && vs[i].rev <= rev {
			i++
		}
		if i == len(vs) {
			delete(s.history, key)
			return true
		}
		s.history[key] = slices.Clone(vs[i:])
		return false
	})
	return s.floor
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	p := &pin{s: s, rev: s.rev, until: time.Now().Add(ttl)}
	s.pins[p] = struct{}{}
	return p, nil
}

// Status implements store.Store.
func (s *Store) Status(ctx context.Context) (store.Status, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.enter(ctx); err != nil {
		return store.Status{}, err
	}
	return store.Status{Driver: "mem", Rev: s.rev}, nil
}

// Close implements store.Store. Closing twice is allowed.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}
