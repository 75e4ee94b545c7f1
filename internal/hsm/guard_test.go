package hsm

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/audit"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// parsePackage reads the package's own files, without tests.
func parsePackage(t *testing.T) (*token.FileSet, []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	noErr(t, err)
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		noErr(t, err)
		files = append(files, f)
	}
	return fset, files
}

// An exported method that takes a Caller must begin with the guard and defer its end, or hand all its work
// to one method that does. Nothing but looking up who owns a job may come before the guard.
func TestEveryOperationBeginsWithTheGuard(t *testing.T) {
	t.Parallel()
	fset, files := parsePackage(t)
	methods := make(map[string]*ast.FuncDecl)
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && isMethodOfHSM(fn) {
				methods[fn.Name.Name] = fn
			}
		}
	}
	checked := 0
	for name, fn := range methods {
		if !fn.Name.IsExported() || !takesCaller(fn) {
			continue
		}
		checked++
		for to := delegate(fn); to != "" && methods[to] != nil; to = delegate(fn) {
			fn = methods[to]
		}
		if why := guarded(fn); why != "" {
			t.Errorf("%s: %s %s", fset.Position(fn.Pos()), name, why)
		}
	}
	if checked < int(operationEnd)-2 {
		t.Errorf("only %d operations were found; the table has %d", checked, operationEnd-1)
	}
}

func isMethodOfHSM(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || fn.Body == nil {
		return false
	}
	star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	id, ok := star.X.(*ast.Ident)
	return ok && id.Name == "HSM"
}

func takesCaller(fn *ast.FuncDecl) bool {
	for _, p := range fn.Type.Params.List {
		if id, ok := p.Type.(*ast.Ident); ok && id.Name == "Caller" {
			return true
		}
	}
	return false
}

// delegate names the method of the device to which fn hands its work, when it does nothing else.
func delegate(fn *ast.FuncDecl) string {
	if len(fn.Body.List) != 1 {
		return ""
	}
	ret, ok := fn.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(ret.Results) != 1 {
		return ""
	}
	return methodCalled(ret.Results[0])
}

