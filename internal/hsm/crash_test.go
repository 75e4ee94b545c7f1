package hsm

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
	"redoubt/internal/store/storetest"
)

// crashCase is one mutation with the two states a crash may leave: the one before, which is compared
// record by record, and the one after, which done recognises.
type crashCase struct {
	op      Operation
	entry   string // of the audit log; empty: op's
	prepare func(r *testHSM)
	do      func(r *testHSM) error
	done    func(r *testHSM) error // nil when the mutation has taken place
}

const crashAssignment = "abcdefab-0000-4000-8000-000000000001"

var crashCases = map[string]crashCase{
	"create": {OpKeyCreate, "", func(*testHSM) {},
		func(r *testHSM) error {
			return second(r.CreateKey(r.t.Context(), user, "new", key.CreateParams{Spec: ecSpec}))
		},
		func(r *testHSM) error {
			return second(r.Sign(r.t.Context(), user, "new", "", "ES256", make([]byte, 32)))
		}},
	"new version": {OpKeyCreate, "", func(*testHSM) {},
		func(r *testHSM) error {
			return second(r.CreateKey(r.t.Context(), user, "k", key.CreateParams{Spec: ecSpec}))
		},
		func(r *testHSM) error {
			items, _, err := r.ListVersions(r.t.Context(), user, "k", "", 0)
			if err == nil && len(items) != 3 {
				err = fmt.Errorf("%d versions", len(items))
			}
			return err
		}},
	"import": {OpKeyImport, "", func(*testHSM) {},
		func(r *testHSM) error {
			p := ImportParams{Material: KeyMaterial{Type: key.Oct, K: NewSecret(make([]byte, 32))}}
			return second(r.ImportKey(r.t.Context(), user, "imported", p))
		},
		func(r *testHSM) error {
			return second(r.Wrap(r.t.Context(), user, "imported", "", "A256KW", key.CipherInput{Value: make([]byte, 16)}))
		}},
	"update": {OpKeyUpdate, "", func(*testHSM) {},
		func(r *testHSM) error {
			return second(r.UpdateKey(r.t.Context(), user, "k", "", key.Change{Enabled: ptr(false)}))
		},
		func(r *testHSM) error {
			if r.get("k", "").Attributes.Enabled {
				return errors.New("still enabled")
			}
			return nil
		}},
	"delete": {OpKeyDelete, "", func(*testHSM) {},
		func(r *testHSM) error { return second(r.DeleteKey(r.t.Context(), user, "k")) },
		func(r *testHSM) error { return second(r.GetDeletedKey(r.t.Context(), auditor, "k")) }},
	"recover": {OpKeyRecover, "", func(*testHSM) {},
		func(r *testHSM) error { return second(r.RecoverKey(r.t.Context(), officer, "gone")) },
		func(r *testHSM) error { return second(r.GetKey(r.t.Context(), user, "gone", "")) }},
	"purge": {OpKeyPurge, "",
		func(r *testHSM) {
			for range 40 { // so that sweeping takes several transactions
				r.create("gone2", octSpec)
			}
			noErr(r.t, second(r.DeleteKey(r.t.Context(), user, "gone2")))
		},
		func(r *testHSM) error { return r.PurgeKey(r.t.Context(), officer, "gone2") },
		func(r *testHSM) error {
			if _, err := r.GetDeletedKey(r.t.Context(), auditor, "gone2"); !errors.Is(err, key.ErrDeletedNotFound) {
				return fmt.Errorf("not purged: %v", err)
			}
			r.create("gone2", octSpec)
			if n := len(r.contentNames("v/")); n != 4 {
				return fmt.Errorf("%d versions are left in all", n)
			}
			return nil
		}},
	"restore a key": {OpKeyRestore, "", // whose last write is the one that counts
		func(r *testHSM) {
			for range 40 { // so that staging takes several transactions
				r.create("back", octSpec)
			}
			r.saved = must[[]byte](r.t)(r.BackupKey(r.t.Context(), user, "back"))
			noErr(r.t, second(r.DeleteKey(r.t.Context(), user, "back")))
			noErr(r.t, r.PurgeKey(r.t.Context(), officer, "back"))
		},
		func(r *testHSM) error { return second(r.RestoreKey(r.t.Context(), user, r.saved)) },
		func(r *testHSM) error {
			if n := len(r.contentNames("v/")); n != 3+40 {
				return fmt.Errorf("%d versions are there in all", n)
			}
			return second(r.Wrap(r.t.Context(), user, "back", "", "A256KW", key.CipherInput{Value: make([]byte, 16)}))
		}},
	"policy": {OpRotationPolicySet, "", func(*testHSM) {},
		func(r *testHSM) error { return second(r.SetRotationPolicy(r.t.Context(), user, "k", monthly)) },
		func(r *testHSM) error {
			p, err := r.GetRotationPolicy(r.t.Context(), user, "k")
			if err == nil && p.Policy == nil {
				err = errors.New("no policy")
			}
			return err
		}},
	"rotate": {OpKeyRotate, "", func(r *testHSM) { r.policy("k", monthly) },
		func(r *testHSM) error { return second(r.RotateKey(r.t.Context(), user, "k")) },
		func(r *testHSM) error { return r.rotated("k", 3) }},
	"rotation that is due": {OpKeyRotate, entryRotateIfDue,
		func(r *testHSM) {
			r.policy("k", monthly)
			r.clock.advance(400 * 24 * time.Hour) // more than one rotation was missed, and one retention ended
			r.tend()
			r.clock.advance(31 * 24 * time.Hour)
		},
		(*testHSM).tendOnce,
		func(r *testHSM) error { r.tend(); return r.rotated("k", 4) }},
	"scheduled purge": {OpKeyPurge, "",
		func(r *testHSM) { r.clock.advance(90 * 24 * time.Hour) },
		(*testHSM).tendOnce,
		func(r *testHSM) error {
			if _, err := r.GetDeletedKey(r.t.Context(), auditor, "gone"); !errors.Is(err, key.ErrDeletedNotFound) {
				return fmt.Errorf("not purged: %v", err)
			}
			r.create("gone", octSpec)
			return nil
		}},
	"assign": {OpRoleAssignmentCreate, "", func(*testHSM) {},
		func(r *testHSM) error {
			return second(r.PutAssignment(r.t.Context(), admin, rbac.ScopeRoot, crashAssignment, strangerID, rbac.CryptoUser))
		},
		func(r *testHSM) error { return second(r.GetKey(r.t.Context(), stranger, "k", "")) }},
	"unassign": {OpRoleAssignmentDelete, "",
		func(r *testHSM) {
			noErr(r.t, second(r.PutAssignment(r.t.Context(), admin, rbac.ScopeRoot, crashAssignment, strangerID, rbac.CryptoUser)))
		},
		func(r *testHSM) error {
			return second(r.DeleteAssignment(r.t.Context(), admin, rbac.ScopeRoot, crashAssignment))
		},
		func(r *testHSM) error {
			if _, err := r.GetKey(r.t.Context(), stranger, "k", ""); !errors.Is(err, rbac.ErrDenied) {
				return fmt.Errorf("still assigned: %v", err)
			}
			return nil
		}},
	"define": {OpRoleDefinitionCreate, "", func(*testHSM) {},
		func(r *testHSM) error {
			return second(r.PutDefinition(r.t.Context(), admin, rbac.ScopeRoot, rbac.Definition{ID: crashAssignment, Name: "x"}))
		},
		func(r *testHSM) error {
			return second(r.GetDefinition(r.t.Context(), admin, rbac.ScopeRoot, crashAssignment))
		}},
	"undefine": {OpRoleDefinitionDelete, "",
		func(r *testHSM) {
			noErr(r.t, second(r.PutDefinition(r.t.Context(), admin, rbac.ScopeRoot, rbac.Definition{ID: crashAssignment, Name: "x"})))
		},
		func(r *testHSM) error {
			return second(r.DeleteDefinition(r.t.Context(), admin, rbac.ScopeRoot, crashAssignment))
		},
		func(r *testHSM) error {
			if _, err := r.GetDefinition(r.t.Context(), admin, rbac.ScopeRoot, crashAssignment); !errors.Is(err, rbac.ErrDefinitionNotFound) {
				return fmt.Errorf("still there: %v", err)
			}
			return nil
		}},
	"setting": {OpSettingUpdate, "", func(*testHSM) {},
		func(r *testHSM) error { return second(r.UpdateSetting(r.t.Context(), admin, SettingARMKeys, "true")) },
		func(r *testHSM) error {
			st, err := r.GetSetting(r.t.Context(), admin, SettingARMKeys)
			if err == nil && st.Value != "true" {
				err = errors.New("still false")
			}
			return err
		}},
}

