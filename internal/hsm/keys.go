package hsm

import (
	"context"
	"errors"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// head is the one record that says what a key name means now. It lives under h/ while the key is live and
// under d/ while it is soft-deleted, never under both: deleting and recovering move it, and everything
// else of the key (its versions, their material) stays where it is. Lists are read from heads alone.
type head struct {
	Incarnation key.IncarnationID `json:"incarnation"`
	Versions    int               `json:"versions"` // how many version records there are
	Meta        key.Meta          `json:"meta"`     // the current version; equal to its version record
	Deletion    *key.Deletion     `json:"deletion,omitempty"`

	// Rotation moves, is deleted and is restored with the name.
	Rotation *key.RotationPolicy `json:"rotation,omitempty"`
}

// Bundle is one version of a key as clients see it. Meta's slices and map are shared with the device's
// cache: callers must not change them.
type Bundle struct {
	Meta            key.Meta
	RecoverableDays int
	RecoveryLevel   string
	Deletion        *key.Deletion // nil for a live key
}

func (h *HSM) bundle(m key.Meta, d *key.Deletion) Bundle {
	return Bundle{Meta: m, RecoverableDays: h.cfg.RetentionDays, RecoveryLevel: h.recoveryLevel(), Deletion: d}
}

// recoveryLevel says how deleted keys of this HSM can come back (attributes.recoveryLevel): 90 days of
// retention is the standard, fewer is "customized"; without purge protection they are also purgeable.
func (h *HSM) recoveryLevel() string {
	level := "Recoverable"
	if h.cfg.RetentionDays < 90 {
		level = "CustomizedRecoverable"
	}
	if !h.purgeProtected() {
		level += "+Purgeable"
	}
	return level
}

func (h *HSM) purgeProtected() bool { return h.cfg.PurgeProtected != nil && h.cfg.PurgeProtected() }

func (h *HSM) keyNotFound(name key.Name, version key.Version) error {
	id := string(name)
	if version != "" {
		id += "/" + string(version)
	}
	return answerf(key.ErrNotFound, "Key not found: %s. List the keys with az keyvault key list --hsm-name %s, deleted ones with az keyvault key list-deleted --hsm-name %s", id, h.cfg.Name, h.cfg.Name)
}

// loadHead reads the head of a live key, or key.ErrNotFound.
func (v *view) loadHead(ctx context.Context, name key.Name) (head, stamp, error) {
	hd, s, err := load[head](ctx, v, headName(name))
	if isAbsent(err) {
		return head{}, stamp{}, v.h.keyNotFound(name, "")
	}
	return hd, s, err
}

// loadVersion reads one version of hd, "" being the current one. The release policy is that of the key, which
// the head has; an older version's record keeps what it was when the version was the current one.
func (v *view) loadVersion(ctx context.Context, hd head, version key.Version) (key.Meta, error) {
	if version == "" || version == hd.Meta.Version {
		return hd.Meta, nil
	}
	m, _, err := load[key.Meta](ctx, v, versionName(hd.Incarnation, version))
	if isAbsent(err) {
		return key.Meta{}, v.h.keyNotFound(hd.Meta.Name, version)
	}
	m.Release = hd.Meta.Release
	return m, err
}

// CreateKey makes a key, or a new version of it when the name exists: fresh material, in one transaction
// with its version and head. A name that is soft-deleted is key.ErrDeleted; ErrLimit and
// key.ErrTooManyVersions are the service's limits. The name keeps the letter case of its first creation.
func (h *HSM) CreateKey(ctx context.Context, who Caller, name key.Name, p key.CreateParams) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyCreate, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	m, err := newMeta(name, p, h.now())
	if err != nil {
		return Bundle{}, err
	}
	hd, err := c.addVersion(ctx, &creation{meta: m, exportable: p.Exportable, source: func() (material.Key, error) { return h.makeKey(ctx, m.Spec) }})
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, nil), nil
}

// makeKey draws fresh material. Callers hold no lock and are in no transaction: an RSA key takes its time, or has
// to wait for its turn.
func (h *HSM) makeKey(ctx context.Context, spec key.Spec) (material.Key, error) {
	if h.cfg.MakeKey == nil {
		return material.Generate(spec)
	}
	return h.cfg.MakeKey(ctx, spec)
}

