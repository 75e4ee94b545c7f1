package hsm

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"redoubt/internal/blob/blobtest"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

// fill gives an active device some of everything: users, keys with versions, tags and dates, a disabled and
// a soft-deleted one, a role of its own, assignments at all scopes, a setting.
func (r *testHSM) fill(prefix string) {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	put := func(scope rbac.Scope, principal string, role rbac.DefinitionID) {
		must[rbac.Assignment](t)(r.PutAssignment(ctx, admin, scope, newGUID(), principal, role))
	}
	put(rbac.ScopeRoot, userID, rbac.CryptoUser)
	put(rbac.ScopeRoot, officerID, rbac.CryptoOfficer)
	put(rbac.ScopeRoot, backupID, rbac.BackupOperator)
	put(rbac.ScopeRoot, backupID, rbac.RestoreOperator)
	put(rbac.ScopeKeys, auditorID, rbac.CryptoAuditor)
	create := func(name string, p key.CreateParams) Bundle {
		return must[Bundle](t)(r.CreateKey(ctx, user, key.Name(prefix+name), p))
	}
	ec := key.Spec{Type: key.EC, Curve: key.P256}
	create("Sign-EC", key.CreateParams{Spec: ec, Tags: map[string]string{"purpose": "signing", "ö": "ü"}})
	create("sign-ec", key.CreateParams{Spec: ec})
	create("sign-ec", key.CreateParams{Spec: key.Spec{Type: key.EC, Curve: key.P384}, Expires: 2_000_000_000})
	create("wrap-oct", key.CreateParams{Spec: key.Spec{Type: key.Oct, Bits: 256}, NotBefore: 1_700_000_000})
	off := false
	create("disabled", key.CreateParams{Spec: ec, Enabled: &off})
	create("deleted", key.CreateParams{Spec: ec})
	create("deleted", key.CreateParams{Spec: ec})
	must[Bundle](t)(r.DeleteKey(ctx, user, key.Name(prefix+"deleted")))
	put(rbac.KeyScope(key.Name(prefix+"Sign-EC")), strangerID, rbac.CryptoUser)
	must[rbac.Definition](t)(r.PutDefinition(ctx, admin, rbac.ScopeRoot, rbac.Definition{ID: rbac.DefinitionID(newGUID()), Name: prefix + "role", DataActions: []string{rbac.KeysSign.String()}}))
}

// site is a source HSM with its security domain and one full backup, made once and then only read: what
// is left of it after its loss.
type site struct {
	file      []byte // security domain
	blob      []byte // restore blob for sharedExchangeKey
	domainID  string
	folder    string
	objects   map[string][]byte
	inventory map[string]string
}

// sourceSite makes a site once. wide is how many role assignments it has beside what fill gives it: with
// many, reading and staging take several pages and transactions.
type sourceSite struct {
	wide int
	once sync.Once
	made *site
}

var smallSite, wideSite = &sourceSite{}, &sourceSite{wide: 3 * backupPage / 2}

func (ss *sourceSite) get(t testing.TB) *site {
	t.Helper()
	ss.once.Do(func() {
		r, file := newActiveDR(t)
		r.fill("src-")
		r.widen(ss.wide)
		doc := r.succeed(r.StartBackup(t.Context(), admin, sasTarget(backupURI)))
		ss.made = &site{file: file, blob: restoreBlob(t, file, sharedExchangeKey().Certificate()), domainID: r.dev().DomainID,
			folder: doc.Folder, objects: r.container(backupURI).Objects(), inventory: r.inventory()}
	})
	if ss.made == nil {
		t.Fatal("the source HSM could not be made")
	}
	return ss.made
}

func getSite(t testing.TB) *site { t.Helper(); return smallSite.get(t) }

// widen adds n role assignments.
func (r *testHSM) widen(n int) {
	r.t.Helper()
	d, rev, root, err := r.current(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	v := &view{h: r.HSM, dev: d, rev: rev, root: root}
	w := newStager(r.HSM)
	defer w.wait()
	for range n {
		a := rbac.Assignment{ID: newGUID(), Scope: rbac.ScopeKeys, Principal: newGUID(), Definition: rbac.CryptoAuditor}
		if err := w.add(r.t.Context(), v.putAssignment(a)); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// recovered is a new HSM with the site's security domain, the site's backup in its container and, when
// point is set, content and a restore point of its own (in otherURI).
func (s *site) recovered(t testing.TB, point bool, options ...func(*testHSM)) *testHSM {
	t.Helper()
	r := recoveringHSM(t, options...)
	must[DomainStatus](t)(r.UploadDomain(t.Context(), admin, s.blob))
	s.mount(r)
	if point {
		r.clock.advance(time.Hour)
		r.fill("dst-")
		r.succeed(r.StartBackup(t.Context(), admin, sasTarget(otherURI)))
	}
	return r
}

// mount puts a copy of the site's backup into the container at backupURI.
func (s *site) mount(r *testHSM) *blobtest.Mem {
	r.t.Helper()
	c := r.container(backupURI)
	for name, b := range s.objects {
		if err := c.Put(r.t.Context(), name, bytes.Clone(b)); err != nil {
			r.t.Fatal(err)
		}
	}
	return c
}
