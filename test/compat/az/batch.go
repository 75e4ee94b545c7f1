package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// The scripts run in az's own interpreter, beside az's own modules.
var (
	//go:embed commands.py
	commandsScript string
	//go:embed batch.py
	batchScript string
)

// python makes a process of az's interpreter that runs a script.
func (s *session) python(script string) *exec.Cmd {
	return s.program(filepath.Join(s.client, "bin", "python"), "-c", script)
}

// batch is an az process that runs command after command.
type batch struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func (s *session) startBatch() *batch {
	b := &batch{cmd: s.python(batchScript)}
	b.cmd.Stderr = os.Stderr
	b.in = must(b.cmd.StdinPipe())
	b.out = bufio.NewScanner(must(b.cmd.StdoutPipe()))
	b.out.Buffer(nil, 1<<20)
	fatal(b.cmd.Start())
	return b
}

// call runs one command.
func (b *batch) call(args []string) (a answer) {
	_, err := b.in.Write(append(must(json.Marshal(args)), '\n'))
	fatal(err)
	if !b.out.Scan() {
		panic(failure{errors.New("az has ended")})
	}
	fatal(json.Unmarshal(b.out.Bytes(), &a))
	return a
}

// stop ends the processes and waits for them.
func (s *session) stop() error {
	var errs []error
	for range atOnce {
		if b := <-s.batches; b != nil {
			errs = append(errs, b.in.Close(), b.cmd.Wait())
		}
	}
	return errors.Join(errs...)
}
