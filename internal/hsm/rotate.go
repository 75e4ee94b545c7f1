package hsm

import (
	"context"
	"errors"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// Rotation is the rotation policy of a key; Policy is nil when it has none.
type Rotation struct {
	Name   key.Name // in the letter case of its creation
	Policy *key.RotationPolicy
}

// RotateKey makes a new version of a key as its rotation policy says: type, permitted operations, tags and
// release policy of the version before, and the policy's time to live. A key without a policy is
// key.ErrNoRotationPolicy.
func (h *HSM) RotateKey(ctx context.Context, who Caller, name key.Name) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyRotate, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	hd, err := c.rotate(ctx, name, func(*head) error { return nil })
	if err != nil {
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, nil), nil
}

// errOtherSpec: between reading a key and writing its next version, others gave it another type.
var errOtherSpec = errors.New("the key has another type by now")

// rotate writes the next version of a key if check has nothing against it. check sees the head that is
// replaced, in the very state that the transaction is conditional on.
func (c *call) rotate(ctx context.Context, name key.Name, check func(*head) error) (head, error) {
	for range attempts {
		var before head
		err := c.read(ctx, func() (err error) {
			if before, _, err = c.v.loadHead(ctx, name); err != nil {
				return err
			}
			return c.mayRotate(&before, check)
		})
		if err != nil {
			return head{}, err
		}
		spec, now := before.Meta.Spec, c.h.now()
		next, err := c.addVersion(ctx, &creation{
			meta: key.Meta{Name: before.Meta.Name, Version: key.NewVersion(), Spec: spec, Attributes: key.Attributes{Created: now, Updated: now}},
			source: func() (material.Key, error) {
				return c.h.makeKey(ctx, spec)
			},
			inherit: func(before, next *head) error {
				if before == nil { // deleted meanwhile
					return c.h.keyNotFound(name, "")
				}
				if err := c.mayRotate(before, check); err != nil {
					return err
				}
				return succeed(before, next)
			},
		})
		switch {
		case errors.Is(err, errOtherSpec):
		case errors.Is(err, key.ErrDeleted):
			return head{}, c.h.keyNotFound(name, "")
		default:
			return next, err
		}
	}
	return head{}, ErrConflict
}

func (c *call) mayRotate(hd *head, check func(*head) error) error {
	if hd.Rotation == nil {
		return answerf(key.ErrNoRotationPolicy, "Key %s has no rotation policy, and without one it cannot be rotated: az keyvault key rotation-policy update --hsm-name %s --name %s --value POLICY.json", hd.Meta.Name, c.h.cfg.Name, hd.Meta.Name)
	}
	return check(hd)
}

// succeed completes a rotated head from the one before it. Whether a version is enabled belongs to what it may
// be used for, so it is inherited; its dates are its own.
func succeed(before, next *head) error {
	was, m := before.Meta, &next.Meta
	if was.Spec != m.Spec {
		return errOtherSpec
	}
	m.Ops, m.Tags, m.Release = was.Ops, was.Tags, was.Release
	m.Attributes.Enabled, m.Attributes.Exportable = was.Attributes.Enabled, was.Attributes.Exportable
	m.Attributes.Expires = before.Rotation.Expires(m.Attributes.Created)
	return nil
}

// GetRotationPolicy returns the rotation policy of a key.
func (h *HSM) GetRotationPolicy(ctx context.Context, who Caller, name key.Name) (r Rotation, err error) {
	c, err := h.begin(ctx, who, OpRotationPolicyGet, rbac.KeyScope(name))
	if err != nil {
		return Rotation{}, err
	}
	defer c.end(&err)
	err = c.read(ctx, func() error {
		hd, _, err := c.v.loadHead(ctx, name)
		r = Rotation{Name: hd.Meta.Name, Policy: hd.Rotation}
		return err
	})
	if err != nil {
		return Rotation{}, err
	}
	return r, nil
}

// SetRotationPolicy replaces the rotation policy of a key; a blank one takes it away. Its times are those of
// the device's clock. It counts from now on, also for the version there is.
func (h *HSM) SetRotationPolicy(ctx context.Context, who Caller, name key.Name, p key.RotationPolicy) (r Rotation, err error) {
	c, err := h.begin(ctx, who, OpRotationPolicySet, rbac.KeyScope(name))
	if err != nil {
		return Rotation{}, err
	}
	defer c.end(&err)
	if p, err = p.Check(); err != nil {
		return Rotation{}, err
	}
	c.notePolicy(p)
	err = c.update(ctx, func() (change, error) {
		hd, s, err := c.v.loadHead(ctx, name)
		if err != nil {
			return change{}, err
		}
		hd.Rotation = replacePolicy(hd.Rotation, p, h.now())
		r = Rotation{Name: hd.Meta.Name, Policy: hd.Rotation}
		return change{ifs: []store.Cond{c.v.cond(headName(name), s)}, ops: []store.Op{c.v.put(headName(name), s, hd)}}, nil
	})
	if err != nil {
		return Rotation{}, err
	}
	return r, nil
}

func replacePolicy(old *key.RotationPolicy, p key.RotationPolicy, now int64) *key.RotationPolicy {
	if p.Blank() {
		return nil
	}
	p.Created, p.Updated = now, now
	if old != nil {
		p.Created = old.Created
	}
	return &p
}

// notePolicy puts what a policy says into the audit entry.
func (c *call) notePolicy(p key.RotationPolicy) {
	if p.Blank() {
		c.note("rotationPolicy", "removed")
		return
	}
	if p.ExpiryTime != "" {
		c.note("expiryTime", p.ExpiryTime)
	}
	for _, a := range p.Actions {
		if a.AfterCreate != "" {
			c.note("timeAfterCreate", a.AfterCreate)
		}
		if a.BeforeExpiry != "" {
			c.note("timeBeforeExpiry", a.BeforeExpiry)
		}
	}
}
