package hsm

import (
	"context"
	"strings"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store/mem"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	want := Setting{Name: "AllowKeyManagementOperationsThroughARM", Value: "false", Type: "boolean"}
	if all, err := r.ListSettings(ctx, auditor); err != nil || len(all) != 4 || all[0] != want {
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
	r.stop()
	var said []string
	for _, e := range r.auditLog() {
		if e.Operation == "SettingUpdate" && e.Result == "Success" {
			said = append(said, e.Details["setting"]+" "+e.Details["from"]+" "+e.Details["to"])
		}
	}
	if len(said) != 1 || said[0] != SettingARMKeys+" false true" {
		t.Errorf("on record: %q", said)
	}
}

// Letters that Unicode's simple folding takes for those of a name lead to the same setting.
func TestSettingByFoldedName(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	folded := strings.Replace(SettingRSA15, "S", "\u017f", 1)
	must[Setting](t)(r.UpdateSetting(ctx, admin, SettingRSA15, "false"))
	if st, err := r.GetSetting(ctx, admin, folded); err != nil || st.Value != "false" {
		t.Errorf("%+v, %v", st, err)
	}
	must[Setting](t)(r.UpdateSetting(ctx, admin, folded, "true"))
	if st, err := r.GetSetting(ctx, admin, SettingRSA15); err != nil || st.Value != "true" {
		t.Errorf("%+v, %v", st, err)
	}
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

// TestForbiddenAlgorithms: a setting closes an algorithm for both directions and no other one, names itself and
// the command, and is looked up by the algorithms it governs only.
func TestForbiddenAlgorithms(t *testing.T) {
	t.Parallel()
	below := &countingStore{Store: mem.New()}
	r := newTestHSMOn(t, below)
	r.testOnlyActivate()
	ctx := t.Context()
	r.create("rsa", rsaSpec)
	r.create("oct", octSpec)
	block := key.CipherInput{Value: make([]byte, 16), IV: make([]byte, 16)}
	plain := key.CipherInput{Value: make([]byte, 16)}
	type doing func(context.Context, Caller, key.Name, key.Version, key.Algorithm, key.CipherInput) (Result, error)
	for _, tc := range []struct {
		setting string
		name    key.Name
		algs    []key.Algorithm
		in      key.CipherInput
		free    key.Algorithm
		does    [][2]doing // forth and back
	}{
		{SettingRSA15, "rsa", []key.Algorithm{"RSA1_5"}, plain, "RSA-OAEP", [][2]doing{{r.Encrypt, r.Decrypt}, {r.Wrap, r.Unwrap}}},
		{SettingOAEPSHA1, "rsa", []key.Algorithm{"RSA-OAEP"}, plain, "RSA-OAEP-256", [][2]doing{{r.Encrypt, r.Decrypt}, {r.Wrap, r.Unwrap}}},
		{SettingAESCBC, "oct", []key.Algorithm{"A256CBC", "A256CBCPAD"}, block, "CKM_AES_KEY_WRAP", [][2]doing{{r.Encrypt, r.Decrypt}}},
	} {
		for _, alg := range tc.algs {
			for _, d := range tc.does {
				made, err := d[0](ctx, user, tc.name, "", alg, tc.in)
				noErr(t, err)
				back := key.CipherInput{Value: made.Value, IV: made.IV}
				noErr(t, second(d[1](ctx, user, tc.name, "", alg, back)))
				noErr(t, second(r.UpdateSetting(ctx, admin, tc.setting, "false")))
				for _, err := range []error{second(d[0](ctx, user, tc.name, "", alg, tc.in)), second(d[1](ctx, user, tc.name, "", alg, back))} {
					wantErr(t, string(alg), err, ErrAlgorithmForbidden)
					for _, says := range []string{string(alg), "--name " + tc.setting, "--hsm-name " + r.Name(), "--value true", string(governs[alg].instead)} {
						if !strings.Contains(err.Error(), says) {
							t.Errorf("%s: %q does not say %q", alg, err, says)
						}
					}
				}
				gets := below.gets.Load()
				noErr(t, second(d[0](ctx, user, tc.name, "", tc.free, plain)))
				if n := below.gets.Load() - gets; n > 2 && governs[tc.free].setting == "" {
					t.Errorf("%s reads %d records; the device and the head do", tc.free, n)
				}
				noErr(t, second(r.UpdateSetting(ctx, admin, tc.setting, "true")))
				noErr(t, second(d[1](ctx, user, tc.name, "", alg, back)))
			}
		}
	}
	wantErr(t, "an algorithm of another key type", second(r.Encrypt(ctx, user, "oct", "", "RSA1_5", plain)), key.ErrBadAlgorithm)
	for _, spec := range []key.Spec{{Type: key.RSA, Bits: 2048}, {Type: key.Oct, Bits: 128}, {Type: key.Oct, Bits: 192}, {Type: key.Oct, Bits: 256}} {
		for _, alg := range append(key.Allowed(spec, key.UseEncrypt), key.Allowed(spec, key.UseWrap)...) {
			a := string(alg)
			dangerous := a == "RSA1_5" || a == "RSA-OAEP" || strings.Contains(a, "CBC")
			if g, governed := governs[alg]; governed != dangerous || governed && g.instead.Check(spec, key.UseEncrypt, 0) != nil {
				t.Errorf("%s is governed: %v", alg, g)
			}
		}
	}
	r.check()
}

// TestForbiddenAlgorithmsAreRestored: what an HSM forbids, it forbids after a restore.
func TestForbiddenAlgorithmsAreRestored(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	ctx := t.Context()
	r.fill("")
	r.create("oct", octSpec)
	in := key.CipherInput{Value: make([]byte, 16), IV: make([]byte, 16)}
	noErr(t, second(r.UpdateSetting(ctx, admin, SettingAESCBC, "false")))
	doc := r.succeed(r.StartBackup(ctx, admin, sasTarget(backupURI)))
	noErr(t, second(r.UpdateSetting(ctx, admin, SettingAESCBC, "true")))
	noErr(t, second(r.Encrypt(ctx, user, "oct", "", "A256CBC", in)))
	r.clock.advance(time.Second)
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	wantErr(t, "after the restore", second(r.Encrypt(ctx, user, "oct", "", "A256CBC", in)), ErrAlgorithmForbidden)
	noErr(t, second(r.Encrypt(ctx, user, "oct", "", "A256GCM", key.CipherInput{Value: in.Value})))
	r.sound()
}
