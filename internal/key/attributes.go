package key

import (
	"fmt"
	"unicode/utf8"
)

// Attributes are the mutable properties of one version. Times are Unix seconds; 0 means absent.
type Attributes struct {
	Enabled   bool  `json:"enabled"`
	NotBefore int64 `json:"nbf,omitempty"`
	Expires   int64 `json:"exp,omitempty"`
	Created   int64 `json:"created"`
	Updated   int64 `json:"updated"`
	// Exportable keys may leave the HSM by secure key release; they have a release policy.
	Exportable bool `json:"exportable,omitempty"`
}

// Meta is one version apart from its material: what a head shows for the current version and what a
// version record keeps.
type Meta struct {
	Name       Name              `json:"name"`
	Version    Version           `json:"version"`
	Spec       Spec              `json:"spec"`
	Ops        []Op              `json:"ops"`
	Attributes Attributes        `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
	Public     Public            `json:"public"`
	Release    *ReleasePolicy    `json:"release,omitempty"`  // of exportable keys
	Imported   bool              `json:"imported,omitempty"` // the material was made elsewhere
}

// ReleasePolicy says to whom an exportable key may be released.
type ReleasePolicy struct {
	ContentType string `json:"content_type"`
	Immutable   bool   `json:"immutable,omitempty"` // neither the policy nor this flag can be changed any more
	Data        []byte `json:"data"`                // the policy, in its normalised form
}

// Deletion says when a key was deleted and when it will be purged, Unix seconds.
type Deletion struct {
	DeletedAt int64 `json:"deleted_at"`
	PurgeAt   int64 `json:"purge_at"`
}

// Change is a request to alter one version; nil fields stay as they are. A pointer to 0 removes a date.
type Change struct {
	Enabled            *bool
	NotBefore, Expires *int64
	Ops                []string          // empty: unchanged
	Tags               map[string]string // nil: unchanged; empty: all removed
	Exportable         *bool             // can only be what it is
	Release            *ReleasePolicy    // normalised
}

// CreateParams is what CreateKey takes.
type CreateParams struct {
	Spec    Spec
	Ops     []string // nil: defaults
	Enabled *bool    // nil: true
	// NotBefore and Expires are Unix seconds, 0 for none.
	NotBefore, Expires int64
	Tags               map[string]string
	Exportable         *bool          // nil: as the version before, false for a new key
	Release            *ReleasePolicy // nil: that of the version before
}

// CheckTags enforces the service's limits.
func CheckTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return fmt.Errorf("%w: %d tags; a key has at most %d", ErrBadParameter, len(tags), MaxTags)
	}
	for k, v := range tags {
		if utf8.RuneCountInString(k) > MaxTagChars || utf8.RuneCountInString(v) > MaxTagChars {
			return fmt.Errorf("%w: tag names and values have at most %d characters", ErrBadParameter, MaxTagChars)
		}
	}
	return nil
}

// maxDate is the end of the year 9999: clients cannot read a key with later dates.
const maxDate = 253402300799

// CheckDates refuses an expiry that is not after the activation date.
func CheckDates(nbf, exp int64) error {
	if nbf < 0 || exp < 0 || nbf > maxDate || exp > maxDate {
		return fmt.Errorf("%w: nbf and exp are Unix seconds, not negative and at most %d (the end of the year 9999)", ErrBadParameter, maxDate)
	}
	if nbf != 0 && exp != 0 && exp <= nbf {
		return fmt.Errorf("%w: exp must be after nbf", ErrBadParameter)
	}
	return nil
}

// Apply returns m changed by c at time now. m itself stays as it is.
func (m Meta) Apply(c Change, now int64) (Meta, error) {
	if c.Enabled != nil {
		m.Attributes.Enabled = *c.Enabled
	}
	if c.NotBefore != nil {
		m.Attributes.NotBefore = *c.NotBefore
	}
	if c.Expires != nil {
		m.Attributes.Expires = *c.Expires
	}
	if err := CheckDates(m.Attributes.NotBefore, m.Attributes.Expires); err != nil {
		return Meta{}, err
	}
	if len(c.Ops) != 0 { // the Java client sends an empty list when its caller named none
		ops, err := ParseOps(m.Spec.Type, c.Ops)
		if err != nil {
			return Meta{}, err
		}
		if IsExchangeKey(ops) != IsExchangeKey(m.Ops) {
			return Meta{}, fmt.Errorf("%w: key_ops import cannot be added or taken away: a key exchange key is made with it and stays one; create another key or version", ErrBadParameter)
		}
		m.Ops = ops
	}
	if c.Tags != nil {
		if err := CheckTags(c.Tags); err != nil {
			return Meta{}, err
		}
		m.Tags = c.Tags
	}
	if c.Exportable != nil && *c.Exportable != m.Attributes.Exportable {
		return Meta{}, errExportableFixed
	}
	var err error
	if m.Release, err = m.Release.succeed(c.Release); err != nil {
		return Meta{}, err
	}
	m.Attributes.Updated = now
	return m, m.CheckRelease()
}

// CheckUse tells whether the version may do op at time now: enabled, listed in key_ops, and within its
// dates. Outside the dates decrypt, unwrap and verify still work, so that old data stays readable.
func (m Meta) CheckUse(op Op, now int64) error {
	if !m.Attributes.Enabled {
		return fmt.Errorf("%w: set attributes.enabled to true to use it", ErrDisabled)
	}
	listed := false
	for _, o := range m.Ops {
		listed = listed || o == op
	}
	if !listed {
		return fmt.Errorf("%w: Operation %s is not permitted on this key; key_ops are %v", ErrOperationForbidden, op, m.Ops)
	}
	if op == OpDecrypt || op == OpUnwrap || op == OpVerify || op == OpSecureUnwrap {
		return nil
	}
	if m.Attributes.NotBefore != 0 && now < m.Attributes.NotBefore {
		return fmt.Errorf("%w: not before %d", ErrNotYetValid, m.Attributes.NotBefore)
	}
	if m.Attributes.Expires != 0 && now >= m.Attributes.Expires {
		return fmt.Errorf("%w: expired at %d; decrypt, unwrap and verify still work", ErrExpired, m.Attributes.Expires)
	}
	return nil
}