// addVersion writes a new version of a key, and the key itself when the name is free, in one transaction.
// It returns the head that was written.
func (c *call) addVersion(ctx context.Context, cr *creation) (hd head, err error) {
	cr.call, cr.incarnation = c, key.NewIncarnation()
	c.note("keyVersion", string(cr.meta.Version))
	defer func() { cr.finish(err) }()
	// What can be refused is refused before the costly part; commit decides anew.
	if err = c.read(ctx, func() error { _, _, err := cr.successor(ctx); return err }); err != nil {
		return head{}, err
	}
	// Drawn once and outside every lock, however often the transaction has to be repeated.
	if cr.material, err = cr.source(); err != nil {
		return head{}, err
	}
	cr.meta.Public = cr.material.Public()
	if err = c.update(ctx, func() (change, error) { return cr.build(ctx) }); err != nil {
		return head{}, err
	}
	return cr.written, nil
}

// newMeta checks what a caller asked for and gives it a version. The public part is still missing.
func newMeta(name key.Name, p key.CreateParams, now int64) (key.Meta, error) {
	if _, err := key.ParseName(string(name)); err != nil {
		return key.Meta{}, err
	}
	spec, err := key.NewSpec(p.Spec.Type, p.Spec.Bits, p.Spec.Curve, p.Spec.Exponent)
	if err != nil {
		return key.Meta{}, err
	}
	ops, err := key.ParseOps(spec.Type, p.Ops)
	if err != nil {
		return key.Meta{}, err
	}
	if err := key.CheckDates(p.NotBefore, p.Expires); err != nil {
		return key.Meta{}, err
	}
	if err := key.CheckTags(p.Tags); err != nil {
		return key.Meta{}, err
	}
	policy, err := normalPolicy(p.Release)
	if err != nil {
		return key.Meta{}, err
	}
	return key.Meta{Name: name, Version: key.NewVersion(), Spec: spec, Ops: ops, Tags: p.Tags, Release: policy,
		Attributes: key.Attributes{Enabled: p.Enabled == nil || *p.Enabled, NotBefore: p.NotBefore, Expires: p.Expires, Created: now, Updated: now}}, nil
}

// creation is one new version under way. Whoever asks for it sets meta and source, and inherit if the new
// version depends on the one before; addVersion sets the rest. Whether the key is exportable, and the release policy
// unless meta has one, always come from the version before.
type creation struct {
	meta       key.Meta
	exportable *bool                        // what the caller says of it; nil: nothing
	source     func() (material.Key, error) // called once, outside the transaction
	// inherit completes the new head from the one it replaces, nil when the name is free. It may refuse. It
	// is called again when others changed the key meanwhile.
	inherit func(before *head, next *head) error

	*call
	incarnation key.IncarnationID // of the name, should it be new
	material    material.Key
	written     head // what the last build proposed

	reserved bool
	release  func(used bool)
}

// successor is the head as it will be, and the stamp of the one it replaces.
func (cr *creation) successor(ctx context.Context) (head, stamp, error) {
	name := cr.meta.Name
	hd, s, err := load[head](ctx, &cr.v, headName(name))
	if isAbsent(err) {
		return cr.firstHead(ctx)
	}
	if err != nil {
		return head{}, stamp{}, err
	}
	if hd.Versions >= cr.h.cfg.maxVersions() {
		return head{}, stamp{}, answerf(key.ErrTooManyVersions, "key %s has %d versions, as many as a key can have; create a key under another name", hd.Meta.Name, hd.Versions)
	}
	next := head{Incarnation: hd.Incarnation, Versions: hd.Versions + 1, Meta: cr.meta, Rotation: hd.Rotation}
	next.Meta.Name = hd.Meta.Name // the letter case of the first creation
	err = cr.complete(&hd, &next)
	return next, s, err
}

func (cr *creation) complete(before, next *head) error {
	if cr.inherit != nil {
		if err := cr.inherit(before, next); err != nil {
			return err
		}
	}
	var last *key.Meta
	if before != nil {
		last = &before.Meta
	}
	var err error
	next.Meta, err = next.Meta.Follow(last, cr.exportable)
	return err
}

