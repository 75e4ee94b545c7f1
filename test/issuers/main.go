// Command issuers proves that `redoubtd serve` can live with tokens of others: of a real Keycloak, from which genuine
// SDKs get them with a credential of their own, and of an issuer of Entra ID's shape (that of a dev cloud, a process of
// its own), to which the genuine az signs in. Each run has its own servers, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	cache, root, only string
	keep              bool
}

func main() {
	var o options
	flag.StringVar(&o.cache, "cache", "", "folder with the clients and Keycloak, as test/clients/install made it")
	flag.StringVar(&o.root, "root", ".", "folder of the repository, with the programs in bin")
	flag.StringVar(&o.only, "run", "", "name of a run; empty: all")
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

// run is one way to do so.
type run struct {
	options
	name, dir string
	start     time.Time

	mu  *sync.Mutex
	out io.Writer
}

// did reports a step.
func (r *run) did(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%-8s  %5.1f s  %s\n", r.name, time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

func runAll(ctx context.Context, o options, out io.Writer) (err error) {
	for _, p := range []*string{&o.cache, &o.root} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp("", "redoubt-issuers-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintln(out, "working folder:", work)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	}
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		errs  []error
	)
	for name, play := range map[string]func(*run, context.Context) error{"keycloak": (*run).keycloak, "az": (*run).az} {
		if o.only != "" && o.only != name {
			continue
		}
		group.Go(func() {
			r := &run{options: o, name: name, dir: filepath.Join(work, name), start: time.Now(), mu: &mu, out: out}
			err := os.Mkdir(r.dir, 0o700)
			if err == nil {
				err = play(r, ctx)
			}
			if err != nil {
				err = fmt.Errorf("%s: FAILED: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	group.Wait()
	if len(errs) == 0 {
		return fmt.Errorf("no run is called %q", o.only)
	}
	return errors.Join(errs...)
}

func (r *run) path(parts ...string) string {
	return filepath.Join(append([]string{r.dir}, parts...)...)
}

// bin is a program of ours.
func (r *run) bin(name string) string { return filepath.Join(r.root, "bin", name) }

// freePort finds a port that nobody listens on. Somebody else may take it first; then the server says so.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port, l.Close()
}
