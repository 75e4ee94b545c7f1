// Package fleet is the HSM resources of this server: create, update, soft-delete, recover, purge, and the
// way from a host name to a device. It is what the control plane (package api/arm) speaks to.
//
// A resource is one record; its name is reserved, without regard to letter case, from creation until
// purge. What was acknowledged survives a crash, and a crash leaves the state before or the state after:
// update, delete and recover are one transaction each; a creation notes what it is about to make before it
// makes it, a purge notes that it has begun, and Open undoes the one and finishes the other.
//
// Records in the store:
//
//	/fleet/hsm/<id>     the resource
//	/fleet/name/<name>  lower-case name -> id
//	/fleet/new/<id>     an HSM being created: nothing but this refers to what is made of it so far
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/blob"
	"redoubt/internal/hsm"
	"redoubt/internal/netrule"
	"redoubt/internal/store"
	"redoubt/internal/unlock"
)

var (
	// ErrUnknownHost: no live HSM has this host name.
	ErrUnknownHost = errors.New("no managed HSM has this host name; list those there are with az keyvault list --resource-type hsm, " +
		"deleted ones with az keyvault list-deleted --resource-type hsm")
	// ErrNotFound: no such HSM resource, live or deleted as asked.
	ErrNotFound = errors.New("managed HSM not found")
	// ErrNameTaken: the name belongs to a live HSM.
	ErrNameTaken = errors.New("the managed HSM name is already in use")
	// ErrSoftDeleted: the name belongs to a soft-deleted HSM.
	ErrSoftDeleted = errors.New("a managed HSM of this name exists in deleted state")
	// ErrBadName: not a possible HSM name.
	ErrBadName = errors.New("the managed HSM name is not valid")
	// ErrBadResource: a property is missing or outside what is allowed.
	ErrBadResource = errors.New("the managed HSM resource is not valid")
	// ErrBadSKU: no such SKU.
	ErrBadSKU = errors.New("the SKU is not supported")
	// ErrImmutable: a property that cannot be changed after creation.
	ErrImmutable = errors.New("the property cannot be changed")
	// ErrPurgeProtected: purge protection forbids purging before the retention ends.
	ErrPurgeProtected = errors.New("purge protection is on")
	// ErrElsewhere: the HSM is in another location.
	ErrElsewhere = errors.New("the resource already exists in another location")
	// ErrCreating: an HSM of this name is just being created.
	ErrCreating = errors.New("a managed HSM of this name is still being created")
	// ErrDeleting: the HSM is being purged.
	ErrDeleting = errors.New("the managed HSM is already being deleted")
)

// Resource is an HSM as the control plane sees it. JSON is its stored form.
type Resource struct {
	ID              string            `json:"id"`   // UUID, made by Create
	Name            string            `json:"name"` // original letter case
	Subscription    string            `json:"subscription"`
	ResourceGroup   string            `json:"resource_group"`
	Location        string            `json:"location"`
	Tags            map[string]string `json:"tags,omitempty"`
	SKUName         string            `json:"sku_name"`
	SKUFamily       string            `json:"sku_family"`
	Tenant          string            `json:"tenant"`
	Admins          []string          `json:"admins"` // initial administrators, object ids
	RetentionDays   int               `json:"retention_days"`
	PurgeProtection bool              `json:"purge_protection,omitempty"`
	PublicAccess    string            `json:"public_access"`          // Enabled or Disabled
	NetworkACLs     json.RawMessage   `json:"network_acls,omitempty"` // a netrule.Set; nil: everybody is let in
	Identities      []string          `json:"identities,omitempty"`   // user-assigned identities' resource ids
	Created         int64             `json:"created"`
	CreatedBy       string            `json:"created_by,omitempty"`
	Deletion        *Deletion         `json:"deletion,omitempty"`
	Purging         bool              `json:"purging,omitempty"`

	rules *netrule.Rules // of PublicAccess and NetworkACLs; set with the resource in its member, see compile
}

// Deletion says when an HSM was deleted and when it will be purged, Unix seconds.
type Deletion struct {
	At      int64 `json:"at"`
	PurgeAt int64 `json:"purge_at"`
}

