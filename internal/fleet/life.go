package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/hsm"
	"redoubt/internal/store"
)

// Create makes a new HSM from r (ID, Created are filled in). The device is provisioned first, under an
// id that nothing refers to yet; a crash in between leaves only that unreferenced device.
func (f *Fleet) Create(ctx context.Context, r Resource) (Resource, error) {
	if err := r.check(); err != nil {
		return Resource{}, err
	}
	m := &member{}
	m.mu.Lock()
	defer m.mu.Unlock()
	lower := strings.ToLower(r.Name)
	if err := f.reserve(lower, m); err != nil {
		return Resource{}, err
	}
	r.ID, r.Created = newUUID(), f.cfg.Clock().Unix()
	if err := f.create(ctx, m, r); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.byName, lower)
		return Resource{}, err
	}
	return r, nil
}

// reserve claims the name in memory, so that two creations at once cannot both go on.
func (f *Fleet) reserve(lower string, m *member) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.byName[lower]; old != nil {
		if old.res.Deletion != nil {
			return fmt.Errorf("%w: recover it with az keyvault recover --hsm-name %s, or purge it with az keyvault purge --hsm-name %s", ErrSoftDeleted, old.res.Name, old.res.Name)
		}
		return ErrNameTaken
	}
	m.res = &Resource{Name: lower}
	f.byName[lower] = m
	return nil
}

func (f *Fleet) create(ctx context.Context, m *member, r Resource) error {
	if err := hsm.Create(ctx, f.deviceConfig(&r), r.Admins); err != nil {
		return err
	}
	rev, err := f.cfg.Store.Txn(ctx, []store.Cond{store.Absent(namePrefix + strings.ToLower(r.Name)), store.Absent(resourcePrefix + r.ID)},
		[]store.Op{store.Put(namePrefix+strings.ToLower(r.Name), []byte(r.ID)), store.Put(resourcePrefix+r.ID, r.encode())})
	if err != nil {
		return nameError(err)
	}
	d, err := f.openDevice(ctx, &r)
	if err != nil {
		return err
	}
	f.set(m, &r, rev, d)
	return nil
}

func nameError(err error) error {
	var c *store.Conflict
	if errors.As(err, &c) {
		return ErrNameTaken
	}
	return fmt.Errorf("%w: %w", hsm.ErrUnavailable, err)
}

func (f *Fleet) set(m *member, r *Resource, mod store.Rev, d *hsm.HSM) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.res, m.mod, m.device = r, mod, d
}

func (r Resource) encode() []byte {
	b, _ := json.Marshal(r) // plain fields: cannot fail
	return b
}

func (r Resource) check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	switch {
	case r.Subscription == "" || r.ResourceGroup == "" || r.Location == "" || r.Tenant == "":
		return fmt.Errorf("%w: subscription, resource group, location and tenantId are required", ErrBadResource)
	case r.RetentionDays < 7 || r.RetentionDays > 90:
		return fmt.Errorf("%w: softDeleteRetentionInDays is 7 to 90, got %d", ErrBadResource, r.RetentionDays)
	case len(r.Admins) == 0:
		return fmt.Errorf("%w: initialAdminObjectIds must name at least one administrator", ErrBadResource)
	}
	return nil
}

