package key

import (
	"bytes"
	"fmt"
	"slices"
)

// Rules of keys that may leave the HSM. The policy's own grammar is package release's; here it is only compared.

// answer is an error with the service's own words. errors.Is finds what kind it is.
type answer struct {
	kind error
	text string
}

func (a *answer) Error() string { return a.text }
func (a *answer) Unwrap() error { return a.kind }

func badParameter(text string) error { return &answer{ErrBadParameter, text} }

// IsSecureWrapKey tells whether ops are those of a key that wraps and unwraps for attested environments.
func IsSecureWrapKey(ops []Op) bool {
	return slices.ContainsFunc(ops, func(o Op) bool { return o == OpSecureWrap || o == OpSecureUnwrap })
}

// CheckRelease tells whether operations, exportable and release policy of m go together:
//
//   - a key is exportable exactly if it has a policy, but for keys for secure wrap, which have one and are not;
//   - a key for secure wrap does nothing else: what it wraps could otherwise be unwrapped without attestation;
//   - a key exchange key is not exportable: whoever got it could read the keys that were wrapped to it.
func (m Meta) CheckRelease() error {
	exportable, policy, secure := m.Attributes.Exportable, m.Release != nil, IsSecureWrapKey(m.Ops)
	switch {
	case exportable && !policy:
		return badParameter("Exportable keys must have release policy")
	case exportable && secure:
		return badParameter("Keys for secureWrapKey and secureUnwrapKey cannot be exportable; leave attributes.exportable out")
	case exportable && IsExchangeKey(m.Ops):
		return badParameter("A key exchange key (key_ops import) cannot be exportable; leave attributes.exportable out")
	case secure && !policy:
		return badParameter("Keys for secureWrapKey and secureUnwrapKey must have release policy")
	case secure && slices.ContainsFunc(m.Ops, func(o Op) bool { return o != OpSecureWrap && o != OpSecureUnwrap }):
		return badParameter("key_ops secureWrapKey and secureUnwrapKey exclude all others: what the key wraps could be unwrapped without attestation; make a key of its own")
	case !exportable && policy && !secure:
		return badParameter("Non-exportable keys must not have release policy")
	case !exportable && slices.Contains(m.Ops, OpExport):
		return badParameter("key_ops export is for exportable keys; set attributes.exportable and a release policy when the key is made")
	}
	return nil
}

var (
	errExportableFixed = badParameter("Cannot modify the exportable state of a key; it is decided when the key is made, for all its versions")
	errPolicyImmutable = badParameter("Immutable Key Release Policy cannot be modified")
)

// Follow completes m as a new version of a key: before is the current version, nil when the name is new. Whether the key is
// exportable is inherited unless asked for (exportable), and cannot be changed; the policy is inherited unless
// m brings its own.
func (m Meta) Follow(before *Meta, exportable *bool) (Meta, error) {
	if before == nil {
		m.Attributes.Exportable = exportable != nil && *exportable
		return m, m.CheckRelease()
	}
	if exportable != nil && *exportable != before.Attributes.Exportable {
		return Meta{}, errExportableFixed
	}
	m.Attributes.Exportable = before.Attributes.Exportable
	if m.Release != nil && before.Release == nil {
		return Meta{}, badParameter("Non-exportable keys must not have release policy; the key has versions without one")
	}
	var err error
	if m.Release, err = before.Release.succeed(m.Release); err != nil {
		return Meta{}, err
	}
	return m, m.CheckRelease()
}

// succeed is the policy after next was asked for in place of p; nil asks for no change. The same policy again is no change
// either, and does not take the immutable mark away.
func (p *ReleasePolicy) succeed(next *ReleasePolicy) (*ReleasePolicy, error) {
	if next == nil {
		return p, nil
	}
	if p == nil || !p.Immutable {
		return next, nil
	}
	if !bytes.Equal(p.Data, next.Data) {
		return nil, errPolicyImmutable
	}
	return p, nil
}

// CheckExport tells whether the material may leave the HSM at all. The dates do not count: old data must stay readable.
func (m Meta) CheckExport() error {
	if !m.Attributes.Enabled {
		return fmt.Errorf("%w: set attributes.enabled to true to use it", ErrDisabled)
	}
	if !m.Attributes.Exportable || m.Release == nil {
		return &answer{ErrOperationForbidden, "Operation release is not permitted on this key: it is not exportable, which is decided when a key is made"}
	}
	return nil
}
