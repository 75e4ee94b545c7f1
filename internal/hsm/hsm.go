// Package hsm is the device: one HSM with its state, its content and the one guard that every operation
// passes. Read this package first.
//
// It holds orchestration only. Rules belong to key and rbac, bytes to material and seal, formats to
// securitydomain and backup. What it promises:
//
//   - Every exported operation begins with begin (guard.go): is the device in a state that allows it, may
//     the caller do it, and what goes into the audit log. What an operation is stands in one table
//     (operation.go).
//   - A mutation is one transaction of the store, together with its audit entry and conditional on the
//     device record being unchanged. So what was acknowledged is durable, a crash leaves the state before
//     or the state after, and no mutation can slip past a restore or an activation.
//   - Content (keys, roles, settings) is sealed under the HSM's root, under names that mean the same on
//     any HSM with that security domain. Nothing sealed is ever opened for a backup.
package hsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/blob"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/release"
	"redoubt/internal/seal"
	"redoubt/internal/store"
	"redoubt/internal/unlock"
)

// Config is what a device needs from outside. All fields but MakeKey, Identities, PurgeProtected, Attestation and Log are required.
type Config struct {
	ID    string // UUID of this HSM, lower-case; never reused
	Name  string // resource name in its original letter case, for messages and folder names
	Store store.Store
	Roots *unlock.Roots
	Audit *audit.Log
	// OpenContainer opens the storage that a backup or restore names. It does not touch the network.
	OpenContainer func(ctx context.Context, r ContainerRequest) (blob.Container, error)
	// MakeKey makes fresh material, in the place of material.Generate: where all HSMs of a process take turns.
	MakeKey KeyMaker
	Clock   func() time.Time
	// RestorePointMaxAge is how old the newest backup may be for a full restore; 0 means any since activation.
	RestorePointMaxAge time.Duration
	RetentionDays      int // soft-delete retention of keys, days
	MaxKeys            int // keys the HSM can have, soft-deleted ones included; 0: the service's 5,000
	MaxVersions        int // versions a key can have; 0: the service's 100
	PurgeProtected     func() bool
	Identities         func() []string     // resource ids of the user-assigned identities attached now; nil: the server has no identities
	Attestation        AttestationVerifier // nil: no attestation token is believed
	Resource           audit.Resource      // this HSM in its audit entries
	SyncAudit          bool                // entries of operations that change nothing are durable before the answer, too
	Log                *slog.Logger
}

// KeyMaker draws material of a spec that nobody else gets. It may wait until ctx ends, and is called by many
// goroutines at once.
type KeyMaker func(ctx context.Context, spec key.Spec) (material.Key, error)

// AttestationVerifier believes attestation tokens, or not: release.ErrBadToken for one that cannot be read, release.ErrUntrusted for one
// that nobody trusted has signed for now. It must not reach out for keys while a caller waits.
type AttestationVerifier interface {
	Verify(token string, now time.Time) (release.Assertion, error)
}

// ContainerRequest names the storage of a job. SAS is a function so that the credential is not printed
// with the struct; nil when Identities are to be used.
type ContainerRequest struct {
	URI        string
	SAS        func() string
	Identities []string
	Need       string // permissions the job needs of a SAS, e.g. "crdw"
}

// Caller is who calls, and from where; it is a parameter of every operation.
type Caller struct {
	rbac.Principal
	RequestID string
	IP        string
	Client    string // User-Agent
	Version   string // api-version asked for
	URI       string // of the request, without anything secret
	// Barred is why the caller may do nothing here, whatever its roles: the network rules keep it out. Nil: nothing does.
	Barred error
	// Seen is set once the guard has seen the call, which has its entry then; nil: nobody asks.
	Seen *bool
	// Status is the HTTP status that an error is answered with, for the audit log; nil: nobody is answered.
	Status func(error) int
}

// HSM is one open device. Methods may be called from any goroutine.
type HSM struct {
	cfg   Config
	store store.Store
	log   *slog.Logger

	root      atomic.Pointer[loadedRoot]
	attest    atomic.Pointer[attester]
	locked    atomic.Pointer[lockedRoot]
	roles     roleTables
	dev       atomic.Pointer[parsedDevice]
	cache     cache
	names     nameCount
	queue     chan queued   // entries of operations that write nothing else
	kick      chan struct{} // tells the sequencer that the outbox has entries
	denied    audit.Limit   // entries of requests that the guard did not admit
	strangers audit.Limit   // entries of requests without a token
	mute      atomic.Bool   // the audit file took nothing when it was last tried
	ended     chan struct{} // closed when the sequencer has ended
	agenda    agenda
	jobbed    map[string]*jobTally // by kind
	behind    backlogTally

	life   context.Context // ends with Close; jobs and the sequencer run under it
	cancel context.CancelFunc
	work   sync.WaitGroup

	ceremony sync.Mutex  // held by whoever handles roots: downloads, activation, exchange key, upload, settling
	settled  atomic.Bool // what a crash left was put right; nothing is admitted before

	mu         sync.Mutex
	closing    bool                      // guarded by mu: no new background work
	containers map[string]blob.Container // guarded by mu; by job id: kept so that a restore point can be read again
	lastFolder time.Time                 // guarded by mu: time in the name of the newest backup's folder
	jobs       map[string]*runningJob    // guarded by mu: the job that runs in this process
}

