package dataplane_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/rbac"
)

var update = flag.Bool("update", false, "write docs/matrix.md anew")

// surprise is a cell of the matrix that a reader may not expect, with the reason why it is so.
type surprise struct {
	route string
	state hsm.State
	role  rbac.DefinitionID // empty: a stranger
	scope string
	key   keyState
	want  answer
	why   string
}

// surprises are reviewed by hand. That each is so is what TestMatrix asks the server, and TestMatrixPage the tables.
var surprises = []surprise{
	{"GET /keys/{key-name}/{key-version}", hsm.Active, rbac.Administrator, "/", enabled, accessDenied, "An Administrator runs the HSM and cannot see its keys; it can give itself a role that can, which is audited."},
	{"POST /keys/{key-name}/create", hsm.Active, rbac.CryptoOfficer, "/", absent, accessDenied, "A Crypto Officer gives roles, recovers and purges; it makes no keys."},
	{"POST /deletedkeys/{key-name}/recover", hsm.Active, rbac.CryptoUser, "/", deleted, accessDenied, "Who deletes a key cannot bring it back, nor see it any more, nor purge it: that takes an officer."},
	{"POST /keys/{key-name}/backup", hsm.Active, rbac.BackupOperator, "/", enabled, ok, "The backup role backs up a key that it cannot even read; the file opens under the security domain only."},
	{"GET /keys/{key-name}/{key-version}", hsm.Active, rbac.BackupOperator, "/", enabled, accessDenied, "See above."},
	{"POST /keys/{key-name}/create", hsm.Active, rbac.CryptoUser, "/keys/{key}", absent, ok, "A role on a name is there before the key: it may make the key of that name."},
	{"GET /keys", hsm.Active, rbac.CryptoUser, "/keys/{key}", enabled, accessDenied, "A list shows all names, so a role on one key is not enough for it."},
	{"POST /keys/restore", hsm.Active, rbac.CryptoUser, "/keys/{key}", absent, accessDenied, "Whose key a backup is shows only inside, so restoring one needs the role at /keys."},
	{"POST /rng", hsm.Active, rbac.CryptoUser, "/keys", enabled, accessDenied, "Random bytes belong to the HSM, not to its keys."},
	{"POST /keys/{key-name}/{key-version}/decrypt", hsm.Active, rbac.CryptoUser, "/", notYet, ok, "Outside its dates a key still decrypts, unwraps and verifies, before them as well as after."},
	{"POST /keys/{key-name}/{key-version}/verify", hsm.Active, rbac.CryptoUser, "/", disabled, answer{403, "Forbidden", "KeyDisabled"}, "A disabled key does nothing at all, not even that."},
	{"POST /keys/{key-name}/rotate", hsm.Active, rbac.CryptoUser, "/", disabled, ok, "Disabling forbids use, not administration: a disabled key is read, changed, backed up, rotated by hand and deleted."},
	{"POST /keys/{key-name}/{key-version}/sign", hsm.Active, rbac.CryptoUser, "/", wrongType, badParameter, "An algorithm of another type of key is a wrong parameter, if the key may do the operation;"},
	{"POST /keys/{key-name}/{key-version}/wrapkey", hsm.Active, rbac.CryptoUser, "/", wrongType, answer{403, "Forbidden", "KeyOperationForbidden"}, "otherwise key_ops decide first."},
	{"GET /keys/{key-name}/{key-version}", hsm.Active, rbac.CryptoUser, "/", deleted, keyNotFound, "A soft-deleted key is not there, but for whoever may see deleted ones;"},
	{"PUT /keys/{key-name}", hsm.Active, rbac.CryptoUser, "/", deleted, keyIsDeleted, "its name is taken all the same."},
	{"POST /keys/{key-name}/create", hsm.Provisioned, rbac.CryptoAuditor, "/", enabled, answer{403, "Forbidden", "NotActivated"}, "Whoever has any role learns of the state first, even of an operation they could never do: before activation no role would help."},
	{"POST /keys/{key-name}/create", hsm.Provisioned, "", "", enabled, accessDenied, "A stranger learns nothing, not even whether the HSM is activated."},
	{"GET /securitydomain/upload", hsm.Active, rbac.CryptoServiceReleaseUser, "/keys/other", enabled, answer{409, "Conflict", "AlreadyActivated"}, "The same: that it is activated, not that the caller may not."},
	{"PUT /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", hsm.Active, rbac.PolicyAdministrator, "/", enabled, answer{201, "", ""}, "Whoever assigns roles may assign any, to itself too: a Policy Administrator is one audited step from everything,"},
	{"PUT /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", hsm.Active, rbac.CryptoOfficer, "/", enabled, answer{201, "", ""}, "and so is a Crypto Officer,"},
	{"PUT /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", hsm.Active, rbac.CryptoOfficer, "/keys/{key}", enabled, accessDenied, "but one of a single key assigns at that key only."},
	{"PATCH /settings/{setting-name}", hsm.Active, rbac.PolicyAdministrator, "/", enabled, accessDenied, "Settings are changed by Administrators alone;"},
	{"GET /settings", hsm.Active, rbac.CryptoUser, "/", enabled, ok, "whoever sees roles sees them."},
	{"POST /prebackup", hsm.Active, rbac.BackupOperator, "/", enabled, answer{400, "BadRequest", ""}, "The check before a backup is for who may take it (the sample's address is refused),"},
	{"PUT /prerestore", hsm.Active, rbac.BackupOperator, "/", enabled, accessDenied, "that before a restore for who may restore: it reads the whole backup, which who takes backups may not."},
	{"POST /prebackup", hsm.Restoring, rbac.Administrator, "/", enabled, answer{403, "Forbidden", "RestoreInProgress"}, "Nor can anything be checked while a restore runs."},
	{"POST /securitydomain/download", hsm.Active, rbac.Administrator, "/", enabled, answer{202, "", ""}, "The security domain can be downloaded again: the same root under new certificates, with a loud audit entry."},
	{"GET /keys/{key-name}/{key-version}", hsm.Restoring, rbac.CryptoUser, "/", enabled, answer{403, "Forbidden", "RestoreInProgress"}, "While a full restore replaces the content nothing is served from it;"},
	{"GET /restore/{jobId}/pending", hsm.Restoring, rbac.RestoreOperator, "/", enabled, notFound, "only polls are answered (this one names no job)."},
	{"GET /keys/{key-name}/{key-version}", hsm.Sealed, "", "", enabled, answer{503, "ServiceUnavailable", "Sealed"}, "Roles are sealed as well, so a sealed HSM cannot tell who asks: everybody is told."},
	{"GET /keys/{key-name}/{key-version}", gone, "", "", enabled, answer{404, "ResourceNotFound", ""}, "A deleted HSM has no address."},
}

