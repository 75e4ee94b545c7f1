package hsm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/key"
	"redoubt/internal/store"
)

// keptJobs is how many job documents are kept.
const keptJobs = 100

// tidy removes what interrupted work left behind: roots and generations that d does not refer to, old job
// documents, versions of purged keys. It must not run beside anything that stages records or keeps roots,
// so it belongs to settling and to whoever holds the device's job (on an active device).
//
// Only the last of these fails it: leftovers of a purge would get into a backup, or into the way of a key
// restored. The rest harms nobody and must not keep anyone from a backup; it is tried again the next time.
func (h *HSM) tidy(ctx context.Context, d device) error {
	err := errors.Join(h.destroyOtherRoots(ctx, d), h.sweepOtherGenerations(ctx, d.Generation), h.dropOldJobs(ctx, d))
	if err != nil {
		h.log.ErrorContext(ctx, "leftovers could not be removed; it is tried again at the next backup, restore or start", "error", err)
	}
	return h.sweepPurged(ctx)
}

func (h *HSM) destroyOtherRoots(ctx context.Context, d device) error {
	ids, err := h.cfg.Roots.List(ctx, h.cfg.ID)
	if err != nil {
		return fmt.Errorf("list the roots kept: %w", err)
	}
	for _, id := range ids {
		if id == d.Root || d.Pending != nil && id == d.Pending.Root {
			continue
		}
		if err := h.cfg.Roots.Destroy(ctx, h.cfg.ID, id); err != nil {
			return fmt.Errorf("destroy a root no longer in use: %w", err)
		}
	}
	return nil
}

// sweepOtherGenerations deletes every generation but the current one. They are found one by one: a look at
// the first key behind the last generation seen.
func (h *HSM) sweepOtherGenerations(ctx context.Context, current string) error {
	all := h.at("g/")
	q := store.Query{Prefix: all, KeysOnly: true, Limit: 1}
	for {
		page, err := h.store.Range(ctx, q)
		if err != nil {
			return storeError("list generations", err)
		}
		if len(page.KVs) == 0 {
			return nil
		}
		gen, _, _ := strings.Cut(strings.TrimPrefix(page.KVs[0].Key, all), "/")
		if gen != current {
			if err := h.deleteAll(ctx, h.generationPrefix(gen)); err != nil {
				return fmt.Errorf("sweep generation %s: %w", gen, err)
			}
		}
		q.After = h.generationPrefix(gen) + "\xff"
	}
}

// sweepGeneration deletes a generation that was replaced or never came into use. What it does not get
// done is left to the next backup or start.
func (h *HSM) sweepGeneration(ctx context.Context, gen string) {
	d, _, err := h.readDevice(ctx)
	if err == nil && d.Generation == gen {
		return // in use after all: the commit that was thought to have failed was stored
	}
	if err == nil {
		err = h.deleteAll(ctx, h.generationPrefix(gen))
	}
	if err != nil {
		h.log.WarnContext(ctx, "content no longer in use is left to be swept", "generation", gen, "error", err)
	}
}

// deleteAll deletes everything under prefix in bounded transactions.
func (h *HSM) deleteAll(ctx context.Context, prefix string) error {
	w := newStager(h)
	defer w.wait()
	q := store.Query{Prefix: prefix, KeysOnly: true}
	for {
		page, err := h.store.Range(ctx, q)
		if err != nil {
			return storeError("list leftovers", err)
		}
		for _, kv := range page.KVs {
			if err := w.add(ctx, store.Delete(kv.Key)); err != nil {
				return fmt.Errorf("delete leftovers: %w", err)
			}
			q.After = kv.Key
		}
		if !page.More || len(page.KVs) == 0 {
			return w.flush(ctx)
		}
	}
}

// sweepPurged finishes the sweeps of purged keys, and of selective restores that ended early.
func (h *HSM) sweepPurged(ctx context.Context) error {
	prefix := h.sweepKeyKey("")
	q := store.Query{Prefix: prefix, KeysOnly: true}
	for {
		page, err := h.store.Range(ctx, q)
		if err != nil {
			return storeError("list what is to be swept", err)
		}
		for _, kv := range page.KVs {
			if err := h.sweepKey(ctx, key.IncarnationID(strings.TrimPrefix(kv.Key, prefix))); err != nil {
				return err
			}
		}
		if !page.More || len(page.KVs) == 0 {
			return nil
		}
		q.After = page.KVs[len(page.KVs)-1].Key
	}
}

// dropOldJobs keeps the newest documents.
func (h *HSM) dropOldJobs(ctx context.Context, d device) error {
	var kvs []store.KV
	q := store.Query{Prefix: h.jobKey(""), KeysOnly: true}
	for {
		page, err := h.store.Range(ctx, q)
		if err != nil {
			return storeError("list jobs", err)
		}
		kvs = append(kvs, page.KVs...)
		if !page.More || len(page.KVs) == 0 {
			break
		}
		q.After = page.KVs[len(page.KVs)-1].Key
	}
	if len(kvs) <= keptJobs {
		return nil
	}
	slices.SortFunc(kvs, func(a, b store.KV) int { return cmp.Compare(b.Create, a.Create) })
	for batch := range slices.Chunk(kvs[keptJobs:], store.MaxOps) {
		var ops []store.Op
		for _, kv := range batch {
			if kv.Key != h.jobKey(d.Job) {
				ops = append(ops, store.Delete(kv.Key))
			}
		}
		if _, err := h.store.Txn(ctx, nil, ops); err != nil {
			return storeError("delete old jobs", err)
		}
	}
	return nil
}
