package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"redoubt/internal/hsm"
	"redoubt/internal/store"
)

// Create makes a new HSM from r (ID, Created are filled in). Once begun it is finished or undone, whether or
// not ctx ends meanwhile.
func (f *Fleet) Create(ctx context.Context, r Resource) (Resource, error) {
	if err := r.check(); err != nil {
		return Resource{}, err
	}
	ctx = context.WithoutCancel(ctx)
	m := &member{}
	m.mu.Lock()
	defer m.mu.Unlock()
	lower := strings.ToLower(r.Name)
	if err := f.reserve(lower, m); err != nil {
		return Resource{}, err
	}
	r.ID, r.Created = newUUID(), f.cfg.Clock().Unix()
	mod, d, err := f.create(ctx, r)
	if err == nil {
		f.set(m, &r, mod, d)
		return r, nil
	}
	if errors.Is(err, ErrNameTaken) {
		if known, aerr := f.adoptNamed(ctx, lower, m); aerr == nil {
			return Resource{}, taken(known)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byName, lower)
	return Resource{}, err
}

// reserve claims the name in memory, so that two creations at once cannot both go on.
func (f *Fleet) reserve(lower string, m *member) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return fmt.Errorf("%w: the server is stopping", hsm.ErrUnavailable)
	}
	if old := f.byName[lower]; old != nil {
		return taken(*old.res)
	}
	m.res = &Resource{Name: lower}
	f.byName[lower] = m
	return nil
}

// taken says why a name cannot be had.
func taken(r Resource) error {
	if r.ID == "" {
		return fmt.Errorf("%w: wait until it is done, and look at what it has become", ErrCreating)
	}
	if r.Deletion != nil {
		return fmt.Errorf("%w: recover it with az keyvault recover --hsm-name %s, or purge it with az keyvault purge --hsm-name %s", ErrSoftDeleted, r.Name, r.Name)
	}
	return fmt.Errorf("%w: %q; choose another", ErrNameTaken, r.Name)
}

// create notes the id, provisions the device, opens it, and commits the resource in the note's place. What
// cannot be undone at once is undone by the next Open.
func (f *Fleet) create(ctx context.Context, r Resource) (store.Rev, *hsm.HSM, error) {
	note, name, res := newPrefix+r.ID, namePrefix+strings.ToLower(r.Name), resourcePrefix+r.ID
	fail := func(err error) (store.Rev, *hsm.HSM, error) {
		if uerr := f.undoCreate(ctx, r.ID); uerr != nil {
			f.cfg.Log.ErrorContext(ctx, "what is left of a failed creation is removed at the next start", "hsm", r.Name, "error", uerr)
		}
		return 0, nil, err
	}
	noted, err := f.cfg.Store.Txn(ctx, []store.Cond{store.Absent(name)}, []store.Op{store.Put(note, []byte(r.Name))})
	if errors.Is(err, store.ErrUnknown) {
		return fail(storeError(err, ErrNameTaken))
	}
	if err != nil {
		return 0, nil, storeError(err, ErrNameTaken)
	}
	if err := hsm.Create(ctx, f.deviceConfig(&r), r.Admins); err != nil {
		return fail(err)
	}
	d, err := f.openDevice(ctx, &r)
	if err != nil {
		return fail(err)
	}
	val := r.encode()
	mod, err := f.cfg.Store.Txn(ctx, []store.Cond{store.Unchanged(note, noted), store.Absent(name), store.Absent(res)},
		[]store.Op{store.Delete(note), store.Put(name, []byte(r.ID)), store.Put(res, val)})
	if errors.Is(err, store.ErrUnknown) {
		if kv, _, gerr := f.cfg.Store.Get(ctx, res); gerr == nil && bytes.Equal(kv.Val, val) {
			mod, err = kv.Mod, nil
		}
	}
	if err != nil {
		return fail(errors.Join(storeError(err, ErrNameTaken), d.Close()))
	}
	return mod, d, nil
}