type loadedRoot struct {
	id   string
	root *seal.Root
}

// lockedRoot is the last try to load a root that the unlock driver could not open.
type lockedRoot struct {
	id  string
	at  time.Time
	err error
}

type parsedDevice struct {
	mod store.Rev
	dev device
}

// Create provisions a new device: a local root, and the Administrator role at "/" for each of admins
// (object ids). It is one transaction; after a crash it can be repeated.
func Create(ctx context.Context, cfg Config, admins []string) error {
	if len(admins) == 0 || len(admins) > 50 {
		return fmt.Errorf("%w: an HSM needs 1 to 50 initial administrators", ErrBadRequest)
	}
	root, rootID := seal.NewRoot(0), newID()
	if err := cfg.Roots.Put(ctx, cfg.ID, rootID, root.Export()); err != nil {
		return fmt.Errorf("keep the local root: %w", err)
	}
	h := &HSM{cfg: cfg, store: cfg.Store}
	d := device{Format: deviceFormat, ID: cfg.ID, State: Provisioned, Generation: newID(), Root: rootID, Lineage: newID()}
	v := &view{h: h, root: root}
	var ops []store.Op
	for _, a := range admins {
		id, err := rbac.ParseGUID(a)
		if err != nil {
			return fmt.Errorf("%w: initial administrator %q is not an object id; az ad user show --id NAME --query id finds it", ErrBadRequest, a)
		}
		d.Admins = append(d.Admins, id)
	}
	v.dev = d
	for _, a := range d.Admins {
		ops = append(ops, v.putAssignment(rbac.Assignment{ID: newGUID(), Scope: rbac.ScopeRoot, Principal: a, Definition: rbac.Administrator}))
	}
	ops = append(ops, store.Put(h.deviceKey(), d.encode()))
	if _, err := cfg.Store.Txn(ctx, []store.Cond{store.Absent(h.deviceKey())}, ops); err != nil {
		return storeError("create the HSM", err)
	}
	return nil
}

// Open starts a device that Create made. When the unlock driver cannot open the root yet, the device
// opens Sealed and Unseal can be tried again; all else that a crash left half done is settled first.
func Open(ctx context.Context, cfg Config) (*HSM, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &HSM{cfg: cfg, store: cfg.Store, log: cfg.Log.With("hsm", cfg.Name),
		queue: make(chan queued, 4096), denied: audit.Limit{Burst: 200, PerSecond: 20}, strangers: audit.Limit{Burst: 100, PerSecond: 5},
		kick: make(chan struct{}, 1), ended: make(chan struct{}), containers: make(map[string]blob.Container), jobs: make(map[string]*runningJob), jobbed: jobTallies()}
	h.life, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if _, err := h.auditHeld(ctx); err != nil {
		h.cancel()
		return nil, err
	}
	if err := h.Unseal(ctx); err != nil && !errors.Is(err, ErrSealed) {
		h.cancel()
		return nil, err
	}
	h.work.Go(h.sequence)
	return h, nil
}

// Unseal loads the root and settles what a crash interrupted. It is a no-op on a device that has its root.
func (h *HSM) Unseal(ctx context.Context) error {
	h.locked.Store(nil)
	_, _, _, err := h.current(ctx)
	return err
}

// current reads the device and the root in use, after settling what a crash interrupted if that was not
// done yet.
func (h *HSM) current(ctx context.Context) (device, store.Rev, *seal.Root, error) {
	for {
		d, rev, err := h.readDevice(ctx)
		if err != nil {
			return device{}, 0, nil, err
		}
		root, err := h.rootFor(ctx, d.Root)
		if err == nil && !h.settled.Load() {
			if err = h.settle(ctx); err == nil {
				continue
			}
		}
		if err == nil {
			return d, rev, root, nil
		}
		if _, now, rerr := h.readDevice(ctx); rerr != nil || now == rev {
			return device{}, 0, nil, err
		} // else that root went with a change of the device in between
	}
}

