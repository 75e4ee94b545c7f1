package seal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// labelsInSource collects every constant named label… of the package.
func labelsInSource(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
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
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "label") {
				return true
			}
			s, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
			return true
		})
	}
	slices.Sort(out)
	return out
}

// testdata/labels.txt is the list of every label there ever was. A line may be added, never changed.
func TestLabels(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/labels.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(b))
	if got := labelsInSource(t); !slices.Equal(got, listed) {
		t.Errorf("labels in the source:\n%s\nlabels in testdata/labels.txt:\n%s", strings.Join(got, "\n"), strings.Join(listed, "\n"))
	}
	for i, a := range listed {
		for j, b := range listed {
			if i != j && strings.HasPrefix(b, a) {
				t.Errorf("label %q is how %q begins", a, b)
			}
		}
	}
}

// Kind numbers are in every record: this list may grow, but no line may change.
func TestKindNumbers(t *testing.T) {
	t.Parallel()
	want := map[Kind]string{
		1: "head", 2: "deletedhead", 3: "version", 4: "material", 5: "roleassignment", 6: "roledefinition", 7: "setting",
		8: "rotationpolicy", 9: "rolestamp", 10: "keybackup", 64: "job", 65: "exchangekey", 66: "pointer",
	}
	for k := range 256 {
		k := Kind(k)
		name, ok := want[k]
		if k.valid() != ok || ok && k.String() != name {
			t.Errorf("kind %d is %s (valid: %v), want %q", uint8(k), k, k.valid(), name)
		}
		if ok && k.Local() != (k >= 64) {
			t.Errorf("%s: local: %v", k, k.Local())
		}
	}
	if got := Kind(200).String(); got != "kind(200)" {
		t.Error(got)
	}
}
