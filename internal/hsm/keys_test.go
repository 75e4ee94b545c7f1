package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/store"
)

var (
	ecSpec  = key.Spec{Type: key.EC}
	octSpec = key.Spec{Type: key.Oct}
	rsaSpec = key.Spec{Type: key.RSA}
)

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func (r *testHSM) create(name key.Name, spec key.Spec) Bundle {
	r.t.Helper()
	return r.createWith(name, key.CreateParams{Spec: spec})
}

func (r *testHSM) createWith(name key.Name, p key.CreateParams) Bundle {
	r.t.Helper()
	b, err := r.CreateKey(r.t.Context(), user, name, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *testHSM) get(name key.Name, v key.Version) key.Meta {
	r.t.Helper()
	b, err := r.GetKey(r.t.Context(), user, name, v)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Meta
}

func TestCreateKeyDefaults(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	now := r.clock.Now().Unix()
	for name, tc := range map[key.Name]struct {
		ask, want key.Spec
		ops       []key.Op
		public    func(key.Public) bool
	}{
		"rsa": {rsaSpec, key.Spec{Type: key.RSA, Bits: 2048, Exponent: 65537}, key.DefaultOps(key.RSA), func(p key.Public) bool { return len(p.N) == 256 && bytes.Equal(p.E, []byte{1, 0, 1}) }},
		"ec":  {ecSpec, key.Spec{Type: key.EC, Curve: key.P256}, key.DefaultOps(key.EC), func(p key.Public) bool { return len(p.X) == 32 && len(p.Y) == 32 }},
		"521": {key.Spec{Type: key.EC, Curve: key.P521}, key.Spec{Type: key.EC, Curve: key.P521}, key.DefaultOps(key.EC), func(p key.Public) bool { return len(p.X) == 66 && len(p.Y) == 66 }},
		"oct": {octSpec, key.Spec{Type: key.Oct, Bits: 256}, key.DefaultOps(key.Oct), func(p key.Public) bool { return p.N == nil && p.X == nil }},
	} {
		b := r.create(name, tc.ask)
		m := b.Meta
		if m.Name != name || m.Spec != tc.want || !slices.Equal(m.Ops, tc.ops) || !tc.public(m.Public) || len(m.Version) != 32 {
			t.Errorf("%s: %+v", name, m)
		}
		if m.Attributes != (key.Attributes{Enabled: true, Created: now, Updated: now}) {
			t.Errorf("%s: attributes %+v", name, m.Attributes)
		}
		if b.RecoverableDays != 90 || b.RecoveryLevel != "Recoverable+Purgeable" || b.Deletion != nil {
			t.Errorf("%s: %+v", name, b)
		}
		if got := r.get(name, m.Version); got.Version != m.Version || !bytes.Equal(got.Public.X, m.Public.X) || !bytes.Equal(got.Public.N, m.Public.N) {
			t.Errorf("%s: read back %+v", name, got)
		}
	}
	r.check()
}

func TestCreateKeyAsAsked(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	off := false
	p := key.CreateParams{Spec: octSpec, Ops: []string{"wrapkey", "unwrapKey"}, Enabled: &off, NotBefore: 10, Expires: 20, Tags: map[string]string{"a": "1", "b": ""}}
	m := r.createWith("k", p).Meta
	got := r.get("k", "")
	for _, m := range []key.Meta{m, got} {
		if m.Attributes.Enabled || m.Attributes.NotBefore != 10 || m.Attributes.Expires != 20 ||
			!slices.Equal(m.Ops, []key.Op{key.OpWrap, key.OpUnwrap}) || !maps.Equal(m.Tags, p.Tags) {
			t.Errorf("%+v", m)
		}
	}
	r.check()
}

func TestCreateKeyRefusals(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	tags := make(map[string]string)
	for i := range key.MaxTags + 1 {
		tags[fmt.Sprint(i)] = "x"
	}
	for name, tc := range map[string]struct {
		key  key.Name
		p    key.CreateParams
		want error
	}{
		"no name":           {"", key.CreateParams{Spec: ecSpec}, key.ErrBadParameter},
		"bad name":          {"a/b", key.CreateParams{Spec: ecSpec}, key.ErrBadParameter},
		"long name":         {key.Name(strings.Repeat("a", 128)), key.CreateParams{Spec: ecSpec}, key.ErrBadParameter},
		"no type":           {"k", key.CreateParams{}, key.ErrBadKeyType},
		"size":              {"k", key.CreateParams{Spec: key.Spec{Type: key.RSA, Bits: 1024}}, key.ErrBadParameter},
		"exponent":          {"k", key.CreateParams{Spec: key.Spec{Type: key.RSA, Exponent: 4}}, key.ErrBadParameter},
		"curve":             {"k", key.CreateParams{Spec: key.Spec{Type: key.EC, Curve: "P-192"}}, key.ErrBadParameter},
		"operation of type": {"k", key.CreateParams{Spec: ecSpec, Ops: []string{"encrypt"}}, key.ErrBadParameter},
		"unknown operation": {"k", key.CreateParams{Spec: ecSpec, Ops: []string{"fly"}}, key.ErrBadParameter},
		"operation twice":   {"k", key.CreateParams{Spec: ecSpec, Ops: []string{"sign", "Sign"}}, key.ErrBadParameter},
		"dates":             {"k", key.CreateParams{Spec: ecSpec, NotBefore: 20, Expires: 20}, key.ErrBadParameter},
		"negative date":     {"k", key.CreateParams{Spec: ecSpec, Expires: -1}, key.ErrBadParameter},
		"tags":              {"k", key.CreateParams{Spec: ecSpec, Tags: tags}, key.ErrBadParameter},
		"tag length":        {"k", key.CreateParams{Spec: ecSpec, Tags: map[string]string{"a": strings.Repeat("é", 257)}}, key.ErrBadParameter},
	} {
		_, err := r.CreateKey(t.Context(), user, tc.key, tc.p)
		wantErr(t, name, err, tc.want)
	}
	if items, _, err := r.ListKeys(t.Context(), user, "", 0); err != nil || len(items) != 0 {
		t.Errorf("refused keys exist: %v, %v", items, err)
	}
	longest := map[string]string{strings.Repeat("é", 256): strings.Repeat("é", 256)}
	r.createWith(key.Name(strings.Repeat("a", 127)), key.CreateParams{Spec: octSpec, Tags: longest})
	r.check()
}

func TestNewVersion(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	one := r.createWith("Key-One", key.CreateParams{Spec: ecSpec, Tags: map[string]string{"v": "1"}}).Meta
	r.clock.advance(time.Minute)
	two := r.createWith("KEY-one", key.CreateParams{Spec: octSpec, Tags: map[string]string{"v": "2"}}).Meta
	if two.Name != "Key-One" {
		t.Errorf("the new version is called %s; want the letter case of the first", two.Name)
	}
	if got := r.get("key-ONE", ""); got.Version != two.Version || got.Spec.Type != key.Oct || got.Tags["v"] != "2" {
		t.Errorf("current version: %+v", got)
	}
	if got := r.get("key-one", one.Version); got.Tags["v"] != "1" || got.Spec.Type != key.EC || got.Attributes.Created != one.Attributes.Created {
		t.Errorf("first version: %+v", got)
	}
	_, err := r.GetKey(t.Context(), user, "key-one", key.NewVersion())
	wantErr(t, "unknown version", err, key.ErrNotFound)
	_, err = r.GetKey(t.Context(), user, "other", one.Version)
	wantErr(t, "version of another key", err, key.ErrNotFound)
	r.restart()
	if got := r.get("key-one", ""); got.Version != two.Version {
		t.Errorf("after a restart: %+v", got)
	}
	r.check()
}

func TestUpdateKey(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	one := r.createWith("k", key.CreateParams{Spec: ecSpec, Tags: map[string]string{"a": "1"}, Expires: 4e9}).Meta
	two := r.create("k", ecSpec).Meta
	r.clock.advance(time.Hour)
	now := r.clock.Now().Unix()
	off, zero := false, int64(0)
	update := func(v key.Version, ch key.Change) key.Meta {
		t.Helper()
		b, err := r.UpdateKey(t.Context(), user, "K", v, ch)
		if err != nil {
			t.Fatal(err)
		}
		return b.Meta
	}
	m := update("", key.Change{Enabled: &off, Tags: map[string]string{"b": "2"}})
	if m.Version != two.Version || m.Attributes.Enabled || m.Tags["b"] != "2" || m.Attributes.Updated != now || m.Attributes.Created != two.Attributes.Created {
		t.Errorf("current version: %+v", m)
	}
	m = update(one.Version, key.Change{Expires: &zero, Ops: []string{"verify"}})
	if m.Version != one.Version || m.Attributes.Expires != 0 || !slices.Equal(m.Ops, []key.Op{key.OpVerify}) || m.Tags["a"] != "1" || !m.Attributes.Enabled {
		t.Errorf("old version: %+v", m)
	}
	if got := r.get("k", ""); got.Version != two.Version || got.Attributes.Enabled || got.Tags["b"] != "2" {
		t.Errorf("current version after both: %+v", got)
	}
	m = update("", key.Change{Tags: map[string]string{}})
	if len(m.Tags) != 0 {
		t.Errorf("tags were not removed: %+v", m)
	}
	for name, tc := range map[string]struct {
		name key.Name
		v    key.Version
		ch   key.Change
		want error
	}{
		"no key":     {"x", "", key.Change{}, key.ErrNotFound},
		"no version": {"k", key.NewVersion(), key.Change{}, key.ErrNotFound},
		"dates":      {"k", "", key.Change{NotBefore: ptr(int64(5)), Expires: ptr(int64(4))}, key.ErrBadParameter},
		"ops":        {"k", "", key.Change{Ops: []string{"encrypt"}}, key.ErrBadParameter},
		"tags":       {"k", "", key.Change{Tags: map[string]string{"a": strings.Repeat("x", 257)}}, key.ErrBadParameter},
	} {
		_, err := r.UpdateKey(t.Context(), user, tc.name, tc.v, tc.ch)
		wantErr(t, name, err, tc.want)
	}
	r.check()
}

func ptr[T any](v T) *T { return &v }

func TestRecoveryLevel(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		days      int
		protected bool
		want      string
	}{
		{90, false, "Recoverable+Purgeable"}, {90, true, "Recoverable"},
		{89, false, "CustomizedRecoverable+Purgeable"}, {7, true, "CustomizedRecoverable"},
	} {
		h := &HSM{cfg: Config{RetentionDays: tc.days, PurgeProtected: func() bool { return tc.protected }}}
		if b := h.bundle(key.Meta{}, nil); b.RecoveryLevel != tc.want || b.RecoverableDays != tc.days {
			t.Errorf("%d days, protected %v: %q, %d days", tc.days, tc.protected, b.RecoveryLevel, b.RecoverableDays)
		}
	}
}

