package hsm

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// adopt makes r the root of the device, which becomes Active: the end of a first download and of an upload.
// The content (before activation that is the bootstrap roles) is sealed anew under r into a generation of
// its own; then one transaction replaces root, generation and state. A crash before it leaves the device as
// it was, with leftovers that settling removes; a crash after it leaves it Active.
//
// The caller holds the ceremony lock, has kept r under rootID and knows that no job runs. Nothing local
// has to be sealed anew: jobs exist on active devices only and the exchange key ends here (ops deletes it).
func (c *call) adopt(ctx context.Context, rootID string, r *seal.Root, how domainProgress, ops ...store.Op) error {
	old := c.v.dev
	next := old.activated(newID(), rootID, r, how)
	if err := c.resealInto(ctx, next.Generation, r); err != nil {
		c.h.sweepGeneration(ctx, next.Generation)
		return err
	}
	if err := c.commit(ctx, change{ops: ops, dev: &next}); err != nil {
		var conflict *store.Conflict
		if errors.As(err, &conflict) {
			err = ErrConflict
		}
		if !errors.Is(err, store.ErrUnknown) {
			c.h.sweepGeneration(ctx, next.Generation)
		}
		return err
	}
	c.v.dev, c.v.root = next, r
	c.h.root.Store(&loadedRoot{id: rootID, root: r})
	c.h.cache.clear()
	c.h.destroyRoot(ctx, old.Root)
	c.h.sweepGeneration(ctx, old.Generation)
	c.h.log.InfoContext(ctx, "activated", "domain", r.DomainID(), "by", how.Kind)
	return nil
}

// resealInto copies the whole content into generation gen, sealed under r.
func (c *call) resealInto(ctx context.Context, gen string, r *seal.Root) error {
	w := newStager(c.h, store.Unchanged(c.h.deviceKey(), c.v.rev))
	defer w.wait()
	err := c.v.scan(ctx, "", func(logical string, kv store.KV) (bool, error) {
		if _, ok := kindOf(logical); !ok {
			return false, fmt.Errorf("%w: unknown record %s", ErrCorrupt, logical)
		}
		s, plain, err := c.v.unseal(logical, kv)
		if err != nil {
			return false, err
		}
		defer clear(plain)
		return true, w.add(ctx, store.Put(c.h.generationPrefix(gen)+logical, r.Seal(ref(logical, s.version), plain)))
	})
	if err != nil {
		return err
	}
	return w.flush(ctx)
}
