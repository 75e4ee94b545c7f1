package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/audit"
)

// TestAuditTailFollows: events are printed as they come, across rotations, and an interruption is no failure.
func TestAuditTailFollows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := audit.OpenWith(path, audit.Options{RotateSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string) {
		if err := l.Append([]audit.Entry{{ID: id, Time: time.Unix(0, 0).UTC(), Operation: "KeyGet", Result: "Success"}}, false); err != nil {
			t.Error(err)
		}
		if err := rotate(l, testRoot().LocalSigner("11111111-1111-4111-8111-111111111111")); err != nil {
			t.Error(err)
		}
	}
	put("first")
	put("second")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		a := &app{out: w, err: &stderr, now: time.Now, getenv: func(string) string { return "" }}
		code <- a.run(ctx, []string{"audit", "tail", "--file", path, "--follow", "-n", "1"})
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	for _, id := range []string{"second", "third", "fourth"} {
		if !lines.Scan() || !strings.Contains(lines.Text(), `"id":"`+id+`"`) {
			t.Fatalf("%q; want the event %s", lines.Text(), id)
		}
		put(map[string]string{"second": "third", "third": "fourth", "fourth": "fifth"}[id])
	}
	cancel()
	for lines.Scan() { // the fifth may have come
	}
	if c := <-code; c != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d: %s", c, &stderr)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
