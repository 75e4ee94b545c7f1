package hsm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/secret"
	"redoubt/internal/store"
	"redoubt/internal/tally"
)

// stamp says which state of a record was read: its revision in the store and its content version.
// The zero stamp stands for a record that does not exist.
type stamp struct {
	rev     store.Rev
	version uint64
}

// cond is the condition that the record is still as it was read.
func (v *view) cond(logical string, s stamp) store.Cond {
	k := v.contentKey(logical)
	if s.rev == 0 {
		return store.Absent(k)
	}
	return store.Unchanged(k, s.rev)
}

func (v *view) contentKey(logical string) string {
	return v.h.generationPrefix(v.dev.Generation) + logical
}

func ref(logical string, version uint64) seal.Ref {
	k, _ := kindOf(logical)
	return seal.Ref{Kind: k, Name: logical, Version: version}
}

// put seals a record's plain JSON as the successor of the state s.
func (v *view) put(logical string, s stamp, record any) store.Op {
	b, err := json.Marshal(record)
	if err != nil {
		panic(fmt.Sprintf("hsm: record %T does not encode: %v", record, err)) // our own plain structs
	}
	if hd, ok := record.(head); ok {
		v.expect(hd.due())
	}
	return store.Put(v.contentKey(logical), v.root.Seal(ref(logical, s.version+1), b))
}

// drop deletes a record.
func (v *view) drop(logical string) store.Op { return store.Delete(v.contentKey(logical)) }

// load reads and opens a record. Opened records are cached by their revision in the store, so a cached
// one is exactly what the store holds now. The value is shared: callers must not change what it points to.
// An absent record is store.ErrNotFound with the zero stamp.
func load[T any](ctx context.Context, v *view, logical string) (T, stamp, error) {
	var zero T
	kv, _, err := v.h.store.Get(ctx, v.contentKey(logical))
	if err != nil {
		return zero, stamp{}, storeError("read "+logical, err)
	}
	return open[T](v, logical, kv)
}

// open is load for a record already read.
func open[T any](v *view, logical string, kv store.KV) (T, stamp, error) {
	var out T
	if e, ok := v.h.cache.get(kv.Key, kv.Mod); ok {
		if val, ok := e.val.(T); ok {
			v.h.cache.records.Note(true)
			return val, e.stamp, nil
		}
	}
	v.h.cache.records.Note(false)
	out, s, err := openOnce[T](v, logical, kv)
	if err != nil {
		return out, stamp{}, err
	}
	v.h.cache.put(kv.Key, entry{stamp: s, val: out})
	return out, s, nil
}

// openOnce is open past the cache: for records that are read all at once, of which there may be more than the cache
// has room for.
func openOnce[T any](v *view, logical string, kv store.KV) (T, stamp, error) {
	var out T
	s, plain, err := v.unseal(logical, kv)
	if err != nil {
		return out, stamp{}, err
	}
	if err := json.Unmarshal(plain, &out); err != nil {
		return out, stamp{}, fmt.Errorf("%w: %s: %v", ErrCorrupt, logical, err)
	}
	return out, s, nil
}

func (v *view) unseal(logical string, kv store.KV) (stamp, []byte, error) {
	hd, err := seal.Header(kv.Val)
	if err != nil {
		return stamp{}, nil, fmt.Errorf("%w: %s: %v", ErrCorrupt, logical, err)
	}
	plain, err := v.root.Open(ref(logical, hd.Version), kv.Val)
	if err != nil {
		return stamp{}, nil, fmt.Errorf("%w: %s: %v", ErrCorrupt, logical, err)
	}
	return stamp{rev: kv.Mod, version: hd.Version}, plain, nil
}

// putSecret seals the material of a version. It is written once and never changed.
func (v *view) putSecret(logical string, s secret.Bytes) store.Op {
	return store.Put(v.contentKey(logical), v.root.SealSecret(ref(logical, 1), s))
}

