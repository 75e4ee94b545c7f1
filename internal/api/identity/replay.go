package identity

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// Limits of the memory for assertions.
const (
	maxUses       = 16384 // of all applications
	maxUsesPerApp = 4096
	useGrace      = 30 * time.Second
)

// replays remembers which assertions have bought a token, until they expire. An assertion buys a token for each
// resource once. Not once for all: MSAL signs one for ten minutes and shows it for every resource that its
// program asks for, and to several threads that ask for the same one at the same time; therefore also the grace
// after the first use. Only assertions with a good signature get here, and one application cannot use up the
// memory of the others. There is no eviction, which would let an old assertion in again: who has too many alive
// is refused until some have expired.
type replays struct {
	now func() time.Time

	mu    sync.Mutex
	apps  map[string]map[[sha256.Size]byte]use // guarded by mu
	total int                                  // guarded by mu: uses of all apps
}

type use struct{ graceEnds, expires time.Time }

// verdict is what replays says to an assertion.
type verdict int

const (
	useFresh verdict = iota + 1
	useAgain
	useTooMany
)

func newReplays(now func() time.Time) *replays {
	return &replays{now: now, apps: make(map[string]map[[sha256.Size]byte]use)}
}

// take notes that an application's assertion buys a token for a resource. expires is when the assertion is not
// accepted any more.
func (r *replays) take(app, id, resource string, expires time.Time) verdict {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimRight(resource, "/")) + "\x00" + id))
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if u, used := r.apps[app][sum]; used && now.Before(u.expires) {
		if now.Before(u.graceEnds) {
			return useFresh
		}
		return useAgain
	}
	if len(r.apps[app]) >= maxUsesPerApp || r.total >= maxUses {
		r.prune(now)
	}
	if len(r.apps[app]) >= maxUsesPerApp || r.total >= maxUses {
		return useTooMany
	}
	if r.apps[app] == nil {
		r.apps[app] = make(map[[sha256.Size]byte]use)
	}
	if _, stale := r.apps[app][sum]; !stale {
		r.total++
	}
	r.apps[app][sum] = use{now.Add(useGrace), expires}
	return useFresh
}

// prune drops what has expired. The caller holds mu.
func (r *replays) prune(now time.Time) {
	r.total = 0
	for app, uses := range r.apps {
		for sum, u := range uses {
			if !now.Before(u.expires) {
				delete(uses, sum)
			}
		}
		if len(uses) == 0 {
			delete(r.apps, app)
		}
		r.total += len(uses)
	}
}
