package hsm

import (
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"redoubt/internal/key"
)

func TestRotateKey(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	off := false
	first := r.createWith("Key", key.CreateParams{Spec: key.Spec{Type: key.EC, Curve: key.P384}, Ops: []string{"sign"}, Enabled: &off, NotBefore: 1, Expires: 2, Tags: map[string]string{"a": "b"}}).Meta
	_, err := r.RotateKey(ctx, user, "key")
	wantErr(t, "without a policy", err, key.ErrNoRotationPolicy)
	r.policy("KEY", key.RotationPolicy{ExpiryTime: "P90D"})
	r.clock.advance(time.Hour)
	b, err := r.RotateKey(ctx, user, "kEY")
	noErr(t, err)
	now := r.clock.Now().Unix()
	m := b.Meta
	if m.Name != "Key" || m.Version == first.Version || m.Spec != first.Spec || string(m.Public.X) == string(first.Public.X) || len(m.Ops) != 1 || m.Ops[0] != key.OpSign || m.Tags["a"] != "b" {
		t.Errorf("%+v\nafter %+v", m, first)
	}
	if want := (key.Attributes{Created: now, Updated: now, Expires: now + 90*secondsPerDay}); m.Attributes != want {
		t.Errorf("attributes %+v, want %+v", m.Attributes, want)
	}
	if got := r.get("key", ""); got.Version != m.Version {
		t.Error("the new version is not the current one")
	}
	if got := r.get("key", first.Version); got.Attributes != first.Attributes {
		t.Errorf("the old version became %+v", got)
	}
	r.policy("key", key.RotationPolicy{})
	_, err = r.RotateKey(ctx, user, "key")
	wantErr(t, "policy taken away", err, key.ErrNoRotationPolicy)
	for op, err := range map[string]error{"rotate": second(r.RotateKey(ctx, user, "none")), "get": second(r.GetRotationPolicy(ctx, user, "none")),
		"set": second(r.SetRotationPolicy(ctx, user, "none", monthly))} {
		wantErr(t, op, err, key.ErrNotFound)
	}
	noErr(t, second(r.DeleteKey(ctx, user, "key")))
	wantErr(t, "deleted", second(r.RotateKey(ctx, user, "key")), key.ErrNotFound)
	r.check()
}

// A policy belongs to the name: new versions, deletion, recovery and a restart leave it as it is.
func TestPolicyStaysWithTheName(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", ecSpec)
	r.policy("k", monthly)
	r.create("k", octSpec) // another type: what is rotated next is of this one
	noErr(t, second(r.UpdateKey(ctx, user, "k", "", key.Change{Tags: map[string]string{"x": "y"}})))
	noErr(t, second(r.DeleteKey(ctx, user, "k")))
	noErr(t, second(r.RecoverKey(ctx, officer, "k")))
	r.restart()
	p, err := r.GetRotationPolicy(ctx, user, "k")
	noErr(t, err)
	if p.Policy == nil || p.Policy.Actions[0] != monthly.Actions[0] || p.Policy.ExpiryTime != "P1Y" || p.Policy.Created != r.clock.Now().Unix() {
		t.Errorf("%+v", p.Policy)
	}
	b, err := r.RotateKey(ctx, user, "k")
	noErr(t, err)
	if b.Meta.Spec.Type != key.Oct || b.Meta.Tags["x"] != "y" {
		t.Errorf("%+v", b.Meta)
	}
	noErr(t, r.rotated("k", 3))
	r.check()
}

// Keys of other types that come between reading a key and writing its next version do not mix.
func TestRotateBesideCreate(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.create("k", ecSpec)
	r.policy("k", monthly)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = r.RotateKey(t.Context(), user, "k")
			} else {
				_, err = r.CreateKey(t.Context(), user, "k", key.CreateParams{Spec: []key.Spec{ecSpec, octSpec}[i/2%2]})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	noErr(t, r.rotated("k", 9))
	r.check()
}

// What may leave the HSM, and to whom, is inherited; that the material was made elsewhere is not.
func TestRotateInheritsRelease(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.richKey("k")
	before := r.get("k", "")
	b, err := r.RotateKey(t.Context(), user, "k")
	noErr(t, err)
	m := b.Meta
	if !before.Imported || !m.Attributes.Exportable || !reflect.DeepEqual(m.Release, before.Release) || m.Imported || !slices.Equal(m.Ops, before.Ops) {
		t.Errorf("%+v\nafter %+v", m, before)
	}
	r.check()
}
