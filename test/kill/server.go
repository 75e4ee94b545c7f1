package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"redoubt/test/internal/devcloud"
)

// server is one redoubtd dev at a time, always in the same folder.
type server struct {
	bin, dir string
	more     []string // flags
	cmd      *exec.Cmd
	log      bytes.Buffer // standard error of the process that runs
}

func build(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "redoubtd")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "redoubt/cmd/redoubtd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build redoubtd: %w: %s", err, out)
	}
	return bin, nil
}

// startTime is how long a start may take; it is far more than one needs.
const startTime = 30 * time.Second

// start returns when the server has printed its line.
func (s *server) start(ctx context.Context) error {
	s.log.Reset()
	s.cmd = exec.CommandContext(ctx, s.bin, append([]string{"dev", "--data", s.dir}, s.more...)...)
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	line := make(chan string, 1)
	go func() {
		l, _ := bufio.NewReader(out).ReadString('\n')
		line <- l
	}()
	select {
	case l := <-line:
		if strings.HasPrefix(l, "ready") {
			return nil
		}
	case <-time.After(startTime):
	}
	s.kill()
	return fmt.Errorf("the server did not start: %s", s.log.String())
}

// kill ends the process with SIGKILL and waits for that.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself; then Wait says how
	_ = s.cmd.Wait()
	s.cmd = nil
}

// terminate ends the process with SIGTERM, which must be clean and quick.
func (s *server) terminate() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		s.cmd = nil
		if err != nil {
			return fmt.Errorf("after SIGTERM: %w: %s", err, s.log.String())
		}
		return nil
	case <-time.After(15 * time.Second):
		_ = s.cmd.Process.Kill()
		err := <-ended
		s.cmd = nil
		return fmt.Errorf("SIGTERM did not end the server within 15 s: %w", err)
	}
}

// check runs redoubtd check on the folder; the server must not run.
func (s *server) check(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, s.bin, "check", "--data", s.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("redoubtd check: %w: %s", err, out)
	}
	return nil
}

// environ reads what env.sh exports, in a shell, as users do.
func (s *server) environ(ctx context.Context) (func(string) string, error) {
	vars, err := devcloud.Environ(ctx, s.dir)
	return func(name string) string { return vars[name] }, err
}