func methodCalled(e ast.Expr) string {
	c, ok := e.(*ast.CallExpr)
	if !ok {
		return ""
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	return sel.Sel.Name
}

// guarded says what is wrong with how fn begins, or "".
func guarded(fn *ast.FuncDecl) string {
	body := fn.Body.List
	at := 0
	for ; at < len(body); at++ {
		if name := assignedCall(body[at]); name == "begin" {
			break
		} else if name == "beginOwned" || name == "beginRepeated" || name == "beginARM" {
			return after(fn, body[at+1:])
		}
		if fn.Name.Name != "jobStatus" { // looks up who started the job, for beginOwned
			return "does not begin with h.begin"
		}
	}
	if at == len(body) {
		return "never calls h.begin"
	}
	return after(fn, body[at+1:])
}

// after checks the two statements behind the guard, and that the result named err is what end reads.
func after(fn *ast.FuncDecl, rest []ast.Stmt) string {
	if len(rest) < 2 {
		return "ends right after h.begin"
	}
	if _, ok := rest[0].(*ast.IfStmt); !ok {
		return "does not look at the guard's error first"
	}
	d, ok := rest[1].(*ast.DeferStmt)
	if !ok || methodCalled(d.Call) != "end" {
		return "does not defer c.end(&err) right after the guard"
	}
	results := fn.Type.Results.List
	last := results[len(results)-1]
	if len(last.Names) == 0 || last.Names[len(last.Names)-1].Name != "err" {
		return "does not name its error err, which c.end reads"
	}
	return ""
}

// assignedCall names the method called by a statement of the form x, y := h.method(...).
func assignedCall(s ast.Stmt) string {
	a, ok := s.(*ast.AssignStmt)
	if !ok || len(a.Rhs) != 1 {
		return ""
	}
	return methodCalled(a.Rhs[0])
}

func TestTableIsComplete(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for op := Operation(1); op < operationEnd; op++ {
		row := op.row()
		if row.Name == "" || row.Action == 0 || len(row.States) == 0 || row.Route == "" || row.Since == "" {
			t.Errorf("operation %d: incomplete row %+v", op, row)
		}
		if names[row.Name] {
			t.Errorf("%s stands twice in the table", row.Name)
		}
		names[row.Name] = true
		if _, err := rbac.ParseAction(row.Action.String()); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
		for _, s := range row.States {
			if s == Sealed || s == Degraded || s == Deleted {
				t.Errorf("%s is allowed in state %s, in which nothing can work", row.Name, s)
			}
		}
	}
	if len(Table()) != len(names) {
		t.Errorf("Table has %d rows, there are %d operations", len(Table()), len(names))
	}
}

// deeds does each operation of keys, roles and settings once, on a device that has key "k", the deleted
// key "gone" and the key "victim". A deed may fail on its own account; whether it was admitted shows.
var deeds = map[Operation]func(ctx context.Context, r *testHSM, who Caller) error{
	OpKeyCreate: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.CreateKey(ctx, who, "k", key.CreateParams{Spec: octSpec}))
	},
	OpKeyGet: func(ctx context.Context, r *testHSM, who Caller) error { return second(r.GetKey(ctx, who, "k", "")) },
	OpKeyUpdate: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.UpdateKey(ctx, who, "k", "", key.Change{}))
	},
	OpKeyList: func(ctx context.Context, r *testHSM, who Caller) error { return third(r.ListKeys(ctx, who, "", 0)) },
	OpKeyListVersions: func(ctx context.Context, r *testHSM, who Caller) error {
		return third(r.ListVersions(ctx, who, "k", "", 0))
	},
	OpKeyDelete: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.DeleteKey(ctx, who, "victim"))
	},
	OpKeyGetDeleted: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.GetDeletedKey(ctx, who, "gone"))
	},
	OpKeyListDeleted: func(ctx context.Context, r *testHSM, who Caller) error { return third(r.ListDeleted(ctx, who, "", 0)) },
	OpKeyRecover:     func(ctx context.Context, r *testHSM, who Caller) error { return second(r.RecoverKey(ctx, who, "gone")) },
	OpKeyPurge:       func(ctx context.Context, r *testHSM, who Caller) error { return r.PurgeKey(ctx, who, "gone") },
	OpKeyImport: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.ImportKey(ctx, who, "k", ImportParams{}))
	},
	OpKeyBackup: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.BackupKey(ctx, who, "k"))
	},
	OpKeyRestore: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.RestoreKey(ctx, who, []byte("no backup")))
	},
	OpKeySign: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.Sign(ctx, who, "k", "", "HS256", []byte("x")))
	},
	OpKeyVerify: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.Verify(ctx, who, "k", "", "HS256", []byte("x"), nil))
	},
	OpKeyEncrypt: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.Encrypt(ctx, who, "k", "", "A256GCM", key.CipherInput{}))
	},
	OpKeyDecrypt: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.Decrypt(ctx, who, "k", "", "A256GCM", key.CipherInput{}))
	},
	OpKeyWrap: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.Wrap(ctx, who, "k", "", "A256KW", key.CipherInput{}))
	},
	OpKeyUnwrap: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.Unwrap(ctx, who, "k", "", "A256KW", key.CipherInput{}))
	},
	OpKeyRotate: func(ctx context.Context, r *testHSM, who Caller) error { return second(r.RotateKey(ctx, who, "k")) },
	OpRotationPolicyGet: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.GetRotationPolicy(ctx, who, "k"))
	},
	OpRotationPolicySet: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.SetRotationPolicy(ctx, who, "k", key.RotationPolicy{ExpiryTime: "P1Y"}))
	},
	OpRandomBytes: func(ctx context.Context, r *testHSM, who Caller) error { return second(r.RandomBytes(ctx, who, 1)) },
	OpRoleAssignmentCreate: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.PutAssignment(ctx, who, rbac.ScopeRoot, newGUID(), newGUID(), rbac.CryptoServiceReleaseUser))
	},
	OpRoleAssignmentGet: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.GetAssignment(ctx, who, rbac.ScopeRoot, newGUID()))
	},
	OpRoleAssignmentDelete: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.DeleteAssignment(ctx, who, rbac.ScopeRoot, newGUID()))
	},
	OpRoleAssignmentList: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.ListAssignments(ctx, who, rbac.ScopeRoot, AssignmentFilter{}))
	},
	OpRoleDefinitionCreate: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.PutDefinition(ctx, who, rbac.ScopeRoot, rbac.Definition{ID: rbac.DefinitionID(newGUID())}))
	},
	OpRoleDefinitionGet: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.GetDefinition(ctx, who, rbac.ScopeRoot, rbac.Administrator))
	},
	OpRoleDefinitionDelete: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.DeleteDefinition(ctx, who, rbac.ScopeRoot, rbac.DefinitionID(newGUID())))
	},
	OpRoleDefinitionList: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.ListDefinitions(ctx, who, rbac.ScopeRoot))
	},
	OpSettingGet: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.GetSetting(ctx, who, SettingARMKeys))
	},
	OpSettingList: func(ctx context.Context, r *testHSM, who Caller) error { return second(r.ListSettings(ctx, who)) },
	OpSettingUpdate: func(ctx context.Context, r *testHSM, who Caller) error {
		return second(r.UpdateSetting(ctx, who, SettingARMKeys, "true"))
	},
}

