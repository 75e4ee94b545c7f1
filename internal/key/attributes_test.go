package key

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestCheckTags(t *testing.T) {
	t.Parallel()
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = ""
		}
		return m
	}
	for name, c := range map[string]struct {
		tags map[string]string
		ok   bool
	}{
		"none": {nil, true}, "15": {many(15), true}, "16": {many(16), false},
		"long name":            {map[string]string{strings.Repeat("n", 256): ""}, true},
		"too long a name":      {map[string]string{strings.Repeat("n", 257): ""}, false},
		"long value":           {map[string]string{"": strings.Repeat("v", 256)}, true},
		"too long a value":     {map[string]string{"": strings.Repeat("v", 257)}, false},
		"characters not bytes": {map[string]string{"": strings.Repeat("ä", 256)}, true},
	} {
		if err := CheckTags(c.tags); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBadParameter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckDates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nbf, exp int64
		ok       bool
	}{
		{0, 0, true}, {5, 0, true}, {0, 5, true}, {5, 6, true}, {5, 5, false}, {6, 5, false}, {-1, 0, false}, {0, -1, false}, {-2, -1, false}, {0, 253402300799, true}, {0, 253402300800, false}, {253402300800, 0, false}, {1<<63 - 1, 0, false},
	} {
		if err := CheckDates(c.nbf, c.exp); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBadParameter) {
			t.Errorf("nbf %d, exp %d: %v", c.nbf, c.exp, err)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func someMeta() Meta {
	return Meta{
		Name: "n", Version: NewVersion(), Spec: Spec{Type: EC, Curve: P256}, Ops: []Op{OpSign},
		Attributes: Attributes{Enabled: true, NotBefore: 100, Expires: 200, Created: 1, Updated: 1},
		Tags:       map[string]string{"a": "b"},
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change Change
		want   func(*Meta) // nil: refused
	}{
		"nothing":             {Change{}, func(*Meta) {}},
		"disable":             {Change{Enabled: ptr(false)}, func(m *Meta) { m.Attributes.Enabled = false }},
		"later expiry":        {Change{Expires: ptr(int64(300))}, func(m *Meta) { m.Attributes.Expires = 300 }},
		"no dates":            {Change{NotBefore: ptr(int64(0)), Expires: ptr(int64(0))}, func(m *Meta) { m.Attributes.NotBefore, m.Attributes.Expires = 0, 0 }},
		"both dates moved":    {Change{NotBefore: ptr(int64(500)), Expires: ptr(int64(600))}, func(m *Meta) { m.Attributes.NotBefore, m.Attributes.Expires = 500, 600 }},
		"start after the end": {Change{NotBefore: ptr(int64(201))}, nil},
		"negative":            {Change{NotBefore: ptr(int64(-1))}, nil},
		"ops":                 {Change{Ops: []string{"verify"}}, func(m *Meta) { m.Ops = []Op{OpVerify} }},
		"no ops":              {Change{Ops: []string{}}, func(*Meta) {}},
		"impossible ops":      {Change{Ops: []string{"encrypt"}}, nil},
		"tags":                {Change{Tags: map[string]string{"c": "d"}}, func(m *Meta) { m.Tags = map[string]string{"c": "d"} }},
		"no tags":             {Change{Tags: map[string]string{}}, func(m *Meta) { m.Tags = map[string]string{} }},
		"bad tags":            {Change{Tags: map[string]string{"c": strings.Repeat("d", 257)}}, nil},
	} {
		m := someMeta()
		kept := m
		kept.Ops, kept.Tags = slices.Clone(m.Ops), maps.Clone(m.Tags)
		got, err := m.Apply(c.change, 77)
		if !reflect.DeepEqual(m, kept) {
			t.Errorf("%s: the original changed", name)
		}
		if c.want == nil {
			if !errors.Is(err, ErrBadParameter) || !reflect.DeepEqual(got, Meta{}) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			continue
		}
		want := kept
		want.Attributes.Updated = 77
		c.want(&want)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
}

// A key exchange key stays one, and no other becomes one.
func TestExchangeKeyStaysOne(t *testing.T) {
	t.Parallel()
	kek := Meta{Spec: Spec{Type: RSA, Bits: 2048}, Ops: []Op{OpImport}, Attributes: Attributes{Enabled: true}}
	for _, ops := range [][]string{{"decrypt"}, {"import", "unwrapKey"}} {
		if _, err := kek.Apply(Change{Ops: ops}, 1); !errors.Is(err, ErrBadParameter) {
			t.Errorf("KEK to %v: %v", ops, err)
		}
	}
	if m, err := kek.Apply(Change{Ops: []string{"import"}, Enabled: ptr(false)}, 1); err != nil || !IsExchangeKey(m.Ops) || m.Attributes.Enabled {
		t.Errorf("KEK disabled: %+v, %v", m, err)
	}
	other := kek
	other.Ops = []Op{OpUnwrap}
	for _, ops := range [][]Op{{OpUnwrap}, nil} {
		other.Ops = ops
		if _, err := other.Apply(Change{Ops: []string{"import"}}, 1); !errors.Is(err, ErrBadParameter) {
			t.Errorf("%v to KEK: %v", ops, err)
		}
	}
}

// Outside its dates a key still reads what it wrote; disabled it does nothing; and key_ops come before dates.
func TestCheckUse(t *testing.T) {
	t.Parallel()
	all := []Op{OpEncrypt, OpDecrypt, OpSign, OpVerify, OpWrap, OpUnwrap}
	reads := []Op{OpDecrypt, OpUnwrap, OpVerify}
	for _, c := range []struct {
		name     string
		enabled  bool
		nbf, exp int64
		now      int64
		err      error // of the writing operations; reading ones fail only when disabled
	}{
		{"no dates", true, 0, 0, 0, nil},
		{"before", true, 100, 200, 99, ErrNotYetValid},
		{"first second", true, 100, 200, 100, nil},
		{"last second", true, 100, 200, 199, nil},
		{"at expiry", true, 100, 200, 200, ErrExpired},
		{"long after", true, 100, 200, 1 << 40, ErrExpired},
		{"only a start, before", true, 100, 0, 1, ErrNotYetValid},
		{"only a start, after", true, 100, 0, 1 << 40, nil},
		{"only an end, before", true, 0, 200, 1, nil},
		{"only an end, after", true, 0, 200, 201, ErrExpired},
		{"disabled", false, 0, 0, 0, ErrDisabled},
		{"disabled and expired", false, 0, 200, 300, ErrDisabled},
	} {
		m := Meta{Ops: all, Attributes: Attributes{Enabled: c.enabled, NotBefore: c.nbf, Expires: c.exp}}
		for _, op := range all {
			want := c.err
			if slices.Contains(reads, op) && c.enabled {
				want = nil
			}
			if err := m.CheckUse(op, c.now); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s, %s: %v, want %v", c.name, op, err, want)
			}
			without := m
			without.Ops = slices.DeleteFunc(slices.Clone(all), func(o Op) bool { return o == op })
			want = ErrOperationForbidden
			if !c.enabled {
				want = ErrDisabled
			}
			if err := without.CheckUse(op, c.now); !errors.Is(err, want) {
				t.Errorf("%s, %s not in key_ops: %v, want %v", c.name, op, err, want)
			}
		}
	}
}
