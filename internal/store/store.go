// Package store is the contract between Redoubt and the place where its records live: an ordered map of
// keys to small values with a totally ordered revision, conditional multi-key writes, change feeds and
// pinned snapshots. Drivers live below it (bolt, mem, later etcd); storetest is this contract in
// executable form and every driver passes it unchanged.
//
// The contract offers only what an embedded B+tree and a consensus store can both do natively.
//
// Durability: when Txn returns nil, the write survives SIGKILL and power loss at any later instant.
// When it returns ErrUnknown the write may or may not have happened; callers re-read. Any other error means
// that nothing was written. Nobody ever reads a write that a power loss could still undo.
// Consistency: Txn and Get are strictly serialisable; Range without At reads the newest revision.
// Concurrency: every method may be called from any goroutine.
// Keys are 1 to MaxKey bytes without NUL, ordered as bytes. Values must not be modified after being passed in
// or handed out.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Limits of one transaction. A driver refuses more with ErrTooLarge before doing anything.
const (
	MaxOps      = 64      // operations in one Txn
	MaxTxnBytes = 1 << 20 // sum of key and value bytes in one Txn
)

var (
	// ErrNotFound: the key does not exist (at the revision asked for).
	ErrNotFound = errors.New("store: key not found")
	// ErrCompacted: the revision asked for is not kept: it is too old, or newer than the store, which then
	// has been put back to an earlier state. Rebuild from a fresh Range.
	ErrCompacted = errors.New("store: revision compacted")
	// ErrUnknown: the outcome of a Txn cannot be known (a time-out after sending, a failed sync).
	ErrUnknown = errors.New("store: outcome unknown")
	// ErrUnavailable: the store cannot answer now (closed, no quorum). Nothing was written.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrTooLarge: the transaction exceeds MaxOps or MaxTxnBytes.
	ErrTooLarge = errors.New("store: transaction too large")
	// ErrFull: the medium has no room. Nothing was written; reads go on, and writes do once there is room.
	// Even a deletion can be refused, since it takes room before it gives any.
	ErrFull = errors.New("store: no space left")
)

// Rev is a revision: it grows with every commit of one store. 0 is "none", and even an empty store is at a
// higher one. A Txn that changes nothing (conditions alone, deletions of absent keys) makes no revision.
type Rev int64

// KV is one record as read. Create and Mod are the revisions that created and last changed it.
type KV struct {
	Key         string
	Val         []byte
	Create, Mod Rev
}

// Query selects a run of keys in byte order.
type Query struct {
	Prefix   string
	After    string // exclusive start: the last key already seen, or "" to begin at Prefix
	Limit    int    // most records to return; 0 means 1000
	At       Rev    // read at this revision (must be pinned or recent); 0 means newest
	KeysOnly bool
}

// Page is one answer to Range. More tells that further keys match after the last one returned.
type Page struct {
	KVs  []KV
	Rev  Rev // the revision this page was read at
	More bool
}

// Cond is one condition of a Txn. Build it with Absent, Exists or Unchanged.
type Cond struct {
	Key  string
	Kind CondKind
	Rev  Rev
}

// CondKind tells what a Cond demands. The zero value is invalid.
type CondKind uint8

// The kinds of condition.
const (
	CondAbsent CondKind = iota + 1
	CondExists
	CondUnchanged
)

// Absent demands that key does not exist.
func Absent(key string) Cond { return Cond{Key: key, Kind: CondAbsent} }

// Exists demands that key exists.
func Exists(key string) Cond { return Cond{Key: key, Kind: CondExists} }

// Unchanged demands that key exists and was last changed at rev.
func Unchanged(key string, rev Rev) Cond { return Cond{Key: key, Kind: CondUnchanged, Rev: rev} }

// Op is one write of a Txn. Build it with Put or Delete. A key may appear once in a Txn.
// Deleting an absent key is allowed and does nothing.
type Op struct {
	Key    string
	Val    []byte
	Delete bool
}

// Put writes val under key.
func Put(key string, val []byte) Op { return Op{Key: key, Val: val} }

// Delete removes key.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// Conflict is the error of a Txn whose conditions did not hold. Nothing was written.
type Conflict struct {
	Failed []Cond        // the conditions that did not hold
	Now    map[string]KV // current records of the keys in Failed that exist
}

func (c *Conflict) Error() string {
	if len(c.Failed) == 0 {
		return "store: conflict"
	}
	return fmt.Sprintf("store: conflict on %q", c.Failed[0].Key)
}

// Event is one change. A deletion carries only the key and, as Mod, the revision that deleted it.
type Event struct {
	KV      KV
	Deleted bool
}

// Batch is all matching events of one commit, in key order. A Batch without events is a progress
// mark: the watcher has seen everything up to Rev.
type Batch struct {
	Rev    Rev
	Events []Event
}

// Pin keeps one revision readable until Close or until its time to live has passed.
type Pin interface {
	Rev() Rev
	Close() error
}

// Status is what a driver knows about itself.
type Status struct {
	Driver string
	Rev    Rev
	Bytes  int64 // size on the medium, 0 when not applicable
}

// Store is the contract; see the package comment.
type Store interface {
	// Get returns the newest version of key and the store's revision, or ErrNotFound.
	Get(ctx context.Context, key string) (KV, Rev, error)
	// Range returns keys with q.Prefix in byte order.
	Range(ctx context.Context, q Query) (Page, error)
	// Txn applies all of then if all of ifs hold, else returns *Conflict.
	Txn(ctx context.Context, ifs []Cond, then []Op) (Rev, error)
	// Watch yields every commit after from that touches prefix, in order and without gaps, and
	// progress marks: one as soon as it has caught up, then at least every 500 ms. It ends with ErrCompacted when from is no longer kept,
	// with ctx.Err(), or with ErrUnavailable when the store closes.
	Watch(ctx context.Context, prefix string, from Rev) iter.Seq2[Batch, error]
	// Pin keeps the newest revision readable by Range{At}. Writers are never blocked by a Pin, and a
	// driver must not hold an engine transaction open for it. A Pin need not outlive the process: a job
	// that goes on after a restart must be ready for ErrCompacted.
	Pin(ctx context.Context, ttl time.Duration) (Pin, error)
	Status(ctx context.Context) (Status, error)
	// Close ends the store; later calls answer ErrUnavailable.
	Close() error
}
