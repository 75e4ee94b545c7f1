package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/audit"
)

// eventFilter says which events of an audit file are printed. What is empty counts for all.
type eventFilter struct {
	file, since, until, principal, key, operation, result, callerIP, request, after string

	from, to time.Time
}

func (f *eventFilter) flags(c *cobra.Command) *cobra.Command {
	fs := c.Flags()
	fs.StringVar(&f.file, "file", "", "audit file; the whole chain it belongs to is read")
	fs.StringVar(&f.since, "since", "", "events from this time on: 2026-01-02T15:04:05Z, 2026-01-02 (UTC), or how long ago: 90m")
	fs.StringVar(&f.until, "until", "", "events before this time")
	fs.StringVar(&f.principal, "principal", "", "events of this caller: object id, application id or user name")
	fs.StringVar(&f.key, "key", "", "events of the key with this name")
	fs.StringVar(&f.operation, "operation", "", "events of this operation, such as KeySign")
	fs.StringVar(&f.result, "result", "", "events with this outcome: Success, Denied, Failed, or Started (control plane: before a change)")
	fs.StringVar(&f.callerIP, "caller-ip", "", "events of callers at this address")
	fs.StringVar(&f.request, "request-id", "", "events of the request with this x-ms-request-id (correlationId)")
	fs.StringVar(&f.after, "from", "", "head SEQ:HASH that files which you have moved elsewhere ended with")
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
	case "", "Success", "Denied", "Failed", "Started":
		return nil
	}
	return fmt.Errorf("--result %s is not an outcome; use Success, Denied, Failed or, for the control plane, Started", f.result)
}

func (f *eventFilter) fits(e *audit.Entry) bool {
	is := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	return (f.from.IsZero() || !e.Time.Before(f.from)) && (f.to.IsZero() || e.Time.Before(f.to)) && is(f.operation, e.Operation) && is(f.result, e.Result) &&
		is(f.callerIP, e.CallerIP) && is(f.request, e.RequestID) &&
		(f.key == "" || strings.EqualFold("/keys/"+f.key, e.Target)) &&
		(f.principal == "" || is(f.principal, e.Principal) || is(f.principal, e.AppID) || is(f.principal, e.UPN))
}

func (a *app) auditQuery() *cobra.Command {
	var f eventFilter
	c := a.verb("query", "Print events of an HSM's audit file", `Prints one AuditEvent a line, as JSON, oldest first; with -o table or -o tsv, its main members. All files of the chain are read, and verified on the
way: exit code 4, after what stands before the break, means that they were changed. Offline, in little memory whatever their size. Lines cut off at the end are
noticed by audit verify --expect-head only.`, func(ctx context.Context) error {
		return a.events(ctx, &f, nil, func(e *audit.Entry) error { return a.printEvent(e) })
	})
	return f.flags(c)
}

func (a *app) auditTail() *cobra.Command {
	var f eventFilter
	var lines int
	var grow bool
	c := a.verb("tail", "Print the last events of an HSM's audit file", `Prints one AuditEvent a line, as JSON; with -o table or -o tsv, its main members. The chain is verified as it is read, from its beginning: exit code 4
means that it was changed. With --follow, events are printed as they come, across rotations, until interrupted.`, func(ctx context.Context) error {
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
		if grow {
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
	c.Flags().BoolVarP(&grow, "follow", "f", false, "go on with the events that come")
	return f.flags(c)
}

// printEvent prints an event: as it stands in the file, or its main members in columns.
func (a *app) printEvent(e *audit.Entry) error {
	line := showable(e.Append(nil))
	who, status := cmp.Or(e.UPN, e.Principal, e.AppID, "-"), "-"
	if e.Status != 0 {
		status = strconv.Itoa(e.Status)
	}
	cells := []string{e.Time.Format(time.RFC3339), e.Operation, e.Result, status, who, cmp.Or(e.CallerIP, "-"), cmp.Or(e.Target, "-")}
	for i := range cells {
		cells[i] = oneLine(cells[i])
	}
	switch a.output {
	case formatNone:
		return nil
	case formatTSV:
		line = []byte(strings.Join(cells, "\t"))
	case formatTable:
		line = fmt.Appendf(nil, eventColumns, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6])
	}
	_, err := a.out.Write(append(line, '\n'))
	return err
}

// eventColumns are wide enough for what is usual: a table that is printed as it is read cannot measure them first.
const eventColumns = "%-20s  %-28s  %-7s  %-6s  %-36s  %-15s  %s"

func (a *app) eventHeading() error {
	if a.output != formatTable {
		return nil
	}
	_, err := fmt.Fprintf(a.out, eventColumns+"\n", "Time", "Operation", "Result", "Status", "Principal", "CallerIP", "Target")
	return err
}

// events verifies the chain that f names and calls each with the events that fit. With wait, it goes on at the end until ctx
// ends, also in the files that follow, and calls wait whenever all there is has been read.
func (a *app) events(ctx context.Context, f *eventFilter, wait func() error, each func(*audit.Entry) error) error {
	if err := f.parse(a.now()); err != nil {
		return err
	}
	files, err := chainFiles(f.file)
	if err != nil {
		return err
	}
	if err := a.eventHeading(); err != nil {
		return err
	}
	take := func(e audit.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f.fits(&e) {
			return nil
		}
		return each(&e)
	}
	if wait != nil {
		return follow(ctx, f.file, wait, take)
	}
	rep, err := audit.VerifyFiles(files, audit.Expect{Growing: true, From: f.after}, take)
	if rep.Torn > 0 {
		a.note(fmt.Sprintf("The last %d bytes are no whole line: it is being written, or a crash cut it.", rep.Torn))
	}
	return err
}

// growPause is how often a chain is looked at for more.
const growPause = 200 * time.Millisecond

// follow reads a chain until ctx ends, which is how it is meant to end.
func follow(ctx context.Context, path string, wait func() error, take func(audit.Entry) error) (err error) {
	r, err := audit.NewReader(path, audit.Position{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		ln, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := wait(); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(growPause):
			}
		case err != nil:
			return err
		case !ln.Checkpoint:
			e, err := ln.Entry()
			if err != nil {
				return err
			}
			if err := take(e); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
}
