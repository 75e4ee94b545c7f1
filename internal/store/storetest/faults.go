package storetest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"redoubt/internal/store"
)

// Fault is what happens to the write that Faults.FailAt names.
type Fault uint8

// The faults. Lost and Stored are the two sides of one crash: the caller sees the same ErrUnknown and
// then a dead store, and must come up right in both worlds.
const (
	Lost   Fault = iota + 1 // not stored, answered ErrUnknown; then the process is dead
	Stored                  // stored, answered ErrUnknown; then the process is dead
	Full                    // not stored, answered ErrFull, as is every later write; reads go on
)

func (f Fault) String() string {
	switch f {
	case Lost:
		return "lost"
	case Stored:
		return "stored"
	case Full:
		return "full"
	}
	return fmt.Sprintf("fault(%d)", uint8(f))
}

// Faults is a store.Store that fails on demand: it stands between a component and its store and plays
// the death of the process at a chosen write. A write is a Txn with at least one operation, whether or
// not its conditions hold.
//
// The usual test runs the component once to learn Writes, then once for each n and fault:
//
//	f := storetest.NewFaults(mem.New())
//	f.FailAt(n, storetest.Lost)
//	use(f)      // runs into ErrUnknown, then ErrUnavailable
//	f.Revive()
//	reopen(f)   // must find a sound state
//
// Close is one more way to end the process: later calls answer ErrUnavailable until Revive, and the
// store below stays open, since it belongs to the test. Pins do not survive either.
type Faults struct {
	// OnWrite, when set, is called before each write with its number, counted from 1 for the life of
	// the Faults. Set it before use. It may call any method.
	OnWrite func(n int)

	below store.Store

	mu     sync.Mutex
	writes int
	left   int // writes until the fault, 0 when none is armed
	fault  Fault
	full   bool
	life   *life
}

// life is one run of the process, from Revive to death.
type life struct {
	ctx  context.Context
	end  context.CancelFunc
	pins []store.Pin
}

var _ store.Store = (*Faults)(nil)

// NewFaults puts a Faults before s. It passes everything through until FailAt.
func NewFaults(s store.Store) *Faults {
	f := &Faults{below: s}
	f.Revive()
	return f
}

// FailAt arms one fault: the n-th write from now, n = 1 being the next. It replaces an armed one.
func (f *Faults) FailAt(n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.fault = n, fault
}

// Writes is the number of writes seen so far, failed ones included.
func (f *Faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// Dead tells whether a fault has fired, or Close was called, and Revive has not been called since.
func (f *Faults) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.life.ctx.Err() != nil
}

// Revive starts the process again on the same store: calls work, the disk has room, no fault is armed.
func (f *Faults) Revive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life != nil {
		f.die()
	}
	ctx, end := context.WithCancel(context.Background())
	f.life = &life{ctx: ctx, end: end}
	f.left, f.full = 0, false
}

// die ends the current life. The lock is held.
func (f *Faults) die() {
	f.life.end()
	for _, p := range f.life.pins {
		_ = p.Close() // what a dead process leaves of its pins is the driver's business
	}
	f.life.pins = nil
}

func (f *Faults) alive() (*life, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.ctx.Err() != nil {
		return nil, store.ErrUnavailable
	}
	return f.life, nil
}

// Get implements store.Store.
func (f *Faults) Get(ctx context.Context, key string) (store.KV, store.Rev, error) {
	if _, err := f.alive(); err != nil {
		return store.KV{}, 0, err
	}
	return f.below.Get(ctx, key)
}

// Range implements store.Store.
func (f *Faults) Range(ctx context.Context, q store.Query) (store.Page, error) {
	if _, err := f.alive(); err != nil {
		return store.Page{}, err
	}
	return f.below.Range(ctx, q)
}

// Txn implements store.Store.
func (f *Faults) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	if err := store.CheckTxn(ifs, then); err != nil {
		return 0, err
	}
	if len(then) == 0 {
		if _, err := f.alive(); err != nil {
			return 0, err
		}
		return f.below.Txn(ctx, ifs, then)
	}
	fault, err := f.countWrite()
	if err != nil {
		return 0, err
	}
	switch fault {
	case Full:
		return 0, store.ErrFull
	case Lost:
		return 0, fmt.Errorf("fault at write %d (lost): %w", f.Writes(), store.ErrUnknown)
	case Stored:
		_, err := f.below.Txn(context.WithoutCancel(ctx), ifs, then)
		return 0, fmt.Errorf("fault at write %d (stored, %v): %w", f.Writes(), err, store.ErrUnknown)
	}
	return f.below.Txn(ctx, ifs, then)
}

// countWrite counts one write and tells which fault it meets, 0 for none.
func (f *Faults) countWrite() (Fault, error) {
	f.mu.Lock()
	if f.life.ctx.Err() != nil {
		f.mu.Unlock()
		return 0, store.ErrUnavailable
	}
	f.writes++
	n := f.writes
	f.mu.Unlock()
	if f.OnWrite != nil {
		f.OnWrite(n)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.life.ctx.Err() != nil:
		return 0, store.ErrUnavailable
	case f.full:
		return Full, nil
	case f.left == 0:
		return 0, nil
	}
	if f.left--; f.left > 0 {
		return 0, nil
	}
	if f.fault == Full {
		f.full = true
	} else {
		f.die()
	}
	return f.fault, nil
}

// Watch implements store.Store. A watch ends with ErrUnavailable when the process dies.
func (f *Faults) Watch(ctx context.Context, prefix string, from store.Rev) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		life, err := f.alive()
		if err != nil {
			yield(store.Batch{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life.ctx, cancel)()
		for b, err := range f.below.Watch(ctx, prefix, from) {
			if life.ctx.Err() != nil {
				yield(store.Batch{}, store.ErrUnavailable)
				return
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// Pin implements store.Store.
func (f *Faults) Pin(ctx context.Context, ttl time.Duration) (store.Pin, error) {
	life, err := f.alive()
	if err != nil {
		return nil, err
	}
	p, err := f.below.Pin(ctx, ttl)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if life.ctx.Err() != nil {
		_ = p.Close()
		return nil, store.ErrUnavailable
	}
	life.pins = append(life.pins, p)
	return p, nil
}

// Status implements store.Store.
func (f *Faults) Status(ctx context.Context) (store.Status, error) {
	if _, err := f.alive(); err != nil {
		return store.Status{}, err
	}
	return f.below.Status(ctx)
}

// Close implements store.Store; see Faults for what it means here.
func (f *Faults) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.die()
	return nil
}
