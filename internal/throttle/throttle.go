// Package throttle limits how often a principal may ask an HSM, and how often an address may ask without
// being believed. Memory is bounded whatever comes: what has been idle for long enough to have its whole burst
// again is forgotten first, which nobody can tell, and otherwise somebody else, who gets a fresh burst.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const shards = 16

// Table is a limiter for each key, with at most so many keys. Methods may be called from any goroutine.
type Table[K comparable] struct {
	rate     rate.Limit
	burst    int
	perShard int
	seed     maphash.Seed
	shard    [shards]shard[K]
}

type shard[K comparable] struct {
	mu sync.Mutex
	m  map[K]*rate.Limiter // guarded by mu
}

// NewTable allows each key perSecond requests, and burst at once after a pause.
func NewTable[K comparable](perSecond float64, burst, most int) *Table[K] {
	t := &Table[K]{rate: rate.Limit(perSecond), burst: burst, perShard: max(1, most/shards), seed: maphash.MakeSeed()}
	for i := range t.shard {
		t.shard[i].m = make(map[K]*rate.Limiter)
	}
	return t
}

// Take takes one request of k. It returns 0, or how long k has to wait before there is another.
func (t *Table[K]) Take(k K, now time.Time) time.Duration {
	s := t.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.m[k]
	if l == nil {
		if len(s.m) >= t.perShard {
			s.makeRoom(float64(t.burst), now)
		}
		l = rate.NewLimiter(t.rate, t.burst)
		s.m[k] = l
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return t.wait(l, now)
}

// Wait is Take that takes nothing.
func (t *Table[K]) Wait(k K, now time.Time) time.Duration {
	s := t.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.m[k]
	if l == nil || l.TokensAt(now) >= 1 {
		return 0
	}
	return t.wait(l, now)
}

// wait is how long it takes until there is a whole token.
func (t *Table[K]) wait(l *rate.Limiter, now time.Time) time.Duration {
	return max(time.Nanosecond, time.Duration((1-l.TokensAt(now))/float64(t.rate)*float64(time.Second)))
}

func (t *Table[K]) of(k K) *shard[K] { return &t.shard[maphash.Comparable(t.seed, k)%shards] }

// makeRoom forgets those who have their whole burst, or anybody if there is none. mu is held.
func (s *shard[K]) makeRoom(burst float64, now time.Time) {
	before := len(s.m)
	for k, l := range s.m {
		if l.TokensAt(now) >= burst {
			delete(s.m, k)
		}
	}
	for k := range s.m {
		if len(s.m) < before {
			return
		}
		delete(s.m, k)
	}
}

// Len is how many keys are remembered.
func (t *Table[K]) Len() (n int) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		n += len(s.m)
		s.mu.Unlock()
	}
	return n
}

// most is how many principals and addresses are remembered: about 2 MB of each.
const most = 1 << 13

type caller struct{ hsm, principal string }

// Limits are those of a server. Make them with New.
type Limits struct {
	principals *Table[caller]       // nil: no limit
	strangers  *Table[netip.Prefix] // nil: no limit
	now        func() time.Time

	refusedPrincipals, refusedStrangers atomic.Uint64
}

// Config says how often; 0 per second is no limit.
type Config struct {
	PerSecond          float64 // of one principal to one HSM
	Burst              int
	StrangersPerSecond float64 // of one address that shows no good token
	StrangersBurst     int
	Clock              func() time.Time
}

// New makes the limits.
func New(c Config) *Limits {
	l := &Limits{now: c.Clock}
	if c.PerSecond > 0 {
		l.principals = NewTable[caller](c.PerSecond, c.Burst, most)
	}
	if c.StrangersPerSecond > 0 {
		l.strangers = NewTable[netip.Prefix](c.StrangersPerSecond, c.StrangersBurst, most)
	}
	return l
}

// Principal takes a request that a principal (object id) makes to an HSM, "" for the control plane. It returns 0, or how
// long they have to wait.
func (l *Limits) Principal(hsm, id string) time.Duration {
	if l.principals == nil {
		return 0
	}
	return refused(l.principals.Take(caller{hsm, id}, l.now()), &l.refusedPrincipals)
}

// Stranger takes a request without a good token from an address such as http.Request has it.
func (l *Limits) Stranger(remote string) time.Duration {
	if l.strangers == nil {
		return 0
	}
	return refused(l.strangers.Take(network(remote), l.now()), &l.refusedStrangers)
}

// Suspect tells, taking nothing, whether an address has shown so many bad tokens that another is not looked at.
func (l *Limits) Suspect(remote string) time.Duration {
	if l.strangers == nil {
		return 0
	}
	return l.strangers.Wait(network(remote), l.now())
}

// Refuse counts a request that was refused for being Suspect.
func (l *Limits) Refuse() { l.refusedStrangers.Add(1) }

func refused(wait time.Duration, n *atomic.Uint64) time.Duration {
	if wait > 0 {
		n.Add(1)
	}
	return wait
}

// Refused is how many requests were refused, by kind of limit.
func (l *Limits) Refused() map[string]uint64 {
	return map[string]uint64{"principal": l.refusedPrincipals.Load(), "address": l.refusedStrangers.Load()}
}

// network is what counts as one client: an IPv4 address, or the 64 bits of IPv6 that a site has to itself.
func network(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero prefix, for what is no address
	return p
}