// crashReady is a device with some content and nothing left to do.
func crashReady(t testing.TB, tc crashCase) *testHSM {
	t.Helper()
	r := newTestHSM(t)
	r.create("k", ecSpec)
	r.create("k", ecSpec)
	r.create("gone", octSpec)
	noErr(t, second(r.DeleteKey(t.Context(), user, "gone")))
	tc.prepare(r)
	r.restart() // the sequencer has written what there was
	return r
}

// A crash at any write of any mutation leaves the state before or the state after. What was acknowledged
// is there after a restart, and the audit log has the entry if and only if the change took place.
func TestCrashAtEveryWrite(t *testing.T) {
	t.Parallel()
	for name, tc := range crashCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := crashReady(t, tc)
			start := r.faults.Writes()
			noErr(t, tc.do(r))
			noErr(t, tc.done(r))
			r.stop()
			writes := r.faults.Writes() - start
			for n := 1; n <= writes; n++ {
				for _, fault := range []storetest.Fault{storetest.Lost, storetest.Stored} {
					crash(t, tc, n, fault)
				}
			}
		})
	}
}

func crash(t *testing.T, tc crashCase, n int, fault storetest.Fault) {
	t.Helper()
	at := fmt.Sprintf("write %d %s", n, fault)
	r := crashReady(t, tc)
	before := r.contents()
	r.faults.FailAt(n, fault)
	acknowledged := tc.do(r)
	if acknowledged != nil {
		wantErr(t, at, acknowledged, ErrUnavailable)
	}
	r.restart()
	r.check()
	same := maps.Equal(before, r.contents())
	switch {
	case same && acknowledged == nil:
		t.Errorf("%s: acknowledged and lost", at)
	case same && n == 1 && tc.op != OpKeyRestore && fault == storetest.Stored:
		t.Errorf("%s: the stored change is not there", at)
	case !same:
		if err := tc.done(r); err != nil {
			t.Errorf("%s: neither before nor after: %v", at, err)
		}
		r.check()
	}
	r.stop()
	entries, name := 0, cmp.Or(tc.entry, tc.op.String())
	for _, e := range r.auditLog() {
		if e.Operation == name && e.Result == "Success" {
			entries++
		}
	}
	if want := r.baseline(tc) + map[bool]int{true: 0, false: 1}[same]; entries != want {
		t.Errorf("%s: %d entries of %s; want %d", at, entries, name, want)
	}
}

