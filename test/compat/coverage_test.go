package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/hsm"
)

var update = flag.Bool("update", false, "write docs/api-coverage.md anew")

const (
	coveragePage = "../../docs/api-coverage.md"
	coverageHead = `# Coverage of the data plane

Made from the device's operation table (` + "`internal/hsm/operation.go`" + `), from the list of operations in Microsoft's OpenAPI documents up
to 2026-07-01-preview and from what the last compat run recorded; ` + "`go test ./test/compat -update`" + ` writes it. A test fails when it is
stale, and ` + "`make compat`" + ` fails when a key operation has no row or no program exercised it.

*Since* is the first api-version that has the operation. *Data action* is what the caller needs, below
` + "`Microsoft.KeyVault/managedHsm/`" + `. *States* are those of the device in which it is allowed. *Exercised by* names the clients
of ` + "`test/compat`" + `; what a procedure needs beyond keys is driven by genuine az in ` + "`make runbook`" + `.
`
)

// The page is what the table, the list of the documents' operations and the recording say.
func TestCoveragePage(t *testing.T) {
	t.Parallel()
	want := coverage(t)
	if *update {
		if err := os.WriteFile(coveragePage, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(coveragePage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/api-coverage.md is stale: go test ./test/compat -update writes it")
	}
}

// Every operation of the table is one of the documents.
func TestTableIsOfTheDocuments(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, l := range readLines(t, "operations.txt") {
		f := strings.SplitN(l, " ", 3)
		known[strings.ToLower(f[2])] = true
	}
	for _, r := range hsm.Table() {
		if !known[strings.ToLower(r.Route)] {
			t.Errorf("%s: %s is in no document", r.Name, r.Route)
		}
	}
}

func coverage(t *testing.T) []byte {
	t.Helper()
	rows := map[string]hsm.Row{}
	for _, r := range hsm.Table() {
		rows[strings.ToLower(r.Route)] = r
	}
	by := map[string]string{}
	for _, l := range readLines(t, "exercised.txt") {
		name, programs, _ := strings.Cut(l, ": ")
		by[name] = programs
	}
	var b bytes.Buffer
	var document string
	var missing []string
	b.WriteString(coverageHead)
	for _, l := range readLines(t, "operations.txt") {
		f := strings.SplitN(l, " ", 3)
		if f[0] != document {
			document = f[0]
			fmt.Fprintf(&b, "\n## Document `%s`\n\n| Operation | Method and path | Since | Data action | States | Mutates | Exercised by |\n|---|---|---|---|---|---|---|\n", document)
		}
		r, there := rows[strings.ToLower(f[2])]
		if !there {
			missing = append(missing, fmt.Sprintf("| `%s` | %s | %s |\n", f[2], f[1], f[0]))
			continue
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | `%s` | %s | %s | %s |\n", r.Name, r.Route, f[1], strings.TrimPrefix(r.Action.String(), "Microsoft.KeyVault/managedHsm/"), states(r.States), yes(r.Mutates), by[r.Name])
	}
	b.WriteString("\n## Not there\n\n| Method and path | Since | Document |\n|---|---|---|\n" + strings.Join(missing, ""))
	return b.Bytes()
}

func states(list []hsm.State) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprint(s))
	}
	return strings.Join(out, ", ")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// readLines reads a list, without its comments.
func readLines(t *testing.T, name string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n") {
		if !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return out
}
