package hsm

import (
	"context"
	"errors"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
)

// What the control plane (ARM) may do with keys: make one that is not there yet, and look. Whoever has the right there
// may do so if the HSM's setting AllowKeyManagementOperationsThroughARM is "true", whatever roles they have here, and
// nothing at all if it is not: then a control-plane owner has no access to keys. The methods of this file are the whole
// of it; no other operation admits a caller for the control plane's word.

// ARMKey is a version of a key as the control plane shows it.
type ARMKey struct {
	Bundle
	Rotation *key.RotationPolicy // of the key; nil: none
}

// beginARM is begin for somebody whom the control plane permits op.
func (h *HSM) beginARM(ctx context.Context, who Caller, op Operation, scope rbac.Scope) (*call, error) {
	c := &call{h: h, op: op, who: who, scope: scope, arm: true, started: h.cfg.Clock()}
	c.note("through", "ARM")
	return h.pass(ctx, c)
}

// permitARM checks state and setting. A change commits only if the setting is still the same (commit).
func (c *call) permitARM(ctx context.Context) error {
	if !c.op.row().allowedIn(c.v.dev.State) {
		return c.h.notAllowed(c.v.dev.State, c.op)
	}
	st, s, err := c.v.loadSetting(ctx, SettingARMKeys)
	if err != nil {
		return err
	}
	if st.Value != "true" {
		return answerf(ErrARMKeys, "Key operations through Azure Resource Manager are not allowed on this managed HSM. To allow them, an administrator of the HSM must enable the setting '%s': az keyvault setting update --hsm-name %s --name %s --value true",
			SettingARMKeys, c.h.cfg.Name, SettingARMKeys)
	}
	c.setting = s
	return nil
}

// errKeyExists ends a creation in favour of the key that is there.
var errKeyExists = errors.New("the key exists")

// ARMCreateKey returns the key of that name as it is, whatever else was asked for, and makes it if there is none. It
// never makes another version. policy, unless it is blank, becomes the new key's rotation policy.
func (h *HSM) ARMCreateKey(ctx context.Context, who Caller, name key.Name, p key.CreateParams, policy key.RotationPolicy) (k ARMKey, err error) {
	c, err := h.beginARM(ctx, who, OpKeyCreate, rbac.KeyScope(name))
	if err != nil {
		return ARMKey{}, err
	}
	defer c.end(&err)
	var hd head
	err = c.read(ctx, func() (err error) { hd, _, err = c.v.loadHead(ctx, name); return err })
	if errors.Is(err, key.ErrNotFound) {
		hd, err = c.makeAbsent(ctx, name, p, policy)
	} else if err == nil {
		c.existed(hd)
	}
	if err != nil {
		return ARMKey{}, err
	}
	return ARMKey{h.bundle(hd.Meta, nil), hd.Rotation}, nil
}

// existed says in the audit entry that nothing was made.
func (c *call) existed(hd head) {
	c.note("existed", "true")
	c.note("keyVersion", string(hd.Meta.Version))
}

// makeAbsent makes a key, or returns the one that others made meanwhile.
func (c *call) makeAbsent(ctx context.Context, name key.Name, p key.CreateParams, policy key.RotationPolicy) (head, error) {
	m, err := newMeta(name, p, c.h.now())
	if err != nil {
		return head{}, err
	}
	if policy, err = policy.Check(); err != nil {
		return head{}, err
	}
	var other head
	made, err := c.addVersion(ctx, &creation{meta: m, exportable: p.Exportable,
		source: func() (material.Key, error) { return c.h.makeKey(ctx, m.Spec) },
		inherit: func(before, next *head) error {
			if before != nil {
				other = *before
				return errKeyExists
			}
			next.Rotation = replacePolicy(nil, policy, m.Attributes.Created)
			return nil
		}})
	if errors.Is(err, errKeyExists) {
		c.existed(other)
		return other, nil
	}
	return made, err
}

// ARMGetKey returns one version of a key, "" being the current one.
func (h *HSM) ARMGetKey(ctx context.Context, who Caller, name key.Name, version key.Version) (k ARMKey, err error) {
	c, err := h.beginARM(ctx, who, OpKeyGet, rbac.KeyScope(name))
	if err != nil {
		return ARMKey{}, err
	}
	defer c.end(&err)
	var hd head
	var m key.Meta
	err = c.read(ctx, func() (err error) {
		if hd, _, err = c.v.loadHead(ctx, name); err == nil {
			m, err = c.v.loadVersion(ctx, hd, version)
		}
		return err
	})
	if err != nil {
		return ARMKey{}, err
	}
	return ARMKey{h.bundle(m, nil), hd.Rotation}, nil
}

// ARMListKeys is ListKeys for the control plane.
func (h *HSM) ARMListKeys(ctx context.Context, who Caller, after string, max int) (items []Bundle, next string, err error) {
	c, err := h.beginARM(ctx, who, OpKeyList, rbac.ScopeKeys)
	if err != nil {
		return nil, "", err
	}
	defer c.end(&err)
	return c.pageOfHeads(ctx, "h/", after, max)
}

// ARMListVersions is ListVersions for the control plane.
func (h *HSM) ARMListVersions(ctx context.Context, who Caller, name key.Name, after string, max int) (items []Bundle, next string, err error) {
	c, err := h.beginARM(ctx, who, OpKeyListVersions, rbac.KeyScope(name))
	if err != nil {
		return nil, "", err
	}
	defer c.end(&err)
	return c.pageOfVersions(ctx, name, after, max)
}
