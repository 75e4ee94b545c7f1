package key

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckRelease(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		ops        []Op
		exportable bool
		policy     bool
		says       string // "" when they go together
	}{
		"plain":                    {[]Op{OpSign}, false, false, ""},
		"exportable":               {[]Op{OpSign}, true, true, ""},
		"exportable with export":   {[]Op{OpSign, OpExport}, true, true, ""},
		"secure wrap":              {[]Op{OpSecureWrap, OpSecureUnwrap}, false, true, ""},
		"secure wrap only":         {[]Op{OpSecureWrap}, false, true, ""},
		"exportable, no policy":    {[]Op{OpSign}, true, false, "Exportable keys must have release policy"},
		"policy, not exportable":   {[]Op{OpSign}, false, true, "Non-exportable keys must not have release policy"},
		"no ops, policy":           {nil, false, true, "Non-exportable keys must not have release policy"},
		"export, not exportable":   {[]Op{OpExport}, false, false, "export"},
		"secure wrap, no policy":   {[]Op{OpSecureWrap}, false, false, "must have release policy"},
		"secure wrap, exportable":  {[]Op{OpSecureWrap}, true, true, "cannot be exportable"},
		"secure wrap, more ops":    {[]Op{OpSecureUnwrap, OpUnwrap}, false, true, "exclude all others"},
		"exchange key, exportable": {[]Op{OpImport}, true, true, "key exchange key"},
	} {
		m := Meta{Ops: c.ops, Attributes: Attributes{Exportable: c.exportable}}
		if c.policy {
			m.Release = &ReleasePolicy{}
		}
		err := m.CheckRelease()
		if (err == nil) != (c.says == "") || err != nil && (!errors.Is(err, ErrBadParameter) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}

func policyOf(s string, immutable bool) *ReleasePolicy {
	return &ReleasePolicy{Data: []byte(s), Immutable: immutable}
}

// What a new version inherits from the one before, and what it may change.
func TestFollow(t *testing.T) {
	t.Parallel()
	exportable := func(p *ReleasePolicy) *Meta {
		return &Meta{Ops: []Op{OpSign}, Attributes: Attributes{Exportable: true}, Release: p}
	}
	plain := &Meta{Ops: []Op{OpSign}}
	secure := &Meta{Ops: []Op{OpSecureWrap}, Release: policyOf("a", false)}
	for what, c := range map[string]struct {
		before     *Meta
		exportable *bool
		release    *ReleasePolicy
		ops        []Op
		want       string // policy of the new version, "-" none, "!..." the error
	}{
		"first":                           {nil, nil, nil, nil, "-"},
		"first, exportable":               {nil, ptr(true), policyOf("a", false), nil, "a"},
		"first, exportable, no policy":    {nil, ptr(true), nil, nil, "!must have release policy"},
		"first, policy only":              {nil, nil, policyOf("a", false), nil, "!Non-exportable"},
		"next":                            {plain, nil, nil, nil, "-"},
		"next, made exportable":           {plain, ptr(true), policyOf("a", false), nil, "!exportable state"},
		"next, policy":                    {plain, nil, policyOf("a", false), nil, "!Non-exportable"},
		"next, secure":                    {plain, nil, policyOf("a", false), []Op{OpSecureWrap}, "!Non-exportable"},
		"inherits":                        {exportable(policyOf("a", false)), nil, nil, nil, "a"},
		"inherits, said again":            {exportable(policyOf("a", false)), ptr(true), nil, nil, "a"},
		"no longer exportable":            {exportable(policyOf("a", false)), ptr(false), nil, nil, "!exportable state"},
		"another policy":                  {exportable(policyOf("a", false)), nil, policyOf("b", true), nil, "b immutable"},
		"immutable, inherited":            {exportable(policyOf("a", true)), nil, nil, nil, "a immutable"},
		"immutable, the same":             {exportable(policyOf("a", true)), nil, policyOf("a", false), nil, "a immutable"},
		"immutable, another":              {exportable(policyOf("a", true)), nil, policyOf("b", true), nil, "!Immutable Key Release Policy cannot be modified"},
		"secure, inherits":                {secure, nil, nil, []Op{OpSecureUnwrap}, "a"},
		"secure, other ops":               {secure, nil, nil, []Op{OpUnwrap}, "!Non-exportable"},
		"exportable, next one for secure": {exportable(policyOf("a", false)), nil, nil, []Op{OpSecureWrap}, "!cannot be exportable"},
	} {
		ops := c.ops
		if ops == nil {
			ops = []Op{OpSign}
		}
		m, err := Meta{Ops: ops, Release: c.release}.Follow(c.before, c.exportable)
		got := "-"
		switch {
		case err != nil:
			got = "!" + err.Error()
		case m.Release != nil && m.Release.Immutable:
			got = string(m.Release.Data) + " immutable"
		case m.Release != nil:
			got = string(m.Release.Data)
		}
		if want, bad := strings.CutPrefix(c.want, "!"); bad && (!errors.Is(err, ErrBadParameter) || !strings.Contains(got, want)) || !bad && got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

func TestApplyRelease(t *testing.T) {
	t.Parallel()
	m := Meta{Spec: Spec{Type: EC, Curve: P256}, Ops: []Op{OpSign}, Attributes: Attributes{Exportable: true}, Release: policyOf("a", false)}
	after, err := m.Apply(Change{Release: policyOf("b", true), Exportable: ptr(true)}, 5)
	if err != nil || string(after.Release.Data) != "b" || !after.Release.Immutable || string(m.Release.Data) != "a" {
		t.Errorf("%+v, %v", after.Release, err)
	}
	for what, c := range map[string]Change{
		"not exportable": {Exportable: ptr(false)}, "another policy": {Release: policyOf("c", true)},
	} {
		if _, err := after.Apply(c, 5); !errors.Is(err, ErrBadParameter) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if same, err := after.Apply(Change{Release: policyOf("b", false), Ops: []string{"sign", "export"}}, 5); err != nil || !same.Release.Immutable {
		t.Errorf("the same policy again: %+v, %v", same.Release, err)
	}
	if _, err := (Meta{Spec: m.Spec, Ops: m.Ops}).Apply(Change{Ops: []string{"export"}}, 5); !errors.Is(err, ErrBadParameter) {
		t.Errorf("export without exportable: %v", err)
	}
	secure := Meta{Spec: Spec{Type: Oct, Bits: 256}, Ops: []Op{OpSecureWrap}, Release: policyOf("a", false)}
	if _, err := secure.Apply(Change{Ops: []string{"unwrapKey"}}, 5); !errors.Is(err, ErrBadParameter) {
		t.Errorf("a key for secure wrap became an ordinary one: %v", err)
	}
}

func TestCheckExport(t *testing.T) {
	t.Parallel()
	m := Meta{Attributes: Attributes{Enabled: true, Exportable: true, NotBefore: 1 << 40}, Release: policyOf("a", false)}
	if err := m.CheckExport(); err != nil {
		t.Errorf("before its time: %v", err)
	}
	off, plain := m, m
	off.Attributes.Enabled, plain.Attributes.Exportable = false, false
	if err := off.CheckExport(); !errors.Is(err, ErrDisabled) {
		t.Errorf("disabled: %v", err)
	}
	if err := plain.CheckExport(); !errors.Is(err, ErrOperationForbidden) {
		t.Errorf("not exportable: %v", err)
	}
}