func TestVersionLimit(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	for range key.MaxVersions {
		r.create("k", octSpec)
	}
	_, err := r.CreateKey(t.Context(), user, "K", key.CreateParams{Spec: octSpec})
	wantErr(t, "one version too many", err, key.ErrTooManyVersions)
	r.create("other", octSpec)
	r.check()
	r.cfg.MaxVersions = 2
	r.restart()
	r.create("other", octSpec)
	_, err = r.CreateKey(t.Context(), user, "other", key.CreateParams{Spec: octSpec})
	wantErr(t, "one more than configured", err, key.ErrTooManyVersions)
	mustSay(t, err, "key other has 2 versions")
	r.check() // k has more, from before
	r.cfg.MaxVersions = key.MaxVersions + 1
	r.restart()
	r.create("k", octSpec)
	r.check()
}

// fillWithHeads puts n heads into the store that only count: there is no version behind them.
func (r *testHSM) fillWithHeads(n int) {
	r.t.Helper()
	ctx := r.t.Context()
	v := r.view()
	for n > 0 {
		var ops []store.Op
		for ; n > 0 && len(ops) < store.MaxOps; n-- {
			name := key.Name(fmt.Sprintf("filler-%d", n))
			ops = append(ops, v.put(headName(name), stamp{}, head{Incarnation: key.NewIncarnation(), Versions: 1, Meta: key.Meta{Name: name, Version: key.NewVersion()}}))
		}
		if _, err := r.below.Txn(ctx, nil, ops); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestKeyLimit(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.fillWithHeads(key.MaxKeys - 2)
	r.create("last-but-one", octSpec)
	r.create("last", octSpec)
	_, err := r.CreateKey(ctx, user, "too-many", key.CreateParams{Spec: octSpec})
	wantErr(t, "one key too many", err, ErrLimit)
	r.create("last", octSpec) // a new version takes no room

	if _, err := r.DeleteKey(ctx, user, "last"); err != nil {
		t.Fatal(err)
	}
	_, err = r.CreateKey(ctx, user, "too-many", key.CreateParams{Spec: octSpec})
	wantErr(t, "deleted keys count", err, ErrLimit)
	if err := r.PurgeKey(ctx, officer, "last"); err != nil {
		t.Fatal(err)
	}
	r.create("in-its-place", octSpec)
	_, err = r.CreateKey(ctx, user, "too-many", key.CreateParams{Spec: octSpec})
	wantErr(t, "full again", err, ErrLimit)
}

func TestKeyLimitHoldsUnderConcurrency(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	const room = 5
	r.fillWithHeads(key.MaxKeys - room)
	var made sync.Map
	parallel(20, func(i int) {
		name := key.Name(fmt.Sprintf("k%d", i))
		if _, err := r.CreateKey(t.Context(), user, name, key.CreateParams{Spec: octSpec}); err == nil {
			made.Store(name, true)
		} else {
			wantErr(t, "beyond the limit", err, ErrLimit)
		}
	})
	n := 0
	made.Range(func(_, _ any) bool { n++; return true })
	if n > room {
		t.Errorf("%d keys were made where there was room for %d", n, room)
	}
	for i := n; i < room; i++ { // a refusal in a race may leave room, but not for long
		r.create(key.Name(fmt.Sprintf("late%d", i)), octSpec)
	}
	_, err := r.CreateKey(t.Context(), user, "too-many", key.CreateParams{Spec: octSpec})
	wantErr(t, "full", err, ErrLimit)
}

// parallel runs f for 0..n-1 at the same time and waits.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestConcurrentCreateOfOneName(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	versions := make([]key.Version, 16)
	parallel(len(versions), func(i int) {
		b, err := r.CreateKey(t.Context(), user, "k", key.CreateParams{Spec: octSpec})
		if err != nil {
			t.Error(err)
			return
		}
		versions[i] = b.Meta.Version
	})
	items, _, err := r.ListVersions(t.Context(), user, "k", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []key.Version
	for _, b := range items {
		got = append(got, b.Meta.Version)
	}
	slices.Sort(versions)
	if !slices.Equal(got, versions) {
		t.Errorf("versions %v; answered were %v", got, versions)
	}
	r.check()
}

func TestConcurrentUpdatesAreNotLost(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", ecSpec)
	for round := range 10 {
		exp := int64(4e9) + int64(round)
		changes := []key.Change{
			{Enabled: ptr(round%2 == 0)}, {Expires: &exp}, {NotBefore: ptr(int64(round + 1))},
			{Tags: map[string]string{"round": fmt.Sprint(round)}}, {Ops: []string{[]string{"sign", "verify"}[round%2]}},
		}
		parallel(len(changes)+1, func(i int) {
			var err error
			if i < len(changes) {
				_, err = r.UpdateKey(t.Context(), user, "k", "", changes[i])
			} else {
				_, err = r.CreateKey(t.Context(), user, "bystander", key.CreateParams{Spec: octSpec})
			}
			if err != nil {
				t.Error(err)
			}
		})
		m := r.get("k", "")
		if m.Attributes.Enabled != (round%2 == 0) || m.Attributes.Expires != exp || m.Attributes.NotBefore != int64(round+1) ||
			m.Tags["round"] != fmt.Sprint(round) || len(m.Ops) != 1 || string(m.Ops[0]) != []string{"sign", "verify"}[round%2] {
			t.Fatalf("round %d: %+v", round, m)
		}
	}
	r.check()
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.CreateKey(ctx, user, "k", key.CreateParams{Spec: octSpec}); err == nil {
		t.Error("a cancelled call succeeded")
	}
	r.check()
}
