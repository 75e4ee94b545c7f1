// Command kill ends a real redoubtd with SIGKILL at many moments of everything it does, starts it again in the
// same folder, and looks at what is there. Every time it must hold that
//
//   - what was acknowledged is there;
//   - the state is the one before the interrupted step or the one after it, never between;
//   - an interrupted job says so in its document;
//   - redoubtd check finds nothing wrong, before the server has started again and after.
//
// The moments are steps of time over an uninterrupted run. Faults at every single write are tried in memory by
// the tests of internal/hsm and internal/fleet; here it is the real store, the real files and a real process.
//
// It prints a line for each scenario, and exits with 0 only if everything held.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	kills := flag.Int("kills", 30, "how often to kill, over all scenarios")
	keep := flag.Bool("keep", false, "leave the server's folder for inspection")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kills, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
		os.Exit(1)
	}
}

// scenario is one thing that is interrupted. prepare makes what the step needs; step does it and is cut off;
// verify looks at the state after the restart and says whether it is that before or that after.
type scenario struct {
	name    string
	prepare func(ctx context.Context, w *world, n int) error
	step    func(ctx context.Context, w *world) error
	verify  func(ctx context.Context, w *world) (outcome, error)
}

// outcome is what a kill left.
type outcome string

const (
	before outcome = "before"
	after  outcome = "after"
)

func run(ctx context.Context, kills int, keep bool) error {
	began := time.Now()
	dir, err := os.MkdirTemp("", "redoubt-kill-")
	if err != nil {
		return err
	}
	if keep {
		fmt.Println("folder:", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	w, err := newWorld(ctx, dir)
	if err != nil {
		return err
	}
	defer w.server.kill()
	all := []scenario{activation(), recovery(), backups(), restores(), keys(), resources(), reads()}
	for i, sc := range all {
		n := kills / len(all)
		if i < kills%len(all) {
			n++
		}
		if err := w.play(ctx, sc, n); err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
	}
	if err := w.server.terminate(); err != nil {
		return err
	}
	fmt.Printf("%d kills in %.1f s: nothing lost, nothing in between\n", kills, time.Since(began).Seconds())
	return nil
}

// play runs a scenario once to see how long its step takes, and then n times with a kill.
func (w *world) play(ctx context.Context, sc scenario, n int) error {
	if n == 0 {
		return nil
	}
	if err := sc.prepare(ctx, w, 0); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	start := time.Now()
	if err := sc.step(ctx, w); err != nil {
		return fmt.Errorf("uninterrupted: %w", err)
	}
	whole := time.Since(start)
	if got, err := sc.verify(ctx, w); err != nil || got != after {
		return fmt.Errorf("uninterrupted: %s, %w", got, err)
	}
	seen := map[outcome]int{}
	for i := range n {
		if err := sc.prepare(ctx, w, i+1); err != nil {
			return fmt.Errorf("prepare %d: %w", i+1, err)
		}
		at := time.Duration((float64(i) + 0.5) / float64(n) * 1.2 * float64(whole)) // the last ones just after the end
		if err := w.interrupt(ctx, sc, at); err != nil {
			return fmt.Errorf("kill %d, %v after the start of the step: %w", i+1, at, err)
		}
		got, err := sc.verify(ctx, w)
		if err != nil {
			return fmt.Errorf("kill %d, %v after the start of the step: %w", i+1, at, err)
		}
		seen[got]++
	}
	fmt.Printf("%-11s %2d kills within %4d ms: %d times the state before, %d times the one after\n", sc.name, n, whole.Milliseconds(), seen[before], seen[after])
	return nil
}

// interrupt starts the step, kills the server after a while, checks what it left, and starts it again.
func (w *world) interrupt(ctx context.Context, sc scenario, at time.Duration) error {
	stepping, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		_ = sc.step(stepping, w) // how far it came shows afterwards
		close(ended)
	}()
	select {
	case <-time.After(at):
	case <-ctx.Done():
		return ctx.Err()
	}
	w.server.kill()
	cancel() // what the client still tries cannot come to anything
	<-ended
	if err := w.check(ctx); err != nil {
		return err
	}
	return w.restart(ctx)
}
