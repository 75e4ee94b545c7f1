// Package devcloud runs real servers for the test programs below test/, and signs in to a dev cloud as its
// users do: by what its env.sh exports.
package devcloud

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a server of our own that says on standard output when it is ready.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the process; valid once done is closed
}

const readyTime = 3 * time.Minute // a machine that does much else at once

// Start starts a program and waits for the line that announced tells to be the one. Both streams go to the log
// file.
func Start(ctx context.Context, name, log string, env []string, announced func(line string) bool, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{name: name, log: log, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = filepath.Dir(log), env, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is ours to pass on
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, errors.Join(err, file.Close()))
	}
	ready := make(chan struct{})
	go func() {
		watch(io.TeeReader(out, file), announced, ready)
		p.err = errors.Join(p.cmd.Wait(), file.Close())
		close(p.done)
	}()
	timer := time.NewTimer(readyTime)
	defer timer.Stop()
	select {
	case <-ready:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it was ready: %w\n%s", name, p.err, p.Tail())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.Stop())
	case <-timer.C:
		return nil, errors.Join(fmt.Errorf("%s was not ready within %s\n%s", name, readyTime, p.Tail()), p.Stop())
	}
}

// watch reads lines to the end and closes ready at the announced one.
func watch(r io.Reader, announced func(string) bool, ready chan<- struct{}) {
	open := true
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if open && announced(lines.Text()) {
			open = false
			close(ready)
		}
	}
}

// Stop ends the process, gently at first.
func (p *Process) Stop() error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended by itself, which the next lines see
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within 20 s of SIGTERM", p.name), p.cmd.Process.Kill())
	}
}

// Tail is the end of the server's log.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return Indent(Tail(string(b), 30))
}

// StartDev starts a dev cloud in dir.
func StartDev(ctx context.Context, redoubtd, dir, log string, flags ...string) (*Process, error) {
	args := append([]string{redoubtd, "dev", "--verbose", "--data", dir}, flags...)
	return Start(ctx, "redoubtd dev", log, os.Environ(), func(l string) bool { return strings.HasPrefix(l, "ready ") }, args...)
}

// Tail is the last n lines of text.
func Tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Indent sets text off from what stands before it.
func Indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }
