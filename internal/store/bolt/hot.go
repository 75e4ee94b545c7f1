package bolt

import (
	"slices"
	"sync"
	"sync/atomic"

	"redoubt/internal/store"
	"redoubt/internal/tally"
)

// Bounds of the records kept in memory.
const (
	hotRecords = 1 << 15
	hotBytes   = 32 << 20
)

// hot keeps the newest state of records that were read, so that reading them again needs no engine
// transaction, which costs more than all else of a small request.
//
// It cannot be stale: the durable revision moves on and the records of that commit are forgotten in one
// step under its lock, and a record is taken in only while the revision it was read at is still the newest.
// So what get returns was the newest record at the revision it returns. A record under a commit that is not
// synced yet is shown as before it, like in the rest of the driver. Absent keys are not kept.
type hot struct {
	asked tally.Ratio

	mu    sync.RWMutex
	m     map[string]store.KV // guarded by mu
	bytes int                 // guarded by mu: of the values in m
}

func (h *hot) get(key string, durable *atomic.Int64) (store.KV, store.Rev, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	kv, ok := h.m[key]
	h.asked.Note(ok)
	if ok {
		kv.Val = slices.Clone(kv.Val) // a caller that changes it must not change everybody's
	}
	return kv, store.Rev(durable.Load()), ok
}

// put takes in a record that was the newest at rev.
func (h *hot) put(kv store.KV, rev store.Rev, durable *atomic.Int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if store.Rev(durable.Load()) != rev || len(kv.Val) > hotBytes/64 {
		return
	}
	if h.m == nil {
		h.m = make(map[string]store.KV)
	}
	h.forget(kv.Key)
	for victim := range h.m { // any: map order is random enough
		if len(h.m) < hotRecords && h.bytes+len(kv.Val) <= hotBytes {
			break
		}
		h.forget(victim)
	}
	kv.Val = slices.Clone(kv.Val)
	h.m[kv.Key] = kv
	h.bytes += len(kv.Val)
}

// advance makes rev the durable revision, whose commit wrote ops.
func (h *hot) advance(rev store.Rev, ops []store.Op, durable *atomic.Int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range ops {
		h.forget(op.Key)
	}
	durable.Store(int64(rev))
}

// forget drops a record; mu is held.
func (h *hot) forget(key string) {
	if kv, ok := h.m[key]; ok {
		h.bytes -= len(kv.Val)
		delete(h.m, key)
	}
}