// page is docs/matrix.md.
func page(t *testing.T) []byte {
	t.Helper()
	rows, all := sortedSamples(t)
	b := &bytes.Buffer{}
	fmt.Fprint(b, `# Who is answered what, when

What the data plane answers, computed from the operation table (`+"`internal/hsm/operation.go`"+`), the built-in roles
(`+"`internal/rbac/role.go`"+`) and the samples of `+"`internal/api/dataplane/matrix_samples_test.go`"+`. TestMatrix asks a real server all
of it: every operation in every state of the device, by every role at every kind of scope and by a stranger, and
operations about keys in every state of a key. `+"`go test ./internal/api/dataplane -run TestMatrixPage -update`"+` writes this page.

## Surprises

Reviewed by hand: what a reader may not expect, and why it is so.

| Operation | Who | HSM | Key | Answer | Why |
|---|---|---|---|---|---|
`)
	for _, s := range surprises {
		on := "-"
		if all[s.route].aboutKeys() && s.state == hsm.Active {
			on = string(s.key)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s |\n", s.route, s.principal(t), s.state, on, s.want, s.why)
	}
	statesTable(b, rows)
	rolesTable(t, b, rows, all)
	keysTable(b, rows, all)
	return b.Bytes()
}

func (s surprise) principal(t *testing.T) principal {
	t.Helper()
	i := slices.IndexFunc(matrixPrincipals(), func(p principal) bool { return p.role.ID == s.role && p.scope == s.scope })
	if i < 0 {
		t.Fatalf("nobody has role %q at %q", s.role, s.scope)
	}
	return matrixPrincipals()[i]
}

// statesTable shows where an operation is allowed, and what somebody with any role is told elsewhere.
func statesTable(b *bytes.Buffer, rows []hsm.Row) {
	fmt.Fprint(b, `
## Operations and states of the HSM

*yes*: allowed, to whoever has the action. Otherwise whoever has any role at all gets the answer shown, and a stranger 403 AccessDenied.
Sealed answers 503 ServiceUnavailable/Sealed, Degraded 503 ServiceUnavailable and a deleted HSM 404 ResourceNotFound, to everybody.

| Operation | Provisioned | Recovering | Active | Restoring |
|---|---|---|---|---|
`)
	for _, row := range rows {
		fmt.Fprintf(b, "| `%s` |", row.Route)
		for _, st := range []hsm.State{hsm.Provisioned, hsm.Recovering, hsm.Active, hsm.Restoring} {
			cell := "yes"
			if !slices.Contains(row.States, st) {
				cell = notAllowed[st].String()
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		fmt.Fprintln(b)
	}
}

// rolesTable shows at which scopes a role admits to an operation.
func rolesTable(t *testing.T, b *bytes.Buffer, rows []hsm.Row, all map[string]sample) {
	t.Helper()
	fmt.Fprint(b, `
## Operations and roles

At which scopes the role is enough, in a state that allows the operation: **/** the whole HSM, **k** also `+"`/keys`"+`, **n** also the key's own name.
All others get 403 AccessDenied.

| Operation |`)
	for _, r := range rbac.BuiltIns() {
		fmt.Fprintf(b, " %s |", strings.TrimPrefix(r.Name, "Managed HSM "))
	}
	fmt.Fprint(b, "\n|---|"+strings.Repeat("---|", len(rbac.BuiltIns()))+"\n")
	for _, row := range rows {
		fmt.Fprintf(b, "| `%s` |", row.Route)
		for _, r := range rbac.BuiltIns() {
			cell := ""
			for i, scope := range matrixScopes {
				if (principal{"", r, scope}).may(t, row.Action, all[row.Route].scope) {
					cell += []string{"/", " k", " n", " other keys"}[i]
				}
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		fmt.Fprintln(b)
	}
}

// keysTable shows what somebody who is admitted gets for a key in each state.
func keysTable(b *bytes.Buffer, rows []hsm.Row, all map[string]sample) {
	fmt.Fprint(b, `
## Operations and states of a key

By somebody who may, on an Active HSM. *Wrong key_ops*: the key may do nothing. *Wrong type*: an EC-HSM key that may sign and verify,
asked for an algorithm of oct-HSM keys.

| Operation |`)
	for _, k := range keyStates {
		fmt.Fprintf(b, " %s |", k)
	}
	fmt.Fprint(b, "\n|---|"+strings.Repeat("---|", len(keyStates))+"\n")
	for _, row := range rows {
		s := all[row.Route]
		if !s.aboutKeys() {
			continue
		}
		fmt.Fprintf(b, "| `%s` |", row.Route)
		for _, k := range keyStates {
			fmt.Fprintf(b, " %s |", s.want(hsm.Active, k))
		}
		fmt.Fprintln(b)
	}
}

// TestMatrixPage: the page shows the tables as they are, and the surprises are what the tables say.
func TestMatrixPage(t *testing.T) {
	t.Parallel()
	_, all := sortedSamples(t)
	for _, s := range surprises {
		i := slices.IndexFunc(hsm.Table(), func(r hsm.Row) bool { return r.Route == s.route })
		if i < 0 {
			t.Errorf("%s is no operation", s.route)
			continue
		}
		if got := expect(t, hsm.Table()[i], all[s.route], s.state, s.principal(t), s.key); got != s.want {
			t.Errorf("%s, %s, by %s, key %s: the tables say %s; %q expects %s", s.route, s.state, s.principal(t), s.key, got, s.why, s.want)
		}
	}
	const file = "../../../docs/matrix.md"
	want := page(t)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/matrix.md is stale: go test ./internal/api/dataplane -run TestMatrixPage -update; then look at what changed")
	}
}