// Every operation, in every state, by everyone: the answer must be what the tables say.
func TestWhoMayDoWhatWhen(t *testing.T) {
	t.Parallel()
	people := map[string]struct {
		who   Caller
		roles []rbac.DefinitionID
	}{
		"administrator": {admin, []rbac.DefinitionID{rbac.Administrator}}, "user": {user, []rbac.DefinitionID{rbac.CryptoUser}},
		"officer": {officer, []rbac.DefinitionID{rbac.CryptoOfficer}}, "auditor": {auditor, []rbac.DefinitionID{rbac.CryptoAuditor}},
		"operator": {operator, []rbac.DefinitionID{rbac.BackupOperator, rbac.RestoreOperator}}, "stranger": {stranger, nil}, "nobody": {Caller{}, nil},
	}
	for state, refusal := range map[State]error{Provisioned: ErrNotActivated, Recovering: ErrNotActivated, Active: nil, Restoring: ErrRestoring} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			for name, p := range people {
				r := newTestHSM(t)
				r.createWith("k", key.CreateParams{Spec: octSpec, Ops: []string{"sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey"}})
				r.create("victim", octSpec)
				r.create("gone", octSpec)
				noErr(t, second(r.DeleteKey(t.Context(), user, "gone")))
				r.setState(state)
				var granted rbac.Set
				for _, id := range p.roles {
					d, _ := rbac.BuiltIn(id)
					g, err := d.Grants()
					noErr(t, err)
					granted |= g
				}
				denied := 0
				for op, do := range allDeeds() {
					err := do(t.Context(), r, p.who)
					switch row := op.row(); {
					case granted != 0 && !row.allowedIn(state): // whoever has a role learns of the state first
						wantErr(t, name+": "+op.String(), err, refusal)
					case !granted.Has(row.Action):
						denied++
						wantErr(t, name+": "+op.String(), err, rbac.ErrDenied)
					case errors.Is(err, rbac.ErrDenied) || errors.Is(err, ErrNotActivated) || errors.Is(err, ErrRestoring):
						t.Errorf("%s: %s: %v; want it admitted", name, op, err)
					}
				}
				r.setState(Active)
				if state == Active {
					r.check()
				}
				r.stop()
				n := 0
				for _, e := range r.auditLog() {
					if e.Result == "Denied" && e.Principal == p.who.ID {
						n++
					}
				}
				if n != denied {
					t.Errorf("%s: %d refusals are in the audit log; want %d", name, n, denied)
				}
			}
		})
	}
}

// setState puts the device into a state, without what leads there.
func (r *testHSM) setState(s State) {
	r.t.Helper()
	d := r.view().dev
	d.State = s
	_, err := r.below.Txn(r.t.Context(), nil, []store.Op{store.Put(r.deviceKey(), d.encode())})
	noErr(r.t, err)
}

// A call leaves exactly one entry, whether it changed something, only read, was refused, or failed.
func TestOneAuditEntryPerCall(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	who := auditedUser(7)
	b, err := r.CreateKey(ctx, who, "k", key.CreateParams{Spec: ecSpec})
	noErr(t, err)
	noErr(t, second(r.Sign(ctx, who, "k", "", "ES256", make([]byte, 32))))
	wantErr(t, "missing key", second(r.GetKey(ctx, who, "none", "")), key.ErrNotFound)
	wantErr(t, "denied", second(r.ListSettings(ctx, stranger)), rbac.ErrDenied)
	noErr(t, second(r.DeleteKey(ctx, who, "K")))
	r.stop()
	var got []audit.Entry
	for _, e := range r.auditLog() {
		if e.Principal == who.ID || e.Principal == strangerID {
			got = append(got, e)
		}
	}
	find := func(op, result string) audit.Entry {
		t.Helper()
		var found []audit.Entry
		for _, e := range got {
			if e.Operation == op && e.Result == result {
				found = append(found, e)
			}
		}
		if len(found) != 1 {
			t.Fatalf("%d entries of %s %s; want one", len(found), op, result)
		}
		return found[0]
	}
	if e := find("KeySign", "Success"); e.Details["algorithm"] != "ES256" || e.Details["keyVersion"] != string(b.Meta.Version) || e.Target != "/keys/k" {
		t.Errorf("%+v", e)
	}
	if e := find("KeyCreate", "Success"); e.RequestID != who.RequestID || e.CallerIP != who.IP || e.ClientInfo != who.Client || e.DomainID == "" {
		t.Errorf("%+v", e)
	}
	if e := find("KeyGet", "Failed"); !strings.Contains(e.Reason, "Key not found: none") {
		t.Errorf("%+v", e)
	}
	find("KeyDelete", "Success")
	find("SettingList", "Denied")
	if len(got) != 5 {
		t.Errorf("%d entries; want 5", len(got))
	}
}

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	for range 1000 {
		wantErr(t, "denied", second(r.ListSettings(t.Context(), stranger)), rbac.ErrDenied)
	}
	r.clock.advance(10e9)
	wantErr(t, "denied", second(r.ListSettings(t.Context(), stranger)), rbac.ErrDenied)
	r.stop()
	n, last := 0, audit.Entry{}
	for _, e := range r.auditLog() {
		if e.Result == "Denied" {
			n, last = n+1, e
		}
	}
	if n != 201 || !strings.Contains(last.Reason, "800 earlier refusals were not recorded") {
		t.Errorf("%d refusals were recorded, the last with %q", n, last.Reason)
	}
}