// undoCreate removes what a creation that was never committed has made. Changing the note first decides
// against a commit that might still be on its way; a note that is gone means that the commit was there.
func (f *Fleet) undoCreate(ctx context.Context, id string) error {
	note := newPrefix + id
	_, err := f.cfg.Store.Txn(ctx, []store.Cond{store.Exists(note)}, []store.Op{store.Put(note, []byte("undone"))})
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return nil
	}
	if err == nil {
		err = hsm.Destroy(ctx, f.deviceConfig(&Resource{ID: id}))
	}
	if err == nil {
		_, err = f.cfg.Store.Txn(ctx, nil, []store.Op{store.Delete(note)})
	}
	if err != nil {
		return fmt.Errorf("undo the creation of managed HSM %s: %w", id, err)
	}
	return nil
}

// adoptNamed takes up an HSM that is in the store but not in memory: its creation was committed although
// the outcome seemed lost. m holds the name; the caller holds m.mu.
func (f *Fleet) adoptNamed(ctx context.Context, lower string, m *member) (Resource, error) {
	id, _, err := f.cfg.Store.Get(ctx, namePrefix+lower)
	if err != nil {
		return Resource{}, err
	}
	kv, _, err := f.cfg.Store.Get(ctx, resourcePrefix+string(id.Val))
	if err != nil {
		return Resource{}, err
	}
	var r Resource
	if err := json.Unmarshal(kv.Val, &r); err != nil {
		return Resource{}, err
	}
	f.set(m, &r, kv.Mod, nil)
	f.open(ctx, m)
	return r, nil
}

// storeError is a failed transaction as callers see it: conflict when its conditions did not hold.
func storeError(err, conflict error) error {
	var c *store.Conflict
	if errors.As(err, &c) {
		return conflict
	}
	return fmt.Errorf("%w: %w", hsm.ErrUnavailable, err)
}

// set puts a member's new state in place. A device that comes when the fleet is closing is closed.
func (f *Fleet) set(m *member, r *Resource, mod store.Rev, d *hsm.HSM) {
	f.mu.Lock()
	m.res, m.mod, m.fault = f.compile(*r), mod, nil
	m.device = d
	late := f.closing && d != nil
	if late {
		m.device = nil
	}
	f.mu.Unlock()
	if late {
		if err := d.Close(); err != nil {
			f.cfg.Log.Error("close a managed HSM", "hsm", r.Name, "error", err)
		}
	}
}

func (r Resource) encode() []byte {
	b, _ := json.Marshal(r) // plain fields: cannot fail
	return b
}

// Update replaces the mutable properties of a live HSM: change edits a copy; immutable ones must stay.
func (f *Fleet) Update(ctx context.Context, name string, change func(*Resource) error) (Resource, error) {
	m, err := f.acquire(name)
	if err != nil {
		return Resource{}, err
	}
	defer m.mu.Unlock()
	old, mod, d := f.state(m)
	if old.ID == "" || old.Deletion != nil {
		return Resource{}, ErrNotFound
	}
	r := old
	r.Identities = slices.Clone(old.Identities)
	if err := change(&r); err != nil {
		return Resource{}, err
	}
	if err := old.mayBecome(r); err != nil {
		return Resource{}, err
	}
	if err := f.save(ctx, m, r, mod, d); err != nil {
		return Resource{}, err
	}
	return r, nil
}

// save commits r in the place of the revision mod. When that fails, memory is brought up to what the store
// has, so that the next attempt starts from there; a commit that seemed lost and was not is a success.
func (f *Fleet) save(ctx context.Context, m *member, r Resource, mod store.Rev, d *hsm.HSM) error {
	key, val := resourcePrefix+r.ID, r.encode()
	rev, err := f.cfg.Store.Txn(ctx, []store.Cond{store.Unchanged(key, mod)}, []store.Op{store.Put(key, val)})
	if err == nil {
		f.set(m, &r, rev, d)
		return nil
	}
	kv, _, gerr := f.cfg.Store.Get(ctx, key)
	if gerr != nil || kv.Mod == mod {
		return storeError(err, hsm.ErrConflict)
	}
	if bytes.Equal(kv.Val, val) {
		f.set(m, &r, kv.Mod, d)
		return nil
	}
	var now Resource
	if json.Unmarshal(kv.Val, &now) == nil {
		_, _, device := f.state(m)
		f.set(m, &now, kv.Mod, device)
	}
	return storeError(err, hsm.ErrConflict)
}

func (f *Fleet) member(name string) (*member, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if m := f.byName[strings.ToLower(name)]; m != nil {
		return m, nil
	}
	return nil, ErrNotFound
}

