package hsm

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/rbac"
)

// TestDisasterIsInvisible: a random life of keys gives the same answers when, anywhere in it, the HSM is
// backed up, destroyed, recovered on a new one from its security domain by a quorum, and restored. The
// model of the key life knows nothing of disasters, so any answer that differs fails.
func TestDisasterIsInvisible(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r, file := newActiveDR(t)
		giveRoles(r)
		l := newLifecycle(r)
		defer func() { l.r.stop() }()
		before := rapid.IntRange(0, 1).Draw(rt, "disasters on the way") // each costs more than all the rest
		actions := l.actions()
		delete(actions, "restart")
		actions["disaster"] = func(rt *rapid.T) {
			if before--; before >= 0 {
				l.disaster(rt, file)
			}
		}
		rt.Repeat(actions)
		l.disaster(rt, file)
		l.agree(rt)
		l.r.sound()
	})
}

// giveRoles gives the people of the tests the roles that testOnlyActivate gives them.
func giveRoles(r *testHSM) {
	r.t.Helper()
	for id, def := range map[string]rbac.DefinitionID{userID: rbac.CryptoUser, officerID: rbac.CryptoOfficer, auditor.ID: rbac.CryptoAuditor} {
		must[rbac.Assignment](r.t)(r.PutAssignment(r.t.Context(), admin, rbac.ScopeRoot, newGUID(), id, def))
	}
}

// disaster loses the HSM after a backup and goes on with the one that is rebuilt.
func (l *lifecycle) disaster(rt *rapid.T, file []byte) {
	lost := l.r
	ctx := lost.t.Context()
	doc := lost.succeed(lost.StartBackup(ctx, admin, sasTarget(backupURI)))
	objects := lost.container(backupURI).Objects()
	if rapid.Bool().Draw(rt, "write after the backup") { // lost with the HSM: the recovery point
		must[rbac.Assignment](lost.t)(lost.PutAssignment(ctx, admin, rbac.ScopeKeys, newGUID(), strangerID, rbac.CryptoUser))
	}
	lost.stop()
	if err := Destroy(ctx, lost.cfg); err != nil {
		rt.Fatal(err)
	}
	r := recoveringHSM(lost.t)
	r.clock.advance(lost.clock.Now().Sub(r.clock.Now()) + time.Minute)
	must[DomainStatus](r.t)(r.UploadDomain(ctx, admin, restoreBlob(r.t, file, sharedExchangeKey().Certificate())))
	for name, b := range objects {
		if err := r.container(backupURI).Put(ctx, name, bytes.Clone(b)); err != nil {
			rt.Fatal(err)
		}
	}
	r.succeed(r.StartBackup(ctx, admin, sasTarget(otherURI)))
	r.succeed(r.StartRestore(ctx, admin, sasTarget(backupURI), doc.Folder))
	if as := must[[]rbac.Assignment](r.t)(r.ListAssignments(ctx, admin, rbac.ScopeKeys, AssignmentFilter{Principal: strangerID})); len(as) != 0 {
		rt.Fatalf("an assignment made after the backup came back: %+v", as)
	}
	l.r = r
}
