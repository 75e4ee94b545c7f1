package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"redoubt/test/internal/devcloud"
)

// shell is one bash, in which the blocks of a run are executed one after the other as an operator would paste
// them: variables live on from block to block. The first command that fails ends it.
type shell struct {
	dir    string // working folder; the output of step N goes to logs/N.log beside it
	logs   string
	cmd    *exec.Cmd
	script io.WriteCloser
	marks  *bufio.Scanner
	reader *os.File // what marks reads
	steps  int
	done   chan struct{} // closed when bash has ended
	timing []timed
}

// timed is one command of a run and how long it took.
type timed struct {
	Command string
	Took    time.Duration
}

// prelude makes bash report on descriptor 3: each command before it runs ("c text") and each failure ("e code
// text"). BASH_COMMAND is the text before expansion, so that no secret is reported.
const prelude = `set -Eeuo pipefail
trap 'printf "c %s\n" "${BASH_COMMAND//$'"'\n'"'/ }" >&3' DEBUG
trap 'printf "e %s %s\n" "$?" "${BASH_COMMAND//$'"'\n'"'/ }" >&3' ERR
`

// startShell starts bash in dir with env. Cancelling ctx kills it and what it started.
func startShell(ctx context.Context, dir, logs string, env []string) (*shell, error) {
	for _, d := range []string{dir, logs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &shell{dir: dir, logs: logs, marks: bufio.NewScanner(r), reader: r, done: make(chan struct{})}
	s.marks.Buffer(nil, 1<<20)
	s.cmd = exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-s")
	s.cmd.Dir, s.cmd.Env, s.cmd.ExtraFiles = dir, env, []*os.File{w}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group of its own, to be killed as a whole
	s.cmd.Cancel = func() error { return syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }
	s.cmd.WaitDelay = 5 * time.Second
	if s.script, err = s.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start bash: %w", errors.Join(err, r.Close(), w.Close()))
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is told by its reports
		close(s.done)
	}()
	_, err = io.WriteString(s.script, prelude)
	return s, err
}

// close ends bash and waits for it. It may be called again.
func (s *shell) close() {
	_ = s.script.Close()
	<-s.done
	_ = s.reader.Close()
}

// run executes commands and returns what they printed, standard error included.
func (s *shell) run(commands string) (string, error) {
	s.steps++
	base := filepath.Join(s.logs, fmt.Sprintf("%03d", s.steps))
	if err := os.WriteFile(base+".sh", []byte(commands), 0o600); err != nil {
		return "", err
	}
	end := "end " + strconv.Itoa(s.steps)
	if _, err := fmt.Fprintf(s.script, "eval \"$(<'%s.sh')\" </dev/null >'%s.log' 2>&1\nprintf '%s\\n' >&3\n", base, base, end); err != nil {
		return "", fmt.Errorf("bash has ended: %w", err)
	}
	failed := s.follow(end)
	out, err := os.ReadFile(base + ".log")
	if failed != nil {
		return string(out), fmt.Errorf("%w\n%s", failed, devcloud.Indent(devcloud.Tail(string(out), 40)))
	}
	return string(out), err
}

// follow reads bash's reports until the step has ended.
func (s *shell) follow(end string) error {
	var failure string
	var command string
	var since time.Time
	ended := func() {
		if command != "" {
			s.timing = append(s.timing, timed{command, time.Since(since)})
		}
	}
	for s.marks.Scan() {
		line := s.marks.Text()
		switch {
		case line == end:
			return nil
		case strings.HasPrefix(line, "e "):
			failure = line[2:]
		case strings.HasPrefix(line, "c eval \"$(<"):
		case strings.HasPrefix(line, "c "):
			ended()
			command, since = line[2:], time.Now()
			if strings.HasPrefix(command, "printf 'end ") {
				command = ""
			}
		}
	}
	code, text, _ := strings.Cut(failure, " ")
	if failure == "" {
		return errors.New("bash ended before the step did")
	}
	return fmt.Errorf("exit code %s of: %s", code, text)
}

// json executes one command and decodes what it prints on standard output.
func (s *shell) json(dst any, command string) error {
	file := filepath.Join(s.logs, fmt.Sprintf("%03d.json", s.steps+1))
	if _, err := s.run(command + " -o json >'" + file + "'\n"); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, dst); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, devcloud.Tail(string(b), 5))
	}
	return nil
}