// acquire finds an HSM by name and locks it: the caller unlocks. One that was purged while its lock was waited for is
// not found, whatever has its name by then.
func (f *Fleet) acquire(name string) (*member, error) {
	m, err := f.member(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	if now, err := f.member(name); err != nil || now != m {
		m.mu.Unlock()
		return nil, ErrNotFound
	}
	return m, nil
}

func (f *Fleet) state(m *member) (Resource, store.Rev, *hsm.HSM) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return *m.res, m.mod, m.device
}

// Delete soft-deletes a live HSM: its device closes, its name stays taken, Recover brings it back.
func (f *Fleet) Delete(ctx context.Context, name string) (Resource, error) {
	m, err := f.acquire(name)
	if err != nil {
		return Resource{}, err
	}
	defer m.mu.Unlock()
	r, mod, d := f.state(m)
	if r.ID == "" || r.Deletion != nil {
		return Resource{}, ErrNotFound
	}
	now := f.cfg.Clock()
	r.Deletion = &Deletion{At: now.Unix(), PurgeAt: now.AddDate(0, 0, r.RetentionDays).Unix()}
	if err := f.save(context.WithoutCancel(ctx), m, r, mod, nil); err != nil {
		return Resource{}, err
	}
	if d != nil {
		if err := d.Close(); err != nil { // the HSM is deleted all the same
			f.cfg.Log.ErrorContext(ctx, "close a deleted managed HSM", "hsm", r.Name, "error", err)
		}
	}
	return r, nil
}

// Recover undoes Delete.
func (f *Fleet) Recover(ctx context.Context, name string) (Resource, error) {
	m, err := f.acquire(name)
	if err != nil {
		return Resource{}, err
	}
	defer m.mu.Unlock()
	r, mod, _ := f.state(m)
	if r.Deletion == nil {
		return Resource{}, ErrNotFound
	}
	if r.Purging {
		return Resource{}, ErrDeleting
	}
	r.Deletion = nil
	ctx = context.WithoutCancel(ctx)
	d, err := f.openDevice(ctx, &r)
	if err != nil {
		return Resource{}, fmt.Errorf("%w: %w", hsm.ErrUnavailable, err)
	}
	if err := f.save(ctx, m, r, mod, d); err != nil {
		return Resource{}, errors.Join(err, d.Close())
	}
	return r, nil
}

// Purge destroys a soft-deleted HSM for good: first its sealed roots, without which its records are
// noise, then the records, then its name. The audit file stays.
func (f *Fleet) Purge(ctx context.Context, name string) error {
	m, err := f.acquire(name)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	r, mod, _ := f.state(m)
	switch {
	case r.Deletion == nil:
		return ErrNotFound
	case !r.Purging && r.PurgeProtection && f.cfg.Clock().Unix() < r.Deletion.PurgeAt:
		return fmt.Errorf("%w: the deleted HSM stays until %s and can be recovered until then", ErrPurgeProtected, time.Unix(r.Deletion.PurgeAt, 0).UTC().Format(time.RFC3339))
	}
	return f.purge(ctx, m, r, mod)
}

// purge notes that the purge has begun, unless it had, and carries it through even if ctx ends. The caller holds
// m.mu.
func (f *Fleet) purge(ctx context.Context, m *member, r Resource, mod store.Rev) error {
	ctx = context.WithoutCancel(ctx)
	if !r.Purging {
		r.Purging = true
		if err := f.save(ctx, m, r, mod, nil); err != nil {
			return err
		}
	}
	return f.finishPurge(ctx, m)
}

// finishPurge does what is left of a purge; every step can be repeated. The caller holds m.mu.
func (f *Fleet) finishPurge(ctx context.Context, m *member) error {
	r, _, _ := f.state(m)
	if err := hsm.Destroy(ctx, f.deviceConfig(&r)); err != nil {
		return fmt.Errorf("purge %s: %w", r.Name, err)
	}
	lower := strings.ToLower(r.Name)
	if _, err := f.cfg.Store.Txn(ctx, nil, []store.Op{store.Delete(resourcePrefix + r.ID), store.Delete(namePrefix + lower)}); err != nil {
		return fmt.Errorf("purge %s: %w: %w", r.Name, hsm.ErrUnavailable, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byName, lower)
	return nil
}
