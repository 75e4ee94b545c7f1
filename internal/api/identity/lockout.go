package identity

import (
	"sync"
	"time"
)

// When wrong secrets lock a name, in the manner of Entra ID's smart lockout: the tenth in a row locks it for a
// minute, and each one after that again, for twice as long every time, up to an hour. The right secret ends the
// row; so does a day without a wrong one.
const (
	maxFailures = 10
	firstLock   = time.Minute
	longestLock = time.Hour
	forgetAfter = 24 * time.Hour
)

// lockout counts wrong secrets by name. A locked name is refused unseen, right secret or not. Names that do not
// exist are counted like those that do, so that nothing tells them apart.
//
// It knows at most maxPending names. When there are more it forgets the ones whose row has ended, then the one
// with the fewest failures: to make it forget a name, a guesser has to spend as many wrong secrets on each of a
// thousand other names as on that one. It lives in memory: a restart, which no client can bring about, ends
// every lock.
type lockout struct {
	now func() time.Time

	mu    sync.Mutex
	names map[string]*failures // guarded by mu
}

type failures struct {
	count int       // in a row
	last  time.Time // the latest one
	until time.Time // end of the lock, if there was one
}

func newLockout(now func() time.Time) *lockout {
	return &lockout{now: now, names: make(map[string]*failures)}
}

// left is how long a name is still locked; 0 means that its secret may be looked at.
func (l *lockout) left(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leftAt(name, l.now())
}

// leftAt does the work of left. The caller holds mu.
func (l *lockout) leftAt(name string, now time.Time) time.Duration {
	if f, ok := l.names[name]; ok && now.Before(f.until) {
		return f.until.Sub(now)
	}
	return 0
}

// settle counts the outcome of one look at a secret. When others have locked the name meanwhile it says for how
// long, and the outcome must not be told: so guesses sent all at once find out no more than those sent in turn.
func (l *lockout) settle(name string, right bool) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if left := l.leftAt(name, now); left > 0 {
		return left
	}
	if right {
		delete(l.names, name)
		return 0
	}
	f, ok := l.names[name]
	if !ok || now.Sub(f.last) >= forgetAfter {
		if !ok && len(l.names) >= maxPending {
			l.makeRoom(now)
		}
		f = &failures{}
		l.names[name] = f
	}
	f.count, f.last = f.count+1, now
	if over := f.count - maxFailures; over >= 0 {
		f.until = now.Add(min(firstLock<<min(over, 10), longestLock))
	}
	return 0
}

// makeRoom drops the names whose row has ended, or the least failed one. The caller holds mu.
func (l *lockout) makeRoom(now time.Time) {
	least, count := "", 0
	for n, f := range l.names {
		if now.Sub(f.last) >= forgetAfter {
			delete(l.names, n)
		} else if least == "" || f.count < count {
			least, count = n, f.count
		}
	}
	if len(l.names) >= maxPending {
		delete(l.names, least)
	}
}

// forget ends a name's row and its lock.
func (l *lockout) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.names, name)
}
