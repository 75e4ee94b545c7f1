// Command runbook executes docs/runbooks/disaster-recovery.md with the genuine Azure CLI against `redoubtd dev`,
// every block of it, by both methods, and proves that the rebuilt HSM is the lost one: the same inventory of
// keys, versions, attributes, tags, deleted keys and roles; old signatures verify, old ciphertexts decrypt, and
// new signatures verify under the public keys from before the loss.
//
// It does so once with the built-in storage, once with Azurite, once in a cloud of its own (az cloud register)
// and once with redoubt in place of az keyvault; and runs commands.sh, the genuine commands that the document
// does not use. Every run has its own server, and leaves nothing behind.
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
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	cache, root, only string
	parallel          int
	verbose, keep     bool
}

func main() {
	var o options
	flag.StringVar(&o.cache, "cache", "", "folder with the clients, as test/clients/install made it")
	flag.StringVar(&o.root, "root", ".", "folder of the repository, with both programs in bin")
	flag.StringVar(&o.only, "run", "", "comma-separated names of runs; empty: all")
	flag.IntVar(&o.parallel, "parallel", runtime.NumCPU()+1, "how many runs at a time; each waits for the network now and then")
	flag.BoolVar(&o.verbose, "v", false, "print every command with its time")
	flag.BoolVar(&o.keep, "keep", false, "keep the working folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := runAll(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runAll runs all variants, o.parallel at a time, and reports every failure.
func runAll(ctx context.Context, o options, out io.Writer) (err error) {
	set, err := prepare(o)
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintln(out, "working folder:", set.work)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(set.work)) }()
	}
	report := &reporter{out: out}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, max(1, o.parallel))
	failures := make([]error, len(chosen))
	var group sync.WaitGroup
	for i, v := range chosen {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			start := time.Now()
			if err := set.run(ctx, v, report); err != nil {
				failures[i] = fmt.Errorf("%s: FAILED: %w", v.name, err)
				report.print(v.name, "FAILED after %s", short(time.Since(start)))
				return
			}
			report.print(v.name, "ok after %s", short(time.Since(start)))
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// choose finds the variants that a comma-separated list names.
func choose(only string) ([]variant, error) {
	if only == "" {
		return variants, nil
	}
	var out []variant
	for _, name := range strings.Split(only, ",") {
		found := false
		for _, v := range variants {
			if v.name == name {
				out, found = append(out, v), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no run is called %q", name)
		}
	}
	return out, nil
}

// settings are what all runs share.
type settings struct {
	options
	page                                   page
	work, az, azuriteBlob, bin, commandsSh string
}

// prepare finds the page and the programs; a missing one fails the test, it is never skipped.
func prepare(o options) (*settings, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	s := &settings{options: o, az: filepath.Join(o.cache, "azure-cli-2.91.0", "bin"), azuriteBlob: filepath.Join(o.cache, "azurite-3.37.0", "node_modules", ".bin", "azurite-blob"),
		bin: filepath.Join(root, "bin"), commandsSh: filepath.Join(root, "test", "runbook", "commands.sh")}
	for _, p := range []string{filepath.Join(s.az, "az"), s.azuriteBlob, filepath.Join(s.bin, "redoubt"), filepath.Join(s.bin, "redoubtd")} {
		if _, err := os.Stat(p); err != nil {
			return nil, fmt.Errorf("%w: run make build clients first", err)
		}
	}
	if s.page, err = readPage(filepath.Join(root, "docs", "runbooks", "disaster-recovery.md")); err != nil {
		return nil, err
	}
	s.work, err = os.MkdirTemp("", "redoubt-runbook-")
	return s, err
}

// reporter prints lines of runs that go on at the same time.
type reporter struct {
	mu  sync.Mutex
	out io.Writer
}

func (r *reporter) print(run, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%-10s  %s\n", run, fmt.Sprintf(format, args...))
}

func short(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
