package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"redoubt/test/internal/devcloud"
)

// program is a client that answers line by line.
type program struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err strings.Builder
}

// program starts one, with a credential of its own for somebody of a realm.
func (s *scene) program(ctx context.Context, realm string, form url.Values, command ...string) (*program, error) {
	p := &program{cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.cmd.Env = s.environment(realm, form)
	p.cmd.Dir, p.cmd.Stderr = s.dir, &p.err
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, p.cmd.Start()
}

// environment is a program's, for somebody of a realm.
func (s *scene) environment(realm string, form url.Values) []string {
	return append(append(devcloud.CleanEnv(os.Environ()), s.proxy.variables(s.ca)...), "HOME="+s.dir, "PATH="+os.Getenv("PATH"),
		"REDOUBT_HSM_URL=https://"+hsmName+"."+suffix, "REDOUBT_KEY=k", "ISSUER_TOKEN_URL="+s.kc.issuer(realm)+"/protocol/openid-connect/token",
		"ISSUER_FORM="+form.Encode(), "ISSUER_AUDIENCE="+deviceAudience, "ISSUER_SCOPE=device",
		"REDOUBT_HSM_SUFFIX="+suffix, "REDOUBT_TOKEN_COMMAND="+s.bin("issuers-go")+" token")
}

// want sends a line and holds the answer against what it should be.
func (p *program) want(line string, status int, words ...string) error {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Errorf("%w: %s", err, p.err.String())
	}
	if !p.out.Scan() {
		_ = p.cmd.Wait()
		return fmt.Errorf("the program ended: %s", p.err.String())
	}
	var got struct {
		Status  int    `json:"status"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(p.out.Bytes(), &got); err != nil {
		return fmt.Errorf("%s: %w", p.out.Text(), err)
	}
	for _, w := range words {
		if !strings.Contains(got.Message, w) {
			return fmt.Errorf("%s: %d %s; want it to say %q", line, got.Status, got.Message, w)
		}
	}
	if got.Status != status {
		return fmt.Errorf("%s: %d %s; want %d", line, got.Status, got.Message, status)
	}
	return nil
}

// close ends the program.
func (p *program) close() {
	_ = p.in.Close()
	_ = p.cmd.Wait() // it ends when its input does, or with the context
}
