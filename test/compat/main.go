// Command compat drives every key operation of a dev cloud with the genuine clients of Managed HSM: programs in Go,
// Python, JavaScript and Java on their SDKs, and az. README.md in this folder tells what a program must do, which
// environment it gets, and what happens to the recording of the run.
//
// It prints a line for each pass of each program, and exits with 0 only if all went well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	cache, root, only, modes, documents string
	parallel                            int
	verbose, keep, noOracle, update     bool
}

func main() {
	var o options
	flag.StringVar(&o.cache, "cache", "", "folder with the clients, as test/clients/install made it")
	flag.StringVar(&o.root, "root", ".", "folder of the repository, with the programs in bin")
	flag.StringVar(&o.only, "only", "", "comma-separated programs; empty: all. The oracle then does not ask for operations that nobody exercised")
	flag.StringVar(&o.modes, "modes", strings.Join(modes, ","), "comma-separated modes")
	flag.StringVar(&o.documents, "documents", "", "folder with the OpenAPI documents of the data plane; README.md tells where they come from")
	flag.IntVar(&o.parallel, "parallel", runtime.NumCPU()+1, "how many programs at a time; each waits for the network now and then")
	flag.BoolVar(&o.verbose, "v", false, "print what the programs print")
	flag.BoolVar(&o.keep, "keep", false, "keep the working folder")
	flag.BoolVar(&o.noOracle, "no-oracle", false, "do not validate the recording; for work on a program")
	flag.BoolVar(&o.update, "update", false, "write exercised.txt and operations.txt anew")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

// run does everything that README.md says.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	w, err := newWorld(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.pass(ctx, "env.sh", signInVerb); err != nil {
		return w.explain(ctx, err)
	}
	for _, mode := range w.modes {
		if err := w.pass(ctx, mode, "walk"); err != nil {
			return w.explain(ctx, err)
		}
		if err := w.pass(ctx, mode, "verify"); err != nil {
			return w.explain(ctx, err)
		}
	}
	if err := w.checkState(ctx); err != nil {
		return err
	}
	if o.noOracle {
		return nil
	}
	return w.askOracle(ctx)
}

// pass runs one verb of every program, some at a time, and reports every failure.
func (w *world) pass(ctx context.Context, mode, verb string) error {
	slots := make(chan struct{}, max(1, w.parallel))
	failures := make([]error, len(w.programs))
	var group sync.WaitGroup
	for i, name := range w.programs {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			start := time.Now()
			steps, err := w.runProgram(ctx, name, mode, verb)
			if err != nil {
				failures[i] = fmt.Errorf("%s %s %s: FAILED: %w", mode, name, verb, err)
				w.print("%-9s  %-6s  %-6s  FAILED after %.1f s", mode, name, verb, time.Since(start).Seconds())
				return
			}
			w.print("%-9s  %-6s  %-6s  %d steps in %.1f s", mode, name, verb, steps, time.Since(start).Seconds())
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// explain adds the end of the server's log to a failure.
func (w *world) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return fmt.Errorf("%w\nend of the server's log:\n%s", err, w.dev.Tail())
}

// pick finds the names of a comma-separated list among known ones; an empty list means all.
func pick(list string, known []string) ([]string, error) {
	if list == "" {
		return known, nil
	}
	names := strings.Split(list, ",")
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%q is none of %s", n, strings.Join(known, ", "))
		}
	}
	return names, nil
}

// folder makes a folder below the working folder.
func (w *world) folder(parts ...string) (string, error) {
	dir := filepath.Join(append([]string{w.work}, parts...)...)
	return dir, os.MkdirAll(dir, 0o700)
}
