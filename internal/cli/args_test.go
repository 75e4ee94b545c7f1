package cli

import (
	"strings"
	"testing"
	"time"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                     "",
		"--sd-wrapping-keys a b c --sd-file d": "--sd-wrapping-keys=a --sd-wrapping-keys=b --sd-wrapping-keys=c --sd-file d",
		"--sd-file d --passwords x":            "--sd-file d --passwords=x",
		"--passwords":                          "--passwords",
		"--use-managed-identity true -o tsv":   "--use-managed-identity=true -o tsv",
		"--use-managed-identity No":            "--use-managed-identity=false",
		"--use-managed-identity --hsm-name n":  "--use-managed-identity --hsm-name n",
		"--sd-file true":                       "--sd-file true",
		"-- --passwords a b":                   "-- --passwords a b",
	} {
		if got := strings.Join(expand(strings.Fields(in)), " "); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	v, err := generic(map[string]any{"a": map[string]any{"b": 1}, "l": []any{map[string]any{"n": "x"}, map[string]any{"n": "y"}, map[string]any{}}})
	if err != nil {
		t.Fatal(err)
	}
	for q, want := range map[string]string{"a.b": "1", "l[0].n": "x", "l[-2].n": "y", "l[].n": "x y", "l[*].n": "x y", "nothing": "", "l[9]": "", "a[0]": "", "a[].b": ""} {
		steps, err := parseQuery(q)
		if err != nil {
			t.Fatal(err)
		}
		if got := cell(steps.apply(v)); got != want {
			t.Errorf("%s = %q, want %q", q, got, want)
		}
	}
	for _, bad := range []string{"[", "[x]", "a b", "length(@)", "a || b", "{x:a}", ".a", "a..b"} {
		if _, err := parseQuery(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	if got := oneLine(" a\nb\x1b[2J\tc\u009b "); got != "a b[2J c" {
		t.Errorf("%q", got)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	for _, terminal := range []bool{false, true} {
		var b strings.Builder
		a := &app{err: &b, now: func() time.Time { return now }, terminal: terminal}
		p := a.progress("verify")
		for i := range int64(1001) {
			p.count(i, 1000)
			now = now.Add(20 * time.Millisecond)
		}
		p.end()
		lines := strings.Count(b.String(), "\n")
		if drawn := strings.Count(b.String(), "\r"); terminal && (drawn < 100 || lines != 0) || !terminal && (drawn != 0 || lines < 1 || lines > 3) {
			t.Errorf("terminal %v: %d lines, drawn %d times", terminal, lines, drawn)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{-time.Hour: "in the future: check the clocks", time.Minute: "1 minute", 3 * time.Hour: "3 hours", 72 * time.Hour: "3 days"} {
		if got := age(d); got != want {
			t.Errorf("%s is %q", d, got)
		}
	}
}
