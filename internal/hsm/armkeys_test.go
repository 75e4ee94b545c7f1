package hsm

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
)

// owner has rights in the control plane and no role on the device.
var owner = stranger

var (
	ecParams = key.CreateParams{Spec: ecSpec}
	noPolicy key.RotationPolicy
)

func (r *testHSM) allowARM(value string) {
	r.t.Helper()
	noErr(r.t, second(r.UpdateSetting(r.t.Context(), admin, SettingARMKeys, value)))
}

// armDeeds are all that the control plane can ask for.
func armDeeds(r *testHSM, who Caller) map[string]error {
	ctx := r.t.Context()
	return map[string]error{
		"create": second(r.ARMCreateKey(ctx, who, "k", ecParams, noPolicy)), "get": second(r.ARMGetKey(ctx, who, "k", "")),
		"list": third(r.ARMListKeys(ctx, who, "", 0)), "versions": third(r.ARMListVersions(ctx, who, "k", "", 0)),
	}
}

// TestARMNeedsTheSetting: while it is off, nobody comes to keys by way of the control plane, not even who has every
// role; while it is on, nobody needs a role for it, and it gives no role for anything else.
func TestARMNeedsTheSetting(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	for _, who := range []Caller{owner, admin, user} {
		for what, err := range armDeeds(r, who) {
			wantErr(t, what, err, ErrARMKeys)
			if !strings.Contains(err.Error(), "enable the setting 'AllowKeyManagementOperationsThroughARM'") || !strings.Contains(err.Error(), "az keyvault setting update --hsm-name "+r.Name()) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	r.allowARM("true")
	for what, err := range armDeeds(r, owner) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for op, do := range deeds {
		wantErr(t, op.String(), do(t.Context(), r, owner), rbac.ErrDenied)
	}
	r.allowARM("false")
	for what, err := range armDeeds(r, owner) {
		wantErr(t, what+" after it was switched off", err, ErrARMKeys)
	}
	r.stop()
	denied, through := 0, 0
	for _, e := range r.auditLog() {
		if e.Details["through"] != "ARM" {
			continue
		}
		through++
		if e.Result != "Success" {
			denied++
		}
		if e.Principal == "" || e.Operation != "KeyCreate" && e.Operation != "KeyGet" && e.Operation != "KeyList" && e.Operation != "KeyListVersions" {
			t.Errorf("%+v", e)
		}
	}
	if through != 5*4 || denied != 4*4 {
		t.Errorf("%d entries, %d of them refusals", through, denied)
	}
}

// TestARMCreatesOnlyWhatIsAbsent: an existing key stays as it is, whatever is asked for.
func TestARMCreatesOnlyWhatIsAbsent(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.allowARM("true")
	ctx := t.Context()
	yearly := key.RotationPolicy{ExpiryTime: "P1Y", Actions: []key.LifetimeAction{{Action: "rotate", AfterCreate: "P6M"}}}
	made, err := r.ARMCreateKey(ctx, owner, "Made", key.CreateParams{Spec: ecSpec, Tags: map[string]string{"a": "b"}}, yearly)
	noErr(t, err)
	if made.Rotation == nil || made.Rotation.ExpiryTime != "P1Y" || made.Rotation.Created != r.clock.Now().Unix() || made.Meta.Tags["a"] != "b" {
		t.Errorf("made: %+v", made)
	}
	if p, err := r.GetRotationPolicy(ctx, user, "made"); err != nil || p.Policy == nil || p.Policy.Actions[0].AfterCreate != "P6M" {
		t.Errorf("its policy: %+v, %v", p, err)
	}
	r.clock.advance(time.Hour)
	other := key.CreateParams{Spec: octSpec, Tags: map[string]string{"c": "d"}, Expires: 1}
	for _, again := range []key.CreateParams{other, {}, {Spec: key.Spec{Type: "odd"}}} {
		got, err := r.ARMCreateKey(ctx, owner, "MADE", again, noPolicy)
		if err != nil || got.Meta.Version != made.Meta.Version || got.Meta.Spec != made.Meta.Spec || got.Meta.Tags["c"] != "" || got.Rotation == nil {
			t.Errorf("again: %+v, %v", got, err)
		}
	}
	if items, _, err := r.ListVersions(ctx, user, "made", "", 0); err != nil || len(items) != 1 {
		t.Errorf("%d versions, %v", len(items), err)
	}
	if b, err := r.GetKey(ctx, user, "made", ""); err != nil || b.Meta.Attributes.Updated != made.Meta.Attributes.Updated {
		t.Errorf("it was changed: %+v, %v", b, err)
	}
	for name, bad := range map[string]func() error{
		"no type": func() error { return second(r.ARMCreateKey(ctx, owner, "bad", key.CreateParams{}, noPolicy)) },
		"no name": func() error { return second(r.ARMCreateKey(ctx, owner, "", ecParams, noPolicy)) },
		"bad dates": func() error {
			return second(r.ARMCreateKey(ctx, owner, "bad", key.CreateParams{Spec: ecSpec, NotBefore: 2, Expires: 1}, noPolicy))
		},
		"notify": func() error {
			return second(r.ARMCreateKey(ctx, owner, "bad", ecParams, key.RotationPolicy{ExpiryTime: "P1Y", Actions: []key.LifetimeAction{{Action: "notify", BeforeExpiry: "P30D"}}}))
		},
	} {
		if err := bad(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	_, err = r.ARMGetKey(ctx, owner, "bad", "")
	wantErr(t, "what was refused", err, key.ErrNotFound)
	noErr(t, second(r.DeleteKey(ctx, user, "made")))
	_, err = r.ARMCreateKey(ctx, owner, "made", ecParams, noPolicy)
	wantErr(t, "a deleted name", err, key.ErrDeleted)
	r.check()
}

// TestARMCreatesOnce: of many who make the same key at once, one does; all get that one.
func TestARMCreatesOnce(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.allowARM("true")
	versions := make([]key.Version, 8)
	var wg sync.WaitGroup
	for i := range versions {
		wg.Go(func() {
			k, err := r.ARMCreateKey(t.Context(), owner, "k", ecParams, noPolicy)
			if err != nil {
				t.Error(err)
			}
			versions[i] = k.Meta.Version
		})
	}
	wg.Wait()
	for _, v := range versions {
		if v != versions[0] || v == "" {
			t.Errorf("versions %q", versions)
			break
		}
	}
	if items, _, err := r.ListVersions(t.Context(), user, "k", "", 0); err != nil || len(items) != 1 {
		t.Errorf("%d versions, %v", len(items), err)
	}
	r.check()
}

// TestARMIsSwitchedOffAtOnce: a creation that is under way when the setting is switched off does not come through.
func TestARMIsSwitchedOffAtOnce(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	var once sync.Once
	r.cfg.MakeKey = func(_ context.Context, spec key.Spec) (material.Key, error) {
		once.Do(func() { r.allowARM("false") })
		return material.Generate(spec)
	}
	r.restart()
	r.allowARM("true")
	_, err := r.ARMCreateKey(ctx, owner, "late", ecParams, noPolicy)
	wantErr(t, "create", err, ErrARMKeys)
	_, err = r.GetKey(ctx, user, "late", "")
	wantErr(t, "what it left", err, key.ErrNotFound)
	r.check()
}

// TestARMInEveryState: what the state forbids is told as to anybody else.
func TestARMInEveryState(t *testing.T) {
	t.Parallel()
	r := newDR(t)
	for what, err := range armDeeds(r, owner) {
		wantErr(t, what, err, ErrNotActivated)
	}
}

// TestARMOfABarredCaller: network rules count before anything else.
func TestARMOfABarredCaller(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	r.allowARM("true")
	who, barred := owner, errors.New("kept out")
	who.Barred = barred
	for what, err := range armDeeds(r, who) {
		wantErr(t, what, err, barred)
	}
	wantErr(t, "turned away", r.TurnAway(t.Context(), who, OpKeyGet), barred)
}

// TestARMSettingIsRestored: whether the control plane may manage keys comes back with everything else.
func TestARMSettingIsRestored(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	ctx := t.Context()
	r.fill("")
	r.allowARM("true")
	doc := r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI)))
	r.allowARM("false")
	wantErr(t, "before the restore", second(r.ARMGetKey(ctx, owner, "rsa", "")), ErrARMKeys)
	r.clock.advance(time.Second)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	if _, _, err := r.ARMListKeys(ctx, owner, "", 0); err != nil {
		t.Errorf("after the restore: %v", err)
	}
	st, err := r.GetSetting(ctx, admin, SettingARMKeys)
	if err != nil || st.Value != "true" {
		t.Errorf("the setting: %+v, %v", st, err)
	}
	r.sound()
}
