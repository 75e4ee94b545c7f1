package hsm

import (
	"context"
	"sync"

	"redoubt/internal/key"
	"redoubt/internal/store"
)

// nameCount knows how many key names there are, live and soft-deleted, so that creating a key need not
// count up to maxKeys records each time. It is a guard, not a ledger:
//
//   - It is counted once for a generation, from key names only, and from then on adjusted by what commits.
//   - It may be too high, never too low: purging does not lower it, and a commit of unknown outcome counts.
//     So it is counted anew whenever it says that the HSM is full, which also makes it exact again.
//   - A name being created holds a reservation, so that any number of creators together stay within the
//     limit.
//
// Soft-deleted names count because recovering one must never fail for want of room.
type nameCount struct {
	mu         sync.Mutex // guards everything below; held while counting
	generation string
	names      int // committed
	held       int // reserved by creators under way
}

// reserveName takes room for one more key name, or fails with ErrLimit. The caller calls release once,
// telling whether the name was (or may have been) committed.
func (v *view) reserveName(ctx context.Context) (release func(used bool), err error) {
	n := &v.h.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.generation != v.dev.Generation {
		if n.names, err = v.countNames(ctx); err != nil {
			return nil, err
		}
		n.generation, n.held = v.dev.Generation, 0
	}
	if n.names+n.held >= v.h.cfg.maxKeys() {
		if n.names, err = v.countNames(ctx); err != nil {
			return nil, err
		}
	}
	if n.names+n.held >= v.h.cfg.maxKeys() {
		return nil, answerf(ErrLimit, "the HSM has %d keys, deleted ones included, as many as it can have; purge deleted keys that are no longer needed (az keyvault key list-deleted --hsm-name %s)", v.h.cfg.maxKeys(), v.h.cfg.Name)
	}
	n.held++
	generation := v.dev.Generation // v may be admitted anew on another
	return func(used bool) { n.release(generation, used) }, nil
}

func (n *nameCount) release(generation string, used bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.generation != generation {
		return // the content was replaced and counted since
	}
	n.held--
	if used {
		n.names++
	}
}

// countNames counts the heads of the generation.
func (v *view) countNames(ctx context.Context) (int, error) {
	total := 0
	for _, prefix := range []string{"h/", "d/"} {
		q := store.Query{Prefix: v.contentKey(prefix), KeysOnly: true, Limit: 1000}
		for {
			page, err := v.h.store.Range(ctx, q)
			if err != nil {
				return 0, storeError("count keys", err)
			}
			total += len(page.KVs)
			if !page.More || len(page.KVs) == 0 {
				break
			}
			q.After = page.KVs[len(page.KVs)-1].Key
		}
	}
	return total, nil
}

// maxKeys is the configured limit, or the service's.
func (c *Config) maxKeys() int {
	if c.MaxKeys > 0 {
		return c.MaxKeys
	}
	return key.MaxKeys
}

// maxVersions is the configured limit, or the service's.
func (c *Config) maxVersions() int {
	if c.MaxVersions > 0 {
		return c.MaxVersions
	}
	return key.MaxVersions
}
