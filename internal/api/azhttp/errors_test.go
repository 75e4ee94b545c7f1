package azhttp

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/authn"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

// sentinels lists the exported error variables of a package, from its source.
func sentinels(t *testing.T, pkg string) []string {
	t.Helper()
	files, err := filepath.Glob("../../" + pkg + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			out = append(out, exportedErrors(d)...)
		}
	}
	if len(out) == 0 {
		t.Fatalf("package %s has no sentinels: is the path right?", pkg)
	}
	return out
}

func exportedErrors(d ast.Decl) (out []string) {
	g, ok := d.(*ast.GenDecl)
	if !ok || g.Tok != token.VAR {
		return nil
	}
	for _, spec := range g.Specs {
		for _, n := range spec.(*ast.ValueSpec).Names {
			if strings.HasPrefix(n.Name, "Err") {
				out = append(out, n.Name)
			}
		}
	}
	return out
}

// tableNames are the sentinels of the table as its source spells them: "hsm.ErrBusy".
func tableNames(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Names[0].Name != "table" {
			return true
		}
		for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
			sel := row.(*ast.CompositeLit).Elts[0].(*ast.SelectorExpr)
			out = append(out, sel.X.(*ast.Ident).Name+"."+sel.Sel.Name)
		}
		return false
	})
	return out
}

// TestTableIsComplete: every sentinel that the domain may hand to an edge has its row.
func TestTableIsComplete(t *testing.T) {
	t.Parallel()
	have := tableNames(t)
	if len(have) != len(table) {
		t.Fatalf("found %d rows in the source, the table has %d", len(have), len(table))
	}
	for _, pkg := range []string{"key", "rbac", "release", "hsm", "fleet", "authn"} {
		for _, name := range sentinels(t, pkg) {
			if full := pkg + "." + name; !slices.Contains(have, full) {
				t.Errorf("%s has no row in the error table", full)
			}
		}
	}
	for i, name := range have {
		if slices.Contains(have[:i], name) {
			t.Errorf("%s has two rows", name)
		}
	}
}

// TestNarrowerRowsFirst: a sentinel that wraps another must stand before it, or its row is never used.
func TestNarrowerRowsFirst(t *testing.T) {
	t.Parallel()
	for i, r := range table {
		for _, before := range table[:i] {
			if errors.Is(r.is, before.is) {
				t.Errorf("%v is taken for %v", r.is, before.is)
			}
		}
		p, known := FromError(fmt.Errorf("outer: %w", r.is))
		if p.Status != r.status || p.Code != r.code || p.Inner != r.inner || known != (r.status < 500) {
			t.Errorf("%v: %+v, known %v", r.is, p, known)
		}
	}
}

func TestTableIsSane(t *testing.T) {
	t.Parallel()
	for _, r := range table {
		if http.StatusText(r.status) == "" || r.status < 400 || r.code == "" {
			t.Errorf("%v: %d %q", r.is, r.status, r.code)
		}
		if r.status >= 500 && r.status != 500 && r.status != 503 {
			t.Errorf("%v: %d: clients know 500 and 503", r.is, r.status)
		}
	}
}

func TestFromError(t *testing.T) {
	t.Parallel()
	const secret = "/var/lib/redoubt/passphrase"
	for name, c := range map[string]struct {
		err     error
		status  int
		code    string
		inner   string
		message string // must be in it
		known   bool
	}{
		"own":        {fmt.Errorf("outer: %w", Bad("no")), 400, "BadParameter", "", "no", true},
		"audience":   {authn.ErrWrongAudience{Got: "a", Want: "b"}, 401, "Unauthorized", "", "Found token with aud=a, but expected aud=b", true},
		"too large":  {fmt.Errorf("the body: %w", &http.MaxBytesError{Limit: 7}), 413, "RequestBodyTooLarge", "", "the body", true},
		"narrow":     {fmt.Errorf("k: %w", key.ErrBadKeyType), 400, "BadParameter", "KeyTypeNotSupported", "k: ", true},
		"parameter":  {fmt.Errorf("%w: a key name has 1 to 127 characters", key.ErrBadParameter), 400, "BadParameter", "", "a key name", true},
		"denied":     {&rbac.Denied{Action: rbac.KeysRead, Scope: rbac.ScopeKeys}, 403, "AccessDenied", "", "Not authorized to access", true},
		"busy":       {fmt.Errorf("%w: backup 1", hsm.ErrBusy), 409, "Conflict", "OperationInProgress", "backup 1", true},
		"name taken": {fmt.Errorf("%w: %w", fleet.ErrNameTaken, errors.New("choose another")), 409, "VaultAlreadyExists", "", "choose another", true},
		"corrupt":    {fmt.Errorf("%w: %s", hsm.ErrCorrupt, secret), 500, "InternalServerError", "", "a stored record is damaged", false},
		"store":      {fmt.Errorf("%w: %s", hsm.ErrUnavailable, secret), 503, "ServiceUnavailable", "", "the HSM cannot reach its store", false},
		"sealed":     {fmt.Errorf("%w: %s", hsm.ErrSealed, secret), 503, "ServiceUnavailable", "Sealed", "unlock passphrase", false},
		"unknown":    {errors.New(secret), 500, "InternalServerError", "", "An internal error occurred.", false},
		"time-out":   {fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), 503, "ServiceUnavailable", "", "deadline", false},
	} {
		p, known := FromError(c.err)
		if p.Status != c.status || p.Code != c.code || p.Inner != c.inner || !strings.Contains(p.Message, c.message) || known != c.known {
			t.Errorf("%s: %+v, known %v", name, p, known)
		}
		if strings.HasPrefix(p.Message, "bad ") {
			t.Errorf("%s: the message says again what the code says: %q", name, p.Message)
		}
		if strings.Contains(p.Message, secret) {
			t.Errorf("%s: the message tells %q", name, p.Message)
		}
	}
}
