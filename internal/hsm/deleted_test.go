package hsm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"redoubt/internal/key"
	"redoubt/internal/store"
)

func TestDeleteRecover(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	old := r.createWith("Kept", key.CreateParams{Spec: ecSpec, Tags: map[string]string{"a": "1"}}).Meta
	before := r.create("kept", ecSpec).Meta
	now := r.clock.Now().Unix()

	b, err := r.DeleteKey(ctx, user, "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	want := key.Deletion{DeletedAt: now, PurgeAt: now + 90*24*60*60}
	if b.Meta.Version != before.Version || b.Deletion == nil || *b.Deletion != want {
		t.Errorf("deleted: %+v, %+v", b, b.Deletion)
	}
	for what, err := range map[string]error{
		"get":           second(r.GetKey(ctx, user, "kept", "")),
		"get a version": second(r.GetKey(ctx, user, "kept", old.Version)),
		"update":        second(r.UpdateKey(ctx, user, "kept", "", key.Change{})),
		"delete":        second(r.DeleteKey(ctx, user, "kept")),
		"versions":      third(r.ListVersions(ctx, user, "kept", "", 0)),
	} {
		wantErr(t, what, err, key.ErrNotFound)
	}
	_, err = r.CreateKey(ctx, user, "kept", key.CreateParams{Spec: octSpec})
	wantErr(t, "create over a deleted key", err, key.ErrDeleted)
	if err != nil && !strings.Contains(err.Error(), "az keyvault key recover --hsm-name ContosoMHSM --name kept") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	r.check()
	r.restart()

	if b, err = r.GetDeletedKey(ctx, auditor, "kept"); err != nil || b.Meta.Name != "Kept" || b.Deletion == nil || *b.Deletion != want {
		t.Errorf("get deleted: %+v, %v", b, err)
	}
	if b, err = r.RecoverKey(ctx, officer, "Kept"); err != nil || b.Deletion != nil || b.Meta.Version != before.Version {
		t.Errorf("recover: %+v, %v", b, err)
	}
	if m := r.get("kept", ""); m.Version != before.Version || m.Attributes != before.Attributes {
		t.Errorf("after recovery: %+v", m)
	}
	if m := r.get("kept", old.Version); m.Tags["a"] != "1" {
		t.Errorf("old version after recovery: %+v", m)
	}
	_, err = r.GetDeletedKey(ctx, auditor, "kept")
	wantErr(t, "get deleted after recovery", err, key.ErrDeletedNotFound)
	_, err = r.RecoverKey(ctx, officer, "kept")
	wantErr(t, "recover twice", err, key.ErrDeletedNotFound)
	wantErr(t, "purge a live key", r.PurgeKey(ctx, officer, "kept"), key.ErrDeletedNotFound)
	r.check()
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

func TestPurgeAndRecreate(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	old := r.create("k", ecSpec).Meta
	for range 79 { // more records than one transaction may hold
		r.create("k", octSpec)
	}
	noErr(t, second(r.DeleteKey(ctx, user, "k")))
	noErr(t, r.PurgeKey(ctx, officer, "K"))
	if n := len(r.contentNames("v/")) + len(r.contentNames("m/")); n != 0 {
		t.Errorf("%d records are left of a purged key", n)
	}
	wantErr(t, "purge twice", r.PurgeKey(ctx, officer, "k"), key.ErrDeletedNotFound)
	_, err := r.GetDeletedKey(ctx, officer, "k")
	wantErr(t, "get deleted", err, key.ErrDeletedNotFound)

	again := r.create("K", ecSpec).Meta
	if again.Name != "K" || again.Version == old.Version {
		t.Errorf("created again: %+v", again)
	}
	_, err = r.GetKey(ctx, user, "k", old.Version)
	wantErr(t, "a version of the former life", err, key.ErrNotFound)
	_, err = r.Sign(ctx, user, "k", old.Version, "ES256", make([]byte, 32))
	wantErr(t, "sign with a version of the former life", err, key.ErrNotFound)
	r.check()
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contentNames lists the logical names under a prefix in the current generation.
func (r *testHSM) contentNames(prefix string) []string {
	r.t.Helper()
	var out []string
	v := r.view()
	noErr(r.t, v.scan(r.t.Context(), prefix, func(logical string, _ store.KV) (bool, error) {
		out = append(out, logical)
		return true, nil
	}))
	return out
}

func TestPurgeProtection(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", ecSpec)
	noErr(t, second(r.DeleteKey(ctx, user, "k")))
	r.protectPurge(true)
	wantErr(t, "purge", r.PurgeKey(ctx, officer, "k"), key.ErrPurgeProtected)
	r.clock.advance(90*24*time.Hour - time.Second)
	wantErr(t, "purge a second too early", r.PurgeKey(ctx, officer, "k"), key.ErrPurgeProtected)
	r.clock.advance(time.Second)
	noErr(t, r.PurgeKey(ctx, officer, "k"))
	r.check()
}

// A sweep that a crash interrupted goes on, touches only the generation the key was purged from, and does
// nothing once its note is gone.
func TestSweepKey(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", ecSpec)
	r.create("k", octSpec)
	r.create("other", octSpec)
	hd, _, err := r.view().loadHead(ctx, "k")
	noErr(t, err)
	inc := hd.Incarnation

	noErr(t, r.sweepKey(ctx, inc))
	if n := len(r.contentNames("v/" + string(inc))); n != 2 {
		t.Fatalf("without a note a sweep left %d of 2 versions", n)
	}
	put := func(gen string) {
		_, err := r.below.Txn(ctx, nil, []store.Op{store.Put(r.sweepKeyKey(inc), []byte(gen))})
		noErr(t, err)
	}
	put("another-generation")
	noErr(t, r.sweepKey(ctx, inc))
	if n := len(r.contentNames("v/" + string(inc))); n != 2 {
		t.Fatalf("the sweep of another generation left %d of 2 versions", n)
	}
	r.check()

	noErr(t, second(r.DeleteKey(ctx, user, "k")))
	_, err = r.below.Txn(ctx, nil, []store.Op{store.Delete(r.view().contentKey(deletedName("k")))})
	noErr(t, err)
	put(r.view().dev.Generation)
	r.check() // versions without a head, but noted
	noErr(t, r.sweepKey(ctx, inc))
	noErr(t, r.sweepKey(ctx, inc))
	if left := append(r.contentNames("v/"+string(inc)), r.contentNames("m/"+string(inc))...); len(left) != 0 {
		t.Errorf("left after the sweep: %v", left)
	}
	if _, _, err := r.below.Get(ctx, r.sweepKeyKey(inc)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the note is still there: %v", err)
	}
	r.check()
}

func TestPurgeWhileSigning(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	for range 5 {
		r.create("k", ecSpec)
		parallel(5, func(i int) {
			if i == 0 {
				wantErr(t, "delete", second(r.DeleteKey(ctx, user, "k")), nil)
				wantErr(t, "purge", r.PurgeKey(ctx, officer, "k"), nil)
				return
			}
			for {
				_, err := r.Sign(ctx, user, "k", "", "ES256", make([]byte, 32))
				if err == nil {
					continue
				}
				wantErr(t, "sign while the key goes", err, key.ErrNotFound)
				return
			}
		})
		r.check()
	}
}