// loadMaterial reads, opens and parses the material of one version. Parsed keys are cached, and a cached
// one is used without asking the store: material never changes, and that its version still exists is what
// the head or the version record has just said.
func (v *view) loadMaterial(ctx context.Context, inc key.IncarnationID, m key.Meta) (material.Key, error) {
	logical := materialName(inc, m.Version)
	e, ok := v.h.cache.find(v.contentKey(logical))
	if v.h.cache.materials.Note(ok); ok {
		return e.val.(material.Key), nil
	}
	kv, _, err := v.h.store.Get(ctx, v.contentKey(logical))
	if err != nil {
		return material.Key{}, storeError("read "+logical, err)
	}
	hd, err := seal.Header(kv.Val)
	if err != nil {
		return material.Key{}, fmt.Errorf("%w: %s: %v", ErrCorrupt, logical, err)
	}
	s, err := v.root.OpenSecret(ref(logical, hd.Version), kv.Val)
	if err != nil {
		return material.Key{}, fmt.Errorf("%w: %s: %v", ErrCorrupt, logical, err)
	}
	defer s.Wipe()
	k, err := material.Parse(m.Spec, s)
	if err != nil {
		return material.Key{}, fmt.Errorf("%w: %s: %v", ErrCorrupt, logical, err)
	}
	v.h.cache.put(kv.Key, entry{stamp: stamp{rev: kv.Mod, version: hd.Version}, val: k})
	return k, nil
}

// keepMaterial puts material into the cache that was generated and committed just now.
func (v *view) keepMaterial(logical string, k material.Key) {
	v.h.cache.put(v.contentKey(logical), entry{val: k})
}

// scan calls each for every record under a logical prefix, in name order.
// each returns false to stop.
func (v *view) scan(ctx context.Context, prefix string, each func(logical string, kv store.KV) (bool, error)) error {
	return v.scanAfter(ctx, prefix, "", each)
}

// scanAfter is scan for the records whose names follow prefix+after.
func (v *view) scanAfter(ctx context.Context, prefix, after string, each func(logical string, kv store.KV) (bool, error)) error {
	gen := v.h.generationPrefix(v.dev.Generation)
	q := store.Query{Prefix: gen + prefix, Limit: 200}
	if after != "" {
		q.After = q.Prefix + after
	}
	for {
		page, err := v.h.store.Range(ctx, q)
		if err != nil {
			return storeError("list "+prefix, err)
		}
		for _, kv := range page.KVs {
			more, err := each(kv.Key[len(gen):], kv)
			if err != nil || !more {
				return err
			}
		}
		if !page.More || len(page.KVs) == 0 {
			return nil
		}
		q.After = page.KVs[len(page.KVs)-1].Key
	}
}

// scanAll opens every record under a prefix.
func scanAll[T any](ctx context.Context, v *view, prefix string) ([]T, error) {
	var out []T
	err := v.scan(ctx, prefix, func(logical string, kv store.KV) (bool, error) {
		r, _, err := openOnce[T](v, logical, kv)
		out = append(out, r)
		return true, err
	})
	return out, err
}

func (v *view) putAssignment(a rbac.Assignment) store.Op {
	return v.put(assignmentName(a.ID), stamp{}, a)
}

// isAbsent tells whether err means that a record does not exist.
func isAbsent(err error) bool { return errors.Is(err, store.ErrNotFound) }

// cacheEntries bounds the cache: about twice the keys of a full HSM.
const cacheEntries = 16384

type entry struct {
	stamp stamp
	val   any
}

// cache keeps opened records. It is never wrong: an entry counts only for the revision it was read at.
type cache struct {
	records, materials tally.Ratio

	mu sync.RWMutex
	m  map[string]entry // guarded by mu
}

func (c *cache) get(k string, mod store.Rev) (entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[k]
	return e, ok && e.stamp.rev == mod
}

// find is get for records that never change.
func (c *cache) find(k string) (entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[k]
	return e, ok
}

// drop forgets one record and returns what was known of it.
func (c *cache) drop(k string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[k]
	delete(c.m, k)
	return e, ok
}

func (c *cache) put(k string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[string]entry)
	}
	if len(c.m) >= cacheEntries {
		for victim := range c.m { // any: map order is random enough
			delete(c.m, victim)
			break
		}
	}
	c.m[k] = e
}

// clear forgets everything: after the content was replaced as a whole.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
}
