package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// session is what the parts share.
type session struct {
	ctx         context.Context
	client, hsm string // folder of the az installation; name of the HSM
	prefix      string
	dir         string // working folder

	mu      sync.Mutex
	used    map[string]bool // subcommands that ran, as "keyvault key show"
	made    []string        // names of keys that are to be deleted in the end
	kept    map[string]bool // names of keys that verify needs
	written []artefact
}

func newSession(ctx context.Context) *session {
	return &session{ctx: ctx, client: filepath.Join(env("REDOUBT_COMPAT_CACHE"), "azure-cli-2.91.0"), hsm: env("REDOUBT_HSM_NAME"), prefix: env("REDOUBT_COMPAT_PREFIX"),
		dir: must(os.Getwd()), used: map[string]bool{}, kept: map[string]bool{}}
}

// signIn signs the person in, who gives itself the role that uses keys. In own-cloud mode the cloud is registered first.
func (s *session) signIn() {
	s.cloud()
	s.az("login", "-u", env("AZURE_USERNAME"), "-p", env("AZURE_PASSWORD"))
	s.az("keyvault", "role", "assignment", "create", "--hsm-name", s.hsm, "--role", "Managed HSM Crypto User", "--assignee", env("AZURE_USERNAME"), "--scope", "/")
	step("signed in, and took the role Crypto User")
}

// cloud chooses the cloud of the mode.
func (s *session) cloud() {
	name := "AzureCloud"
	if env("REDOUBT_COMPAT_MODE") == "own-cloud" {
		name = env("REDOUBT_CLOUD")
		var known []struct{ Name string }
		s.json(&known, "cloud", "list")
		if !slices.ContainsFunc(known, func(c struct{ Name string }) bool { return c.Name == name }) {
			s.az("cloud", "register", "-n", name, "--endpoint-resource-manager", env("REDOUBT_RESOURCE_MANAGER"))
		}
	}
	s.az("cloud", "set", "-n", name)
}

// command makes an az command that ends with the session, and notes which one it is.
func (s *session) command(args []string) *exec.Cmd {
	words := args
	if i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") }); i >= 0 {
		words = args[:i]
	}
	s.mu.Lock()
	s.used[strings.Join(words, " ")] = true
	s.mu.Unlock()
	return s.program(filepath.Join(s.client, "bin", "az"), append(slices.Clone(args), "--only-show-errors", "-o", "json")...)
}

// program makes a process that ends with the session.
func (s *session) program(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(s.ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 5 * time.Second
	return c
}

// az runs a command, which must succeed, and returns what it printed.
func (s *session) az(args ...string) []byte {
	c := s.command(args)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		panic(failure{fmt.Errorf("az %s: %w\n%s", short(args), err, said.String())})
	}
	return out.Bytes()
}

// json runs a command and decodes what it printed.
func (s *session) json(dst any, args ...string) {
	out := s.az(args...)
	if err := json.Unmarshal(out, dst); err != nil {
		panic(failure{fmt.Errorf("az %s: %w: %s", short(args), err, out)})
	}
}

// refused runs a command that must fail and say text.
func (s *session) refused(text string, args ...string) {
	out, err := s.command(args).CombinedOutput()
	var ended *exec.ExitError
	want(errors.As(err, &ended) && ended.ExitCode() > 0, "az %s was not refused (%v): %s", short(args), err, out)
	want(strings.Contains(string(out), text), "az %s was refused, without saying %q:\n%s", short(args), text, out)
}

// key runs a subcommand of az keyvault key with this HSM and decodes into dst, unless that is nil.
func (s *session) key(dst any, sub string, args ...string) {
	if dst == nil {
		s.az(s.onKey(sub, args)...)
		return
	}
	s.json(dst, s.onKey(sub, args)...)
}

func (s *session) refusedKey(text, sub string, args ...string) {
	s.refused(text, s.onKey(sub, args)...)
}

func (s *session) onKey(sub string, args []string) []string {
	return slices.Concat([]string{"keyvault", "key"}, strings.Fields(sub), []string{"--hsm-name", s.hsm}, args)
}

// name is the name of a key of this program and mode, which is deleted at the end of the walk.
func (s *session) name(n string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !contains(s.made, s.prefix+n) {
		s.made = append(s.made, s.prefix+n)
	}
	return s.prefix + n
}

// file is a path in the working folder.
func (s *session) file(name string) string { return filepath.Join(s.dir, name) }

// openssl runs openssl, which must succeed.
func (s *session) openssl(args ...string) []byte {
	out, err := s.program("openssl", args...).CombinedOutput()
	want(err == nil, "openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	return out
}

// short is a command for messages, without what may be secret.
func short(args []string) string {
	var out []string
	for i, a := range args {
		if i > 0 && (args[i-1] == "-p" || args[i-1] == "--pem-password" || args[i-1] == "--pem-string") {
			a = "…"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// complete fails when the installed az has a subcommand for keys or settings of an HSM that did not run.
func (s *session) complete() {
	var missing []string
	count := 0
	for line := range strings.Lines(string(must(s.python(commandsScript).Output()))) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(name, "keyvault key ") || strings.HasPrefix(name, "keyvault setting ") {
			count++
			if !s.used[name] {
				missing = append(missing, name)
			}
		}
	}
	want(count > 0, "az says that it has no subcommand for keys")
	want(len(missing) == 0, "subcommands that take --hsm-name and were not used: %s", strings.Join(missing, ", "))
	step("all %d subcommands for keys and settings of an HSM were used", count)
}

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
