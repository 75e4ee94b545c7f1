package hsm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

const secondsPerDay = 24 * 60 * 60

// loadDeleted reads the head of a soft-deleted key, or key.ErrDeletedNotFound.
func (v *view) loadDeleted(ctx context.Context, name key.Name) (head, stamp, error) {
	hd, s, err := load[head](ctx, v, deletedName(name))
	if isAbsent(err) {
		return head{}, stamp{}, answerf(key.ErrDeletedNotFound, "Deleted Key not found: %s. List the deleted keys with az keyvault key list-deleted --hsm-name %s", name, v.h.cfg.Name)
	}
	return hd, s, err
}

// move proposes to put hd under another name and drop it where it is.
func (v *view) move(from string, s stamp, to string, hd head) change {
	return change{
		ifs: []store.Cond{v.cond(from, s), v.cond(to, stamp{})},
		ops: []store.Op{v.drop(from), v.put(to, stamp{version: s.version}, hd)},
	}
}

// DeleteKey soft-deletes a key with all its versions: it can be recovered or purged until its retention
// ends. Only the head moves.
func (h *HSM) DeleteKey(ctx context.Context, who Caller, name key.Name) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyDelete, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	var hd head
	err = c.update(ctx, func() (change, error) {
		var s stamp
		var err error
		if hd, s, err = c.v.loadHead(ctx, name); err != nil {
			return change{}, err
		}
		now := h.now()
		hd.Deletion = &key.Deletion{DeletedAt: now, PurgeAt: now + int64(h.cfg.RetentionDays)*secondsPerDay}
		return c.v.move(headName(name), s, deletedName(name), hd), nil
	})
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, hd.Deletion), nil
}

// GetDeletedKey shows a soft-deleted key by its current version.
func (h *HSM) GetDeletedKey(ctx context.Context, who Caller, name key.Name) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyGetDeleted, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	var hd head
	err = c.read(ctx, func() error {
		hd, _, err = c.v.loadDeleted(ctx, name)
		return err
	})
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, hd.Deletion), nil
}

// RecoverKey makes a soft-deleted key live again, as it was.
func (h *HSM) RecoverKey(ctx context.Context, who Caller, name key.Name) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyRecover, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	var hd head
	err = c.update(ctx, func() (change, error) {
		var s stamp
		var err error
		if hd, s, err = c.v.loadDeleted(ctx, name); err != nil {
			return change{}, err
		}
		hd.Deletion = nil
		return c.v.move(deletedName(name), s, headName(name), hd), nil
	})
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, nil), nil
}

// PurgeKey removes a soft-deleted key for good. It is done when its head is gone, in one transaction with
// a note of what remains to be swept; the sweep that follows is taken up again after a crash. Purging is
// deletion, not cryptographic erasure: backups and copies of the medium still hold the key.
func (h *HSM) PurgeKey(ctx context.Context, who Caller, name key.Name) (err error) {
	c, err := h.begin(ctx, who, OpKeyPurge, rbac.KeyScope(name))
	if err != nil {
		return err
	}
	defer c.end(&err)
	return c.purge(ctx, name, func(hd *head) error {
		if h.purgeProtected() && hd.Deletion != nil && h.now() < hd.Deletion.PurgeAt {
			return answerf(key.ErrPurgeProtected, "purge protection is on: key %s stays recoverable until %s and can then be purged", hd.Meta.Name, time.Unix(hd.Deletion.PurgeAt, 0).UTC().Format(time.RFC3339))
		}
		return nil
	})
}

// purge removes a soft-deleted key if check has nothing against it, and sweeps what is left of it.
func (c *call) purge(ctx context.Context, name key.Name, check func(*head) error) error {
	var hd head
	err := c.update(ctx, func() (change, error) {
		var s stamp
		var err error
		if hd, s, err = c.v.loadDeleted(ctx, name); err != nil {
			return change{}, err
		}
		if err := check(&hd); err != nil {
			return change{}, err
		}
		return change{
			ifs: []store.Cond{c.v.cond(deletedName(name), s)},
			ops: []store.Op{c.v.drop(deletedName(name)), store.Put(c.h.sweepKeyKey(hd.Incarnation), []byte(c.v.dev.Generation))},
		}, nil
	})
	if err != nil {
		return err
	}
	if err := c.h.sweepKey(context.WithoutCancel(ctx), hd.Incarnation); err != nil {
		// Purged all the same: nothing refers to the leftovers, and the next start sweeps them.
		c.h.log.WarnContext(ctx, "versions of a purged key are left to be swept", "error", err)
	}
	return nil
}

// sweepBatch leaves room for the one further operation of a sweeping transaction.
const sweepBatch = store.MaxOps - 4

// sweepKey deletes version and material records of a purged incarnation, in bounded transactions, and
// last the note that they are to be swept. It may be repeated, and without a note it does nothing.
//
// The note names the generation the key was purged from, and only there is anything deleted: a backup may
// hold the same incarnation, and a restore may have made it live again in another generation meanwhile.
// Within one generation an incarnation comes back only by a selective restore, which must therefore wait
// for the note to be gone (or make its transactions conditional on that).
func (h *HSM) sweepKey(ctx context.Context, inc key.IncarnationID) error {
	note, _, err := h.store.Get(ctx, h.sweepKeyKey(inc))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return storeError("read what is to be swept", err)
	}
	gen := h.generationPrefix(string(note.Val))
	still := []store.Cond{store.Unchanged(note.Key, note.Mod)}
	for _, prefix := range []string{materialsPrefix(inc), versionsPrefix(inc)} {
		if err := h.sweepPrefixed(ctx, gen+prefix, still); err != nil {
			return fmt.Errorf("sweep key %s: %w", inc, err)
		}
	}
	if _, err := h.store.Txn(ctx, still, []store.Op{store.Delete(note.Key)}); err != nil && !isConflict(err) {
		return storeError("end the sweep of a key", err)
	}
	return nil
}

// sweepPrefixed deletes all records under prefix as long as the conditions hold.
func (h *HSM) sweepPrefixed(ctx context.Context, prefix string, still []store.Cond) error {
	for {
		page, err := h.store.Range(ctx, store.Query{Prefix: prefix, KeysOnly: true, Limit: sweepBatch})
		if err != nil {
			return storeError("list what is to be swept", err)
		}
		if len(page.KVs) == 0 {
			return nil
		}
		ops := make([]store.Op, len(page.KVs))
		for i, kv := range page.KVs {
			ops[i] = store.Delete(kv.Key)
		}
		_, err = h.store.Txn(ctx, still, ops)
		if isConflict(err) {
			return nil // someone else swept it
		}
		if err != nil {
			return storeError("sweep", err)
		}
		for _, kv := range page.KVs {
			if e, ok := h.cache.drop(kv.Key); ok {
				if k, ok := e.val.(material.Key); ok {
					k.Wipe()
				}
			}
		}
	}
}

func isConflict(err error) bool {
	var c *store.Conflict
	return errors.As(err, &c)
}
