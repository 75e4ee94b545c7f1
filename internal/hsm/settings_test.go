package hsm

import (
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	want := Setting{Name: "AllowKeyManagementOperationsThroughARM", Value: "false", Type: "boolean"}
	if all, err := r.ListSettings(ctx, auditor); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("list: %v, %v", all, err)
	}
	want.Value = "true"
	if st, err := r.UpdateSetting(ctx, admin, "allowkeymanagementoperationsTHROUGHARM", "true"); err != nil || st != want {
		t.Errorf("update: %+v, %v", st, err)
	}
	r.restart()
	if st, err := r.GetSetting(ctx, auditor, SettingARMKeys); err != nil || st != want {
		t.Errorf("get after a restart: %+v, %v", st, err)
	}
	for _, v := range []string{"True", "TRUE", "1", "", " true"} {
		_, err := r.UpdateSetting(ctx, admin, SettingARMKeys, v)
		wantErr(t, "value "+v, err, ErrBadRequest)
	}
	_, err := r.GetSetting(ctx, admin, "Other")
	wantErr(t, "get another", err, ErrSettingNotFound)
	_, err = r.UpdateSetting(ctx, admin, "", "true")
	wantErr(t, "update another", err, ErrSettingNotFound)
	_, err = r.UpdateSetting(ctx, user, SettingARMKeys, "false")
	wantErr(t, "without the right", err, rbac.ErrDenied)
	r.check()
}

func TestRandomBytes(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	seen := make(map[string]bool)
	for _, n := range []int{16, 128, 128, 77} {
		b, err := r.RandomBytes(t.Context(), user, n)
		if err != nil || len(b) != n || seen[string(b)] {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
		seen[string(b)] = true
	}
	noErr(t, second(r.RandomBytes(t.Context(), user, 1)))
	for _, n := range []int{0, -1, 129, 1 << 30} {
		_, err := r.RandomBytes(t.Context(), user, n)
		wantErr(t, "count", err, key.ErrBadParameter)
	}
}
