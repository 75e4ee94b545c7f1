package hsm

import (
	"slices"

	"redoubt/internal/key"
)

// lifeModel is what keys should be: the obvious implementation, without stores, seals or crashes. Its methods
// answer as the device should, with the error or nil.
type lifeModel struct {
	keys                 map[string]*modelKey
	maxKeys, maxVersions int
}

type modelKey struct {
	name     key.Name
	purgeAt  int64          // end of the retention of a soft-deleted key, 0 for a live one
	policy   string         // "", "monthly" or "before expiry"
	versions []modelVersion // oldest first
}

type modelVersion struct {
	version           key.Version
	kind              key.Type
	enabled           bool
	nbf, exp, created int64
	tag               string
	secret            []byte // of an imported oct key
	sig               []byte // of lifecycleDigest, once it was made
}

// policies are the rotation policies by the names of the model.
var policies = map[string]key.RotationPolicy{"": {}, "monthly": monthly, "before expiry": beforeExpiry}

// lives is how long versions live that a policy makes, in days.
var lives = map[string]int64{"monthly": 365, "before expiry": 60}

func (k *modelKey) current() *modelVersion { return &k.versions[len(k.versions)-1] }

func (k *modelKey) clone() *modelKey {
	c := *k
	c.versions = slices.Clone(k.versions)
	return &c
}

func (m *lifeModel) live(n key.Name) (*modelKey, error) {
	if k := m.keys[n.Fold()]; k != nil && k.purgeAt == 0 {
		return k, nil
	}
	return nil, key.ErrNotFound
}

func (m *lifeModel) deleted(n key.Name) (*modelKey, error) {
	if k := m.keys[n.Fold()]; k != nil && k.purgeAt != 0 {
		return k, nil
	}
	return nil, key.ErrDeletedNotFound
}

// room tells whether a name can have another version.
func (m *lifeModel) room(n key.Name) error {
	switch k := m.keys[n.Fold()]; {
	case k == nil && len(m.keys) >= m.maxKeys:
		return ErrLimit
	case k != nil && k.purgeAt != 0:
		return key.ErrDeleted
	case k != nil && len(k.versions) >= m.maxVersions:
		return key.ErrTooManyVersions
	}
	return nil
}

// free tells whether a name can be restored.
func (m *lifeModel) free(n key.Name) error {
	if k := m.keys[n.Fold()]; k != nil && k.purgeAt == 0 {
		return key.ErrExists
	}
	return m.room(n)
}

func (m *lifeModel) add(n key.Name, v modelVersion) {
	k := m.keys[n.Fold()]
	if k == nil {
		k = &modelKey{name: n}
		m.keys[n.Fold()] = k
	}
	k.versions = append(k.versions, v)
}

// rotation is the next version of a key, but for what the device draws.
func (k *modelKey) rotation(now int64) modelVersion {
	was := k.current()
	return modelVersion{kind: was.kind, enabled: was.enabled, tag: was.tag, created: now, exp: now + lives[k.policy]*secondsPerDay}
}

func (m *lifeModel) mayRotate(n key.Name) error {
	k, err := m.live(n)
	if err == nil && k.policy == "" {
		err = key.ErrNoRotationPolicy
	}
	if err == nil {
		err = m.room(n)
	}
	return err
}

// due tells whether the device rotates the key by itself.
func (m *lifeModel) due(k *modelKey, now int64) bool {
	v := k.current()
	if k.purgeAt != 0 || !v.enabled || len(k.versions) >= m.maxVersions {
		return false
	}
	return k.policy == "monthly" && now >= v.created+30*secondsPerDay || k.policy == "before expiry" && v.exp != 0 && now >= v.exp-28*secondsPerDay
}

func (v *modelVersion) use(op key.Op, now int64) error {
	switch {
	case !v.enabled:
		return key.ErrDisabled
	case op == key.OpVerify:
		return nil
	case v.nbf != 0 && now < v.nbf:
		return key.ErrNotYetValid
	case v.exp != 0 && now >= v.exp:
		return key.ErrExpired
	}
	return nil
}

func datesFit(nbf, exp int64) error {
	if nbf != 0 && exp != 0 && exp <= nbf {
		return key.ErrBadParameter
	}
	return nil
}
