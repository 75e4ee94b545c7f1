// Command compat-az is the az program of the compat run: every subcommand of `az keyvault` that takes --hsm-name
// for keys, settings, roles, network rules and the HSM as a resource, and keys through the control plane (az rest), by the genuine
// Azure CLI, with the checks that a user would make by openssl.
// ../README.md tells its environment and what it must do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// patience bounds a run: some hundred commands of a second or two each, on a machine that has other work too.
const patience = 15 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, patience)
	err := run(ctx, os.Args[1:])
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// run executes a verb. With names of parts behind it, walk does only those.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: compat-az walk [PART...] | compat-az verify | compat-az signin")
	}
	var s *session
	err := guarded(func() {
		s = newSession(ctx)
		switch {
		case args[0] == "walk":
			s.walk(args[1:])
		case args[0] == "verify" && len(args) == 1:
			s.verify()
		case args[0] == "signin" && len(args) == 1:
			s.signsIn()
		default:
			want(false, "%q is not a verb", args[0])
		}
	})
	if s != nil {
		err = errors.Join(err, s.stop())
	}
	return err
}

// parts are what walk does, each independent of the others.
var parts = []struct {
	name string
	do   func(*session)
}{
	{"resources", (*session).resources}, // the longest goes first
	{"keys", (*session).keys}, {"signatures", (*session).signatures}, {"ciphers", (*session).ciphers}, {"life", (*session).life}, {"imports", (*session).imports},
	{"transfer", (*session).transfer}, {"rotation", (*session).rotation}, {"release", (*session).release}, {"extras", (*session).extras}, {"settings", (*session).settings},
	{"definitions", (*session).definitions}, {"assignments", (*session).assignments},
}

// alone are parts that run one after the other behind the others: they change what the whole HSM does.
var alone = []struct {
	name string
	do   func(*session)
}{{"network", (*session).network}, {"arm-keys", (*session).armKeys}}

// atOnce is how many az processes run at a time; they wait for the network now and then.
const atOnce = 3

// walk signs in, does the parts, atOnce at a time, and looks whether every subcommand was used.
func (s *session) walk(names []string) {
	s.signIn()
	slots := make(chan struct{}, atOnce)
	failures := make([]error, len(parts))
	var group sync.WaitGroup
	for i, p := range parts {
		if len(names) > 0 && !contains(names, p.name) {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := guarded(func() { p.do(s) }); err != nil {
				failures[i] = fmt.Errorf("%s: %w", p.name, err)
			}
		})
	}
	group.Wait()
	fatal(errors.Join(failures...))
	for _, p := range alone {
		if len(names) == 0 || contains(names, p.name) {
			if err := guarded(func() { p.do(s) }); err != nil {
				fatal(fmt.Errorf("%s: %w", p.name, err))
			}
		}
	}
	if len(names) == 0 {
		s.complete()
	}
	s.clean()
	s.role("delete")
	s.writeArtefacts()
}
