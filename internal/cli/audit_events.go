package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/audit"
)

// eventFilter says which events of an audit file are printed. What is empty counts for all.
type eventFilter struct {
	file, since, until, principal, key, operation, result string

	from, to time.Time
}

func (f *eventFilter) flags(c *cobra.Command) *cobra.Command {
	fs := c.Flags()
	fs.StringVar(&f.file, "file", "", "audit file")
	fs.StringVar(&f.since, "since", "", "events from this time on: 2026-01-02T15:04:05Z, 2026-01-02 (UTC), or how long ago: 90m")
	fs.StringVar(&f.until, "until", "", "events before this time")
	fs.StringVar(&f.principal, "principal", "", "events of this caller: object id, application id or user name")
	fs.StringVar(&f.key, "key", "", "events of the key with this name")
	fs.StringVar(&f.operation, "operation", "", "events of this operation, such as KeySign")
	fs.StringVar(&f.result, "result", "", "events with this outcome: Success, Denied or Failed")
	return require(c, "file")
}

// parse reads the times. now is what durations count back from.
func (f *eventFilter) parse(now time.Time) error {
	for _, p := range []struct {
		flag, text string
		to         *time.Time
	}{{"--since", f.since, &f.from}, {"--until", f.until, &f.to}} {
		if p.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, p.text)
		if err != nil {
			t, err = time.Parse(time.DateOnly, p.text)
		}
		if err != nil {
			var ago time.Duration
			if ago, err = time.ParseDuration(p.text); err == nil {
				t = now.Add(-ago)
			}
		}
		if err != nil {
			return fmt.Errorf("%s %s is not a time; write 2026-01-02T15:04:05Z, 2026-01-02, or how long ago, such as 90m", p.flag, p.text)
		}
		*p.to = t
	}
	switch f.result {
	case "", "Success", "Denied", "Failed":
		return nil
	}
	return fmt.Errorf("--result %s is not an outcome; use Success, Denied or Failed", f.result)
}

func (f *eventFilter) fits(e *audit.Entry) bool {
	is := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	return (f.from.IsZero() || !e.Time.Before(f.from)) && (f.to.IsZero() || e.Time.Before(f.to)) && is(f.operation, e.Operation) && is(f.result, e.Result) &&
		(f.key == "" || strings.EqualFold("/keys/"+f.key, e.Target)) &&
		(f.principal == "" || is(f.principal, e.Principal) || is(f.principal, e.AppID) || is(f.principal, e.UPN))
}

func (a *app) auditQuery() *cobra.Command {
	var f eventFilter
	c := a.verb("query", "Print events of an HSM's audit file", `Prints one AuditEvent a line, as JSON, oldest first. The chain is verified as it is read: exit code 4, after what stands before
the break, means that the file was changed. Offline. Lines cut off at the end are noticed by audit verify --expect-head only.`, func(ctx context.Context) error {
		return a.events(ctx, &f, nil, func(e *audit.Entry) error { return a.printEvent(e) })
	})
	return f.flags(c)
}

func (a *app) auditTail() *cobra.Command {
	var f eventFilter
	var lines int
	var follow bool
	c := a.verb("tail", "Print the last events of an HSM's audit file", `Prints one AuditEvent a line, as JSON. The chain is verified as it is read, from its beginning: exit code 4 means that the file was
changed. With --follow, events are printed as they come, until interrupted.`, func(ctx context.Context) error {
		var last []audit.Entry
		caught := false
		flush := func() error {
			for i := range last {
				if err := a.printEvent(&last[i]); err != nil {
					return err
				}
			}
			last, caught = nil, true
			return nil
		}
		var wait func() error
		if follow {
			wait = flush
		}
		err := a.events(ctx, &f, wait, func(e *audit.Entry) error {
			if caught {
				return a.printEvent(e)
			}
			if last = append(last, *e); len(last) > lines {
				last = last[1:]
			}
			return nil
		})
		return errors.Join(err, flush())
	})
	c.Flags().IntVarP(&lines, "lines", "n", 10, "how many events")
	c.Flags().BoolVar(&follow, "follow", false, "go on with the events that come")
	return f.flags(c)
}

func (a *app) printEvent(e *audit.Entry) error {
	_, err := a.out.Write(append(e.Append(nil), '\n'))
	return err
}

// events verifies a file and calls each with the events that fit. With wait, it goes on at the end of the file until
// ctx ends, and calls wait whenever all there is has been read.
func (a *app) events(ctx context.Context, f *eventFilter, wait func() error, each func(*audit.Entry) error) error {
	if err := f.parse(a.now()); err != nil {
		return err
	}
	file, err := os.Open(f.file)
	if err != nil {
		return fmt.Errorf("read the audit file: %w", err)
	}
	defer func() { _ = file.Close() }()
	var r io.Reader
	growing := &growingFile{ctx: ctx, f: file, wait: wait}
	if r = growing; wait == nil {
		if r, err = a.wholeLines(file); err != nil {
			return fmt.Errorf("read the audit file: %w", err)
		}
	}
	_, err = audit.Verify(r, "", func(e audit.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f.fits(&e) {
			return nil
		}
		return each(&e)
	})
	switch {
	case growing.err != nil:
		return growing.err
	case wait != nil && ctx.Err() != nil:
		return nil // interrupted, as it is meant to end
	case err != nil:
		return fmt.Errorf("%s: %w", f.file, err)
	}
	return nil
}

// wholeLines is the file as it is now, without a last line that is being written.
func (a *app) wholeLines(f *os.File) (io.Reader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size, end := st.Size(), st.Size()
	for room := make([]byte, 1<<16); end > 0; {
		from := max(0, end-int64(len(room)))
		b := room[:end-from]
		if _, err := f.ReadAt(b, from); err != nil {
			return nil, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			end = from + int64(i) + 1
			break
		}
		end = from
	}
	if end < size {
		a.note(fmt.Sprintf("The last %d bytes are no whole line: it is being written, or a crash cut it.", size-end))
	}
	return io.NewSectionReader(f, 0, end), nil
}

// growingFile reads a file that is appended to. Its end is the end of ctx.
type growingFile struct {
	ctx  context.Context
	f    *os.File
	at   int64
	wait func() error
	err  error
}

// growPause is how often a file is looked at for more.
const growPause = 200 * time.Millisecond

func (g *growingFile) Read(b []byte) (int, error) {
	for {
		n, err := g.f.Read(b)
		g.at += int64(n)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		st, err := g.f.Stat()
		if err == nil && st.Size() < g.at {
			err = fmt.Errorf("%w: the file has become shorter", audit.ErrBroken)
		}
		if err == nil {
			err = g.wait()
		}
		if err != nil {
			g.err = err
			return 0, err
		}
		select {
		case <-g.ctx.Done():
			return 0, io.EOF
		case <-time.After(growPause):
		}
	}
}