// Config is what a fleet needs from outside; all fields are required but Ticks, Trail, MaxKeys, MaxVersions, Attestation, SyncAudit and Log.
type Config struct {
	Store              store.Store
	Roots              *unlock.Roots
	OpenAudit          func(hsmID string) (*audit.Log, error)
	OpenContainer      func(ctx context.Context, r hsm.ContainerRequest) (blob.Container, error)
	MakeKey            hsm.KeyMaker // nil: each HSM makes its keys by itself
	Clock              func() time.Time
	RestorePointMaxAge time.Duration
	MaxKeys            int              // per HSM; 0: the service's limit
	MaxVersions        int              // per key; 0: the service's limit
	Ticks              <-chan time.Time // when to see to what has come due, about once a minute; nil: never (Tend)
	Attestation        hsm.AttestationVerifier
	SyncAudit          bool         // see hsm.Config
	Trail              *audit.Trail // has what the fleet does to an HSM by itself; may be nil
	NoIdentities       bool         // there are no managed identities to attach
	Log                *slog.Logger
}

// Fleet is the set of HSMs. Methods may be called from any goroutine.
type Fleet struct {
	cfg Config

	stop context.CancelFunc // ends the caretaker
	work sync.WaitGroup     // the caretaker

	mu      sync.RWMutex
	byName  map[string]*member // live and soft-deleted; key is the lower-case name; guarded by mu
	closing bool               // guarded by mu: no device may be opened any more
}

// member is one HSM with its open device. The resource is replaced as a whole, never changed in place.
type member struct {
	mu     sync.Mutex // serialises changes of this resource; taken before Fleet.mu
	res    *Resource  // guarded by Fleet.mu; without an ID while the HSM is being created
	mod    store.Rev  // guarded by Fleet.mu
	device *hsm.HSM   // nil unless live and open; guarded by Fleet.mu
	fault  error      // why a live HSM could not be opened; guarded by Fleet.mu
}

const (
	resourcePrefix = "/fleet/hsm/"
	namePrefix     = "/fleet/name/"
	newPrefix      = "/fleet/new/"
)

// namePattern is ARM's: starts with a letter, no doubled or trailing hyphen.
var namePattern = regexp.MustCompile(`^[A-Za-z](?:[A-Za-z0-9]|-[A-Za-z0-9])+$`)

// CheckName tells whether name could be an HSM's.
func CheckName(name string) error {
	if len(name) < 3 || len(name) > 24 || !namePattern.MatchString(name) {
		return fmt.Errorf("%w: %q; use 3 to 24 letters, digits and single hyphens, beginning with a letter", ErrBadName, name)
	}
	return nil
}

