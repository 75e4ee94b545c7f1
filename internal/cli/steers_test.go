package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/audit"
)

// hostileText has what a caller may put where the text is shown later to somebody else: sequences that colour, clear and
// retitle a terminal (C0 and C1), and controls of direction.
const hostileText = "a\x1b[2J\u009b31m\u009d0;title\u009c\u202eb\u2028c\u2069\x7fd"

func shownSafely(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range strings.ReplaceAll(strings.ReplaceAll(text, "\n", ""), "\t", "") {
		if steers(r) {
			t.Errorf("%s shows %U: %q", what, r, text)
			return
		}
	}
}

func TestAuditEventsDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	h := hostileText
	e := audit.Entry{ID: "one", Time: time.Unix(0, 0).UTC(), Operation: h, Result: "Denied", Reason: h, Principal: h, UPN: h, CallerIP: h, ClientInfo: h, RequestURI: h, Target: h, Details: map[string]string{h: h}}
	if err := l.Append([]audit.Entry{e}, true); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{formatJSON, formatTable, formatTSV} {
		for _, verb := range []string{"query", "tail"} {
			var out, stderr bytes.Buffer
			a := &app{out: &out, err: &stderr, now: time.Now, getenv: func(string) string { return "" }}
			if code := a.run(t.Context(), []string{"audit", verb, "--file", path, "-o", format}); code != 0 {
				t.Fatalf("exit code %d: %s", code, &stderr)
			}
			shownSafely(t, "audit "+verb+" -o "+format, out.String())
			if format != formatJSON {
				continue
			}
			var got audit.Entry // to whoever reads it, it is what was recorded
			if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Reason != h || got.Details[h] != h || got.UPN != h {
				t.Errorf("%v: %+v", err, got)
			}
		}
	}
}

// What answers of an HSM hold (tags, descriptions) others have written.
func TestResultsDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	value := map[string]any{"name": hostileText, "tags": map[string]string{hostileText: hostileText, "ends with.": "x", "": "y"}, "list": []string{hostileText}}
	for _, format := range []string{formatJSON, formatTable, formatTSV} {
		for _, query := range []string{"", "tags", "name", "list"} {
			for _, columns := range [][]string{{"name", "tags", "list"}, nil} {
				var out bytes.Buffer
				a := &app{out: &out, global: global{output: format, query: query}}
				if err := a.print(value, columns...); err != nil {
					t.Fatal(err)
				}
				if out.Len() == 0 {
					t.Errorf("-o %s --query %q shows nothing", format, query)
				}
				shownSafely(t, "-o "+format+" --query "+query, out.String())
			}
		}
	}
}

// Names of tags are anybody's choice.
func TestTagsWithDotsInTheirNames(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := &app{out: &out, global: global{output: formatTSV}}
	if err := a.print(map[string]string{"": "none", "a.": "end", "a.b": "middle"}); err != nil || out.String() != "none\tend\tmiddle\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