func (cr *creation) firstHead(ctx context.Context) (head, stamp, error) {
	name := cr.meta.Name
	_, _, err := load[head](ctx, &cr.v, deletedName(name))
	if err == nil {
		return head{}, stamp{}, cr.h.nameDeleted(name)
	}
	if !isAbsent(err) {
		return head{}, stamp{}, err
	}
	next := head{Incarnation: cr.incarnation, Versions: 1, Meta: cr.meta}
	if err := cr.complete(nil, &next); err != nil {
		return head{}, stamp{}, err
	}
	if !cr.reserved {
		if cr.release, err = cr.v.reserveName(ctx); err != nil {
			return head{}, stamp{}, err
		}
		cr.reserved = true
	}
	return next, stamp{}, nil
}

func (h *HSM) nameDeleted(name key.Name) error {
	return answerf(key.ErrDeleted, "Key %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged: az keyvault key recover --hsm-name %s --name %s, or az keyvault key purge --hsm-name %s --name %s",
		name, h.cfg.Name, name, h.cfg.Name, name)
}

// build proposes the transaction: head, version and material together.
func (cr *creation) build(ctx context.Context) (change, error) {
	next, s, err := cr.successor(ctx)
	if err != nil {
		return change{}, err
	}
	cr.written = next
	name, inc, version := next.Meta.Name, next.Incarnation, next.Meta.Version
	plain := cr.material.Marshal()
	defer plain.Wipe()
	return change{
		ifs: []store.Cond{cr.v.cond(headName(name), s), cr.v.cond(deletedName(name), stamp{})},
		ops: []store.Op{
			cr.v.put(headName(name), s, next),
			cr.v.put(versionName(inc, version), stamp{}, next.Meta),
			cr.v.putSecret(materialName(inc, version), plain),
		},
	}, nil
}

// finish settles the count of names and keeps or forgets the material.
func (cr *creation) finish(err error) {
	if cr.reserved {
		// A commit of unknown outcome counts: too many is put right by the next recount, too few would not be.
		cr.release(cr.written.Versions == 1 && (err == nil || errors.Is(err, store.ErrUnknown)))
	}
	if err != nil {
		cr.material.Wipe()
		return
	}
	cr.v.keepMaterial(materialName(cr.written.Incarnation, cr.written.Meta.Version), cr.material)
}

// GetKey returns one version of a key, "" being the current one.
func (h *HSM) GetKey(ctx context.Context, who Caller, name key.Name, version key.Version) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyGet, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	var m key.Meta
	err = c.read(ctx, func() error {
		hd, _, err := c.v.loadHead(ctx, name)
		if err != nil {
			return err
		}
		m, err = c.v.loadVersion(ctx, hd, version)
		return err
	})
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(m, nil), nil
}

// UpdateKey changes attributes, operations or tags of one version, "" being the current one. The current
// version stands in its version record and in the head; both change together.
func (h *HSM) UpdateKey(ctx context.Context, who Caller, name key.Name, version key.Version, ch key.Change) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyUpdate, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	if ch.Release, err = normalPolicy(ch.Release); err != nil {
		return Bundle{}, err
	}
	var after key.Meta
	err = c.update(ctx, func() (out change, err error) {
		after, out, err = c.buildUpdate(ctx, name, version, ch)
		return out, err
	})
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(after, nil), nil
}

func (c *call) buildUpdate(ctx context.Context, name key.Name, version key.Version, ch key.Change) (key.Meta, change, error) {
	hd, hs, err := c.v.loadHead(ctx, name)
	if err != nil {
		return key.Meta{}, change{}, err
	}
	if version == "" {
		version = hd.Meta.Version
	}
	record := versionName(hd.Incarnation, version)
	before, vs, err := load[key.Meta](ctx, &c.v, record)
	if isAbsent(err) {
		err = c.h.keyNotFound(hd.Meta.Name, version)
	}
	if err != nil {
		return key.Meta{}, change{}, err
	}
	if ch.Release != nil && version != hd.Meta.Version {
		return key.Meta{}, change{}, answerf(key.ErrBadParameter, "Key Release Policy can only be set on versionless key; leave the version out")
	}
	after, err := before.Apply(ch, c.h.now())
	if err != nil {
		return key.Meta{}, change{}, err
	}
	out := change{
		ifs: []store.Cond{c.v.cond(headName(name), hs), c.v.cond(record, vs)},
		ops: []store.Op{c.v.put(record, vs, after)},
	}
	if version == hd.Meta.Version {
		hd.Meta = after
		out.ops = append(out.ops, c.v.put(headName(name), hs, hd))
	}
	after.Release = hd.Meta.Release
	return after, out, nil
}
