package hsm

import (
	"errors"
	"strings"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
)

// only is the part of an inventory that belongs to one key.
func only(t testing.TB, inventory map[string]string, name key.Name, inc key.IncarnationID) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for logical, v := range inventory {
		if logical == headName(name) || logical == deletedName(name) || incarnationOf(logical) == inc {
			out[logical] = v
		}
	}
	return out
}

// incarnation is that of a live key.
func (r *testHSM) incarnation(name key.Name) key.IncarnationID {
	r.t.Helper()
	d, rev, root, err := r.current(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	v := &view{h: r.HSM, dev: d, rev: rev, root: root}
	hd, _, err := v.loadHead(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return hd.Incarnation
}

func TestSelectiveRestore(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	r := s.recovered(t, false)
	ctx := t.Context()
	r.fill("dst-")
	before := r.inventory()
	// No restore point is needed: nothing is destroyed. The name may come in any letter case.
	doc := r.succeed(r.StartSelectiveRestore(ctx, operator, "SRC-SIGN-ec", sasTarget(backupURI), s.folder))
	mustSay(t, errors.New(doc.Details), "src-Sign-EC", "3 versions", "ContosoMHSM", "2026-01-02T03:04:05Z")
	inc := r.incarnation("src-sign-ec")
	sameInventory(t, only(t, r.inventory(), "src-sign-ec", inc), only(t, s.inventory, "src-sign-ec", inc))
	after := r.inventory()
	for name := range only(t, after, "src-sign-ec", inc) {
		delete(after, name)
	}
	sameInventory(t, after, before)
	r.sound()
	if j := must[Job](t)(r.RestoreStatus(ctx, operator, doc.ID)); j.Status != JobSucceeded || j.Kind != KindSelectiveRestore {
		t.Errorf("job: %+v", j)
	}
	must[Result](t)(r.Sign(ctx, user, "src-sign-ec", "", "ES384", make([]byte, 48)))

	refused := func(what string, want error, words ...string) {
		t.Helper()
		_, err := r.StartSelectiveRestore(ctx, admin, "src-Sign-EC", sasTarget(backupURI), s.folder)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		mustSay(t, err, words...)
		r.sound()
	}
	refused("live", key.ErrExists, "purge it first", "az keyvault key delete --hsm-name ContosoMHSM")
	must[Bundle](t)(r.DeleteKey(ctx, user, "src-sign-ec"))
	refused("deleted", key.ErrDeleted, "az keyvault key purge --hsm-name ContosoMHSM")
	if err := r.PurgeKey(ctx, officer, "src-sign-ec"); err != nil {
		t.Fatal(err)
	}
	r.sound()
	r.succeed(r.StartSelectiveRestore(ctx, admin, "src-Sign-EC", sasTarget(backupURI), s.folder))
	sameInventory(t, only(t, r.inventory(), "src-sign-ec", inc), only(t, s.inventory, "src-sign-ec", inc))
	r.sound()

	j, err := r.StartSelectiveRestore(ctx, admin, "nowhere", sasTarget(backupURI), s.folder)
	r.fail(j, err, "KeyNotFound", "nowhere", s.folder)
	j, err = r.StartSelectiveRestore(ctx, admin, "src-deleted", sasTarget(backupURI), s.folder)
	r.fail(j, err, "KeyNotFound", "soft-deleted in this backup", "full restore")
	if _, err := r.StartSelectiveRestore(ctx, admin, "a/b", sasTarget(backupURI), s.folder); !errors.Is(err, key.ErrBadParameter) {
		t.Errorf("bad name: %v", err)
	}
	if _, err := r.StartSelectiveRestore(ctx, user, "src-wrap-oct", sasTarget(backupURI), s.folder); !errors.Is(err, rbac.ErrDenied) {
		t.Errorf("by a user: %v", err)
	}
	r.sound()
	r.restart()
	r.sound()
}

// TestSelectiveRestoreRace: someone creates the key while it is being restored. Theirs stays.
func TestSelectiveRestoreRace(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	var b *blocked
	r := s.recovered(t, false, withBlocked(&b))
	ctx := t.Context()
	r.fill("dst-")
	for _, early := range []bool{true, false} {
		j := must[Job](t)(r.StartSelectiveRestore(ctx, admin, "src-wrap-oct", sasTarget(blockedURI), s.folder))
		<-b.entered // the manifest
		if !early {
			b.release <- struct{}{}
			<-b.entered // the block, for checking it
			b.release <- struct{}{}
			<-b.entered // the block, for staging: the name was looked at before
		}
		must[Bundle](t)(r.CreateKey(ctx, user, "SRC-wrap-oct", key.CreateParams{Spec: key.Spec{Type: key.Oct}}))
		before := r.inventory()
		old := b.release
		fresh := newBlocked(b.Container)
		close(old)
		r.fail(j, nil, "Conflict", "src-wrap-oct")
		sameInventory(t, r.inventory(), before)
		r.sound()
		*b = *fresh
		must[Bundle](t)(r.DeleteKey(ctx, user, "src-wrap-oct"))
		if err := r.PurgeKey(ctx, officer, "src-wrap-oct"); err != nil {
			t.Fatal(err)
		}
	}
	close(b.release)
	r.succeed(r.StartSelectiveRestore(ctx, admin, "src-wrap-oct", sasTarget(blockedURI), s.folder))
	r.sound()
}

func TestCheckLogical(t *testing.T) {
	t.Parallel()
	id, guid := strings.Repeat("0a", 16), "11111111-1111-4111-8111-111111111111"
	for _, good := range []string{"h/abc", "d/a-1", "v/" + id + "/" + id, "m/" + id + "/" + id, "ra/" + guid, "rd/" + guid, "st/allowkey"} {
		if err := checkLogical(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "h", "h/", "h/ABC", "h/a/b", "h/a.b", "d/../x", "v/" + id, "v/" + id + "/", "v/" + id + "/" + id + "/x", "m/x/" + id,
		"m/" + strings.ToUpper(id) + "/" + id, "ra/x", "ra/" + strings.ToUpper("a1111111-1111-4111-8111-111111111111"), "st/A", "st/a/b", "l/xk", "dev", "g/" + id + "/h/a", "x/y", "h/" + strings.Repeat("a", 128)} {
		if err := checkLogical(bad); !errors.Is(err, errBadArchive) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzArchiveRecord: whatever an archive holds, its check neither panics nor lets a name through that would
// leave the generation.
func FuzzArchiveRecord(f *testing.F) {
	root := seal.NewRoot(1)
	id := strings.Repeat("0a", 16)
	f.Add("h/abc", []byte(`{"incarnation":"`+id+`","versions":1,"meta":{"name":"abc"}}`))
	f.Add("m/"+id+"/"+id, []byte("x"))
	f.Add("ra/11111111-1111-4111-8111-111111111111", []byte(`{"id":"11111111-1111-4111-8111-111111111111"}`))
	f.Add("../dev", []byte("{}"))
	f.Fuzz(func(t *testing.T, logical string, plain []byte) {
		a := &archive{root: root, keys: make(map[key.IncarnationID]*archivedKey)}
		kind, ok := kindOf(logical)
		if !ok {
			kind = seal.KindHead
		}
		if logical == "" {
			return
		}
		sealed := root.Seal(seal.Ref{Kind: kind, Name: logical, Version: 1}, plain)
		err := a.take(record(logical, sealed))
		if err == nil && (strings.Contains(logical, "..") || strings.Count(logical, "/") > 2 || !ok) {
			t.Errorf("took %q", logical)
		}
		if err != nil && !errors.Is(err, errBadArchive) {
			t.Error(err)
		}
	})
}