// Open loads every resource and opens the devices of the live ones. Creations that a crash interrupted are
// undone first, purges finished. An HSM that cannot be opened does not keep the others from working: it is
// listed, and Device says what is wrong with it.
func Open(ctx context.Context, cfg Config) (*Fleet, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{cfg: cfg, byName: make(map[string]*member)}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	err := f.each(ctx, newPrefix, func(kv store.KV) error { return f.undoCreate(ctx, strings.TrimPrefix(kv.Key, newPrefix)) })
	if err == nil {
		err = f.each(ctx, resourcePrefix, func(kv store.KV) error { return f.adopt(ctx, kv) })
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if cfg.Ticks != nil {
		f.work.Go(func() { f.tendOn(life, cfg.Ticks) })
	}
	return f, nil
}

// each calls do with every record under prefix. do may delete it.
func (f *Fleet) each(ctx context.Context, prefix string, do func(store.KV) error) error {
	q := store.Query{Prefix: prefix}
	for {
		page, err := f.cfg.Store.Range(ctx, q)
		if err != nil {
			return fmt.Errorf("list managed HSMs: %w", err)
		}
		for _, kv := range page.KVs {
			if err := do(kv); err != nil {
				return err
			}
			q.After = kv.Key
		}
		if !page.More {
			return nil
		}
	}
}

// adopt takes up one HSM as its record says.
func (f *Fleet) adopt(ctx context.Context, kv store.KV) error {
	var r Resource
	if err := json.Unmarshal(kv.Val, &r); err != nil {
		return fmt.Errorf("managed HSM record %s is damaged: %w", kv.Key, err)
	}
	m := &member{}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.mu.Lock()
	f.byName[strings.ToLower(r.Name)] = m
	m.res, m.mod = f.compile(r), kv.Mod
	f.mu.Unlock()
	f.open(ctx, m)
	if r.Purging {
		if err := f.finishPurge(ctx, m); err != nil {
			f.cfg.Log.ErrorContext(ctx, "an interrupted purge could not be finished; purge the HSM again or restart", "hsm", r.Name, "error", err)
		}
	}
	return nil
}

// open opens the device of a live HSM. The caller holds m.mu.
func (f *Fleet) open(ctx context.Context, m *member) {
	r, mod, _ := f.state(m)
	if r.Deletion != nil {
		return
	}
	d, err := f.openDevice(ctx, &r)
	f.set(m, &r, mod, d)
	if err != nil {
		f.cfg.Log.ErrorContext(ctx, "a managed HSM could not be opened; repair what is wrong and restart", "hsm", r.Name, "error", err)
		f.mu.Lock()
		m.fault = err
		f.mu.Unlock()
	}
}

func (f *Fleet) deviceConfig(r *Resource) hsm.Config {
	name := strings.ToLower(r.Name)
	identities := func() []string { return f.current(name).Identities }
	if f.cfg.NoIdentities {
		identities = nil
	}
	return hsm.Config{ID: r.ID, Name: r.Name, Store: f.cfg.Store, Roots: f.cfg.Roots, OpenContainer: f.cfg.OpenContainer, MakeKey: f.cfg.MakeKey, Clock: f.cfg.Clock,
		RestorePointMaxAge: f.cfg.RestorePointMaxAge, RetentionDays: r.RetentionDays, MaxKeys: f.cfg.MaxKeys, MaxVersions: f.cfg.MaxVersions, Attestation: f.cfg.Attestation, Log: f.cfg.Log,
		SyncAudit: f.cfg.SyncAudit, Resource: audited(r),
		PurgeProtected: func() bool { return f.current(name).PurgeProtection },
		Identities:     identities}
}

// audited is how r is named in its audit entries.
func audited(r *Resource) audit.Resource {
	id := strings.ToUpper("/subscriptions/" + r.Subscription + "/resourceGroups/" + r.ResourceGroup + "/providers/Microsoft.KeyVault/managedHSMs/" + r.Name)
	return audit.Resource{ID: id, Name: r.Name, Group: r.ResourceGroup, Tenant: r.Tenant, SKUFamily: r.SKUFamily, SKUName: r.SKUName}
}

// current is the resource as it is now; the zero Resource when the name is gone.
func (f *Fleet) current(lower string) Resource {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if m := f.byName[lower]; m != nil {
		return *m.res
	}
	return Resource{}
}

func (f *Fleet) openDevice(ctx context.Context, r *Resource) (*hsm.HSM, error) {
	log, err := f.cfg.OpenAudit(r.ID)
	if err != nil {
		return nil, err
	}
	cfg := f.deviceConfig(r)
	cfg.Audit = log
	d, err := hsm.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return d, nil
}

// Device finds the HSM whose name is the first label of a host name. One that could not be opened is
// hsm.ErrUnavailable.
func (f *Fleet) Device(label string) (*hsm.HSM, Resource, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	m := f.byName[strings.ToLower(label)]
	switch {
	case m == nil || m.device == nil && m.fault == nil:
		return nil, Resource{}, ErrUnknownHost
	case m.device == nil:
		return nil, *m.res, fmt.Errorf("%w: %w", hsm.ErrUnavailable, m.fault)
	}
	return m.device, *m.res, nil
}

// Close closes every device and waits for what runs in them. Devices are closed with no lock held: a
// job that ends may still ask for its HSM's resource.
func (f *Fleet) Close() error {
	f.stop()
	f.work.Wait()
	f.mu.Lock()
	f.closing = true
	var open []*hsm.HSM
	for _, m := range f.byName {
		if m.device != nil {
			open = append(open, m.device)
			m.device = nil
		}
	}
	f.mu.Unlock()
	errs := make([]error, len(open))
	var wg sync.WaitGroup
	for i, d := range open {
		wg.Go(func() { errs[i] = d.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
