package identity

import (
	"sync"
	"time"
)

// maxPending bounds sign-ins under way and throttled names.
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

// Failures allowed per name and window before its sign-ins are refused unseen.
const (
	maxFailures   = 10
	failureWindow = time.Minute
)

// throttle slows down guessing: after maxFailures within failureWindow a name is refused, right secret or
// not, until the window has passed. It knows at most maxPending names and forgets the stale ones first.
type throttle struct {
	now func() time.Time

	mu    sync.Mutex
	names map[string]*failures // guarded by mu
}

type failures struct {
	count int
	since time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, names: make(map[string]*failures)}
}

// blocked tells whether a name must wait.
func (t *throttle) blocked(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.names[name]
	if !ok {
		return false
	}
	if t.now().Sub(f.since) >= failureWindow {
		delete(t.names, name)
		return false
	}
	return f.count >= maxFailures
}

// failed counts one wrong secret.
func (t *throttle) failed(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	f, ok := t.names[name]
	if ok && now.Sub(f.since) < failureWindow {
		f.count++
		return
	}
	if len(t.names) >= maxPending {
		t.makeRoom(now)
	}
	t.names[name] = &failures{count: 1, since: now}
}

// makeRoom drops stale names, or the least failed one. The caller holds mu.
func (t *throttle) makeRoom(now time.Time) {
	least, count := "", maxFailures+1
	for n, f := range t.names {
		if now.Sub(f.since) >= failureWindow {
			delete(t.names, n)
		} else if f.count < count {
			least, count = n, f.count
		}
	}
	if len(t.names) >= maxPending {
		delete(t.names, least)
	}
}

// succeeded forgets a name's failures.
func (t *throttle) succeeded(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.names, name)
}