// Update replaces the mutable properties of a live HSM: change edits a copy; immutable ones must stay.
func (f *Fleet) Update(ctx context.Context, name string, change func(*Resource) error) (Resource, error) {
	m, err := f.member(name)
	if err != nil {
		return Resource{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, mod, d := f.state(m)
	if old.Deletion != nil || d == nil {
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
	return r, f.save(ctx, m, r, mod, d)
}

func (r Resource) mayBecome(n Resource) error {
	switch {
	case n.ID != r.ID || !strings.EqualFold(n.Name, r.Name) || !strings.EqualFold(n.Location, r.Location) || n.Tenant != r.Tenant:
		return fmt.Errorf("%w: name, location and tenantId are fixed at creation", ErrImmutable)
	case n.RetentionDays != r.RetentionDays:
		return fmt.Errorf("%w: softDeleteRetentionInDays is fixed at creation (%d)", ErrImmutable, r.RetentionDays)
	case r.PurgeProtection && !n.PurgeProtection:
		return fmt.Errorf("%w: purge protection cannot be switched off", ErrImmutable)
	}
	return n.check()
}

func (f *Fleet) save(ctx context.Context, m *member, r Resource, mod store.Rev, d *hsm.HSM) error {
	key := resourcePrefix + r.ID
	rev, err := f.cfg.Store.Txn(ctx, []store.Cond{store.Unchanged(key, mod)}, []store.Op{store.Put(key, r.encode())})
	if err != nil {
		return fmt.Errorf("%w: %w", hsm.ErrUnavailable, err)
	}
	f.set(m, &r, rev, d)
	return nil
}

func (f *Fleet) member(name string) (*member, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if m := f.byName[strings.ToLower(name)]; m != nil {
		return m, nil
	}
	return nil, ErrNotFound
}

func (f *Fleet) state(m *member) (Resource, store.Rev, *hsm.HSM) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return *m.res, m.mod, m.device
}

// Delete soft-deletes a live HSM: its device closes, its name stays taken, Recover brings it back.
func (f *Fleet) Delete(ctx context.Context, name string) (Resource, error) {
	m, err := f.member(name)
	if err != nil {
		return Resource{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, mod, d := f.state(m)
	if r.Deletion != nil || d == nil {
		return Resource{}, ErrNotFound
	}
	now := f.cfg.Clock()
	r.Deletion = &Deletion{At: now.Unix(), PurgeAt: now.AddDate(0, 0, r.RetentionDays).Unix()}
	if err := f.save(ctx, m, r, mod, nil); err != nil {
		return Resource{}, err
	}
	return r, d.Close()
}

// Recover undoes Delete.
func (f *Fleet) Recover(ctx context.Context, name string) (Resource, error) {
	m, err := f.member(name)
	if err != nil {
		return Resource{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, mod, _ := f.state(m)
	if r.Deletion == nil {
		return Resource{}, ErrNotFound
	}
	if r.Purging {
		return Resource{}, ErrDeleting
	}
	r.Deletion = nil
	d, err := f.openDevice(ctx, &r)
	if err != nil {
		return Resource{}, err
	}
	if err := f.save(ctx, m, r, mod, d); err != nil {
		return Resource{}, errors.Join(err, d.Close())
	}
	return r, nil
}

// Purge destroys a soft-deleted HSM for good: first its sealed roots, without which its records are
// noise, then the records, then its name. The audit file stays.
func (f *Fleet) Purge(ctx context.Context, name string) error {
	m, err := f.member(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, mod, _ := f.state(m)
	switch {
	case r.Deletion == nil:
		return ErrNotFound
	case r.PurgeProtection && f.cfg.Clock().Unix() < r.Deletion.PurgeAt:
		return fmt.Errorf("%w: the HSM can be purged from Unix time %d on", ErrPurgeProtected, r.Deletion.PurgeAt)
	}
	r.Purging = true
	if err := f.save(ctx, m, r, mod, nil); err != nil {
		return err
	}
	return f.finishPurge(ctx, m)
}

// finishPurge does what is left of a purge; every step can be repeated.
func (f *Fleet) finishPurge(ctx context.Context, m *member) error {
	r := *m.res
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

// Get returns the live HSM of that name.
func (f *Fleet) Get(name string) (Resource, error) {
	r := f.current(strings.ToLower(name))
	if r.ID == "" || r.Deletion != nil {
		return Resource{}, ErrNotFound
	}
	return r, nil
}

// GetDeleted returns the soft-deleted HSM of that name.
func (f *Fleet) GetDeleted(name string) (Resource, error) {
	r := f.current(strings.ToLower(name))
	if r.ID == "" || r.Deletion == nil {
		return Resource{}, ErrNotFound
	}
	return r, nil
}

// List returns the live HSMs, or with deleted the soft-deleted ones, in name order.
func (f *Fleet) List(deleted bool) []Resource {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []Resource
	for _, m := range f.byName {
		if m.res.ID != "" && (m.res.Deletion != nil) == deleted {
			out = append(out, *m.res)
		}
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return out
}

func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
