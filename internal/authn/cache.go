package authn

import (
	"crypto/sha256"
	"sync"
	"time"

	"redoubt/internal/tally"
)

// remember is the longest time for which a verified token is taken on trust.
const remember = 60 * time.Second

const (
	shards       = 16
	defaultCache = 4096
)

// cache remembers verified tokens by their SHA-256. Only successes are kept: remembering failures would let
// a stranger fill the memory with nonsense.
type cache struct {
	perShard int
	asked    tally.Ratio
	shard    [shards]cacheShard
}

type cacheShard struct {
	mu      sync.Mutex
	entries map[[sha256.Size]byte]cacheEntry // guarded by mu
}

type cacheEntry struct {
	id          Identity
	from, until time.Time
}

func tokenSum(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func newCache(size int) *cache {
	if size <= 0 {
		size = defaultCache
	}
	c := &cache{perShard: max(1, size/shards)}
	for i := range c.shard {
		c.shard[i].entries = make(map[[sha256.Size]byte]cacheEntry)
	}
	return c
}

func (c *cache) get(sum [sha256.Size]byte, now time.Time) (Identity, bool) {
	s := &c.shard[sum[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[sum]
	if ok && (!now.Before(e.until) || now.Before(e.from)) { // before from: the clock was moved back
		delete(s.entries, sum)
		ok = false
	}
	if c.asked.Note(ok); !ok {
		return Identity{}, false
	}
	return e.id, true
}

func (c *cache) has(sum [sha256.Size]byte, now time.Time) bool {
	s := &c.shard[sum[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[sum]
	return ok && now.Before(e.until)
}

// put remembers id until a minute has passed or the token expires, whichever is first. A token that lives
// on the allowance for skew only is not remembered.
func (c *cache) put(sum [sha256.Size]byte, id Identity, now time.Time) {
	until := now.Add(remember)
	if id.Expires.Before(until) {
		until = id.Expires
	}
	if !now.Before(until) {
		return
	}
	s := &c.shard[sum[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= c.perShard {
		s.makeRoom(now)
	}
	s.entries[sum] = cacheEntry{id: id, from: now, until: until}
}

// makeRoom drops what has expired, or one arbitrary entry if nothing has. The caller holds mu.
func (s *cacheShard) makeRoom(now time.Time) {
	before := len(s.entries)
	for sum, e := range s.entries {
		if !now.Before(e.until) {
			delete(s.entries, sum)
		}
	}
	if len(s.entries) < before {
		return
	}
	for sum := range s.entries {
		delete(s.entries, sum)
		return
	}
}