// baseline is how many entries of the operation preparing (and recognising the end of a purge) leaves.
func (r *testHSM) baseline(tc crashCase) int {
	if tc.op == OpKeyCreate {
		return 3
	}
	if tc.op == OpKeyDelete || tc.entry != "" {
		return 1
	}
	return 0
}

// contents is every content record, opened.
func (r *testHSM) contents() map[string]string {
	r.t.Helper()
	out := make(map[string]string)
	v := r.view()
	noErr(r.t, v.scan(r.t.Context(), "", func(logical string, kv store.KV) (bool, error) {
		_, plain, err := v.unseal(logical, kv)
		out[logical] = string(plain)
		return true, err
	}))
	return out
}

// A full disk refuses changes and nothing else; with room again all goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, tc := range crashCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := crashReady(t, tc)
			before := r.contents()
			r.faults.FailAt(1, storetest.Full)
			wantErr(t, "with a full disk", tc.do(r), store.ErrFull)
			if !maps.Equal(before, r.contents()) {
				t.Error("the refused change shows")
			}
			noErr(t, second(r.Sign(t.Context(), user, "k", "", "ES256", make([]byte, 32))))
			r.check()
			r.faults.Revive()
			noErr(t, tc.do(r))
			noErr(t, tc.done(r))
			r.check()
		})
	}
}