// Close stops running jobs (they end as interrupted), writes the audit entries that wait and closes the
// audit log. The store stays open: it is the caller's.
func (h *HSM) Close() error {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.cancel()
	h.work.Wait()
	return h.cfg.Audit.Close()
}

// Status is what the control plane and status pages show of a device.
type Status struct {
	State               State
	DomainID            string // empty until a security domain is installed
	Epoch               uint32
	ExchangeFingerprint string // SHA-256 thumbprint (base64url) of the exchange certificate given out
	Job                 string
	Warnings            []string
	AuditHead           string
	Unlock              string
	AttestationRoot     string // fingerprint of the root certificate that attestations chain to; empty before activation
	LastBackup          int64  // time of the content in the newest full backup that still counts, Unix seconds; 0 for none
	Unconfirmed         bool   // a security domain was given out and nobody has polled: the HSM is not activated
}

// Status needs no permission: it is for the control plane, which has its own.
func (h *HSM) Status(ctx context.Context) (Status, error) {
	d, _, err := h.readDevice(ctx)
	if err != nil {
		return Status{State: Degraded}, err
	}
	s := Status{State: d.State, DomainID: d.DomainID, Epoch: d.Epoch, ExchangeFingerprint: d.Exchange, Job: d.Job,
		Warnings: slices.Concat(d.Warnings, h.agenda.warnings()), AuditHead: h.cfg.Audit.Head().String(), Unlock: h.cfg.Roots.Describe(),
		LastBackup: d.lastBackup(), Unconfirmed: d.Pending != nil}
	root, err := h.rootFor(ctx, d.Root)
	if errors.Is(err, ErrSealed) {
		s.State = Sealed
	}
	if err == nil && d.DomainID != "" {
		id, err := (&view{h: h, dev: d, root: root}).identity()
		if err != nil {
			return s, err
		}
		s.AttestationRoot = id.Root()
	}
	return s, nil
}

// ID is the device's UUID.
func (h *HSM) ID() string { return h.cfg.ID }

// Name is the resource name.
func (h *HSM) Name() string { return h.cfg.Name }

func (h *HSM) now() int64 { return h.cfg.Clock().Unix() }

// rootFor returns the root with that id, loading it through unlock when it is not the one in memory.
func (h *HSM) rootFor(ctx context.Context, id string) (*seal.Root, error) {
	if l := h.root.Load(); l != nil && l.id == id {
		return l.root, nil
	}
	if l := h.locked.Load(); l != nil && l.id == id && h.cfg.Clock().Sub(l.at) < unsealPause {
		return nil, l.err
	}
	r, err := h.loadRoot(ctx, id)
	if errors.Is(err, ErrSealed) {
		if h.locked.Load() == nil { // once, not with every request
			h.log.ErrorContext(ctx, "the HSM stays sealed until its root can be opened", "error", err)
		}
		h.locked.Store(&lockedRoot{id: id, at: h.cfg.Clock(), err: err})
	}
	if err != nil {
		return nil, err
	}
	h.root.Store(&loadedRoot{id: id, root: r})
	return r, nil
}

// unsealPause is how long requests to a sealed HSM go without trying the unlock driver again: a try is
// slow on purpose, and anybody can send requests.
const unsealPause = time.Second

func (h *HSM) loadRoot(ctx context.Context, id string) (*seal.Root, error) {
	s, err := h.cfg.Roots.Get(ctx, h.cfg.ID, id)
	if errors.Is(err, unlock.ErrLocked) {
		return nil, fmt.Errorf("%w: %v", ErrSealed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: root %s: %v", ErrCorrupt, id, err)
	}
	defer s.Wipe()
	r, err := seal.Import(s)
	if err != nil {
		return nil, fmt.Errorf("%w: root %s: %v", ErrCorrupt, id, err)
	}
	return r, nil
}

// readDevice reads the device record; parsing is skipped while it is unchanged.
func (h *HSM) readDevice(ctx context.Context) (device, store.Rev, error) {
	kv, _, err := h.store.Get(ctx, h.deviceKey())
	if err != nil {
		return device{}, 0, storeError("read the device record", err)
	}
	if p := h.dev.Load(); p != nil && p.mod == kv.Mod {
		return p.dev, kv.Mod, nil
	}
	d, err := parseDevice(kv.Val)
	if err != nil {
		return device{}, 0, err
	}
	h.dev.Store(&parsedDevice{mod: kv.Mod, dev: d})
	return d, kv.Mod, nil
}

// storeError wraps what the store said: callers outside only learn that the HSM cannot reach it.
func storeError(doing string, err error) error {
	var conflict *store.Conflict
	switch {
	case errors.As(err, &conflict):
		return fmt.Errorf("%s: %w", doing, ErrConflict)
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
