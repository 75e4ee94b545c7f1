package identity

import (
	"sync"
	"time"
)

// maxPending bounds sign-ins under way and names with failures.
const maxPending = 1000

// pending keeps half-finished sign-ins in memory: bounded, each for a limited time.
type pending[T any] struct {
	now  func() time.Time
	life time.Duration

	mu    sync.Mutex
	items map[string]*pendingItem[T] // guarded by mu
}

type pendingItem[T any] struct {
	v     T
	until time.Time
}

func newPending[T any](now func() time.Time, life time.Duration) *pending[T] {
	return &pending[T]{now: now, life: life, items: make(map[string]*pendingItem[T])}
}

// add stores v under id and tells whether there was room.
func (p *pending[T]) add(id string, v T) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if len(p.items) >= maxPending {
		for k, it := range p.items {
			if !now.Before(it.until) {
				delete(p.items, k)
			}
		}
	}
	if len(p.items) >= maxPending {
		return false
	}
	p.items[id] = &pendingItem[T]{v: v, until: now.Add(p.life)}
	return true
}

// with runs f on the item under the lock; f returns true to drop the item. It tells whether there was one.
func (p *pending[T]) with(id string, f func(*T) (drop bool)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	it, ok := p.items[id]
	if !ok {
		return false
	}
	if !p.now().Before(it.until) {
		delete(p.items, id)
		return false
	}
	if f(&it.v) {
		delete(p.items, id)
	}
	return true
}

// take removes and returns the item.
func (p *pending[T]) take(id string) (v T, ok bool) {
	ok = p.with(id, func(t *T) bool { v = *t; return true })
	return v, ok
}
