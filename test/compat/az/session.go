package main

import (
	"bytes"
	"context"
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

	batches chan *batch // those that are free; nil stands for one to be started
	mu      sync.Mutex
	used    map[string]bool // subcommands that ran, as "keyvault key show"
	made    []string        // names of keys that are to be deleted in the end
	kept    map[string]bool // names of keys that verify needs
	written []artefact
}

func newSession(ctx context.Context) *session {
	s := &session{ctx: ctx, client: filepath.Join(env("REDOUBT_COMPAT_CACHE"), "azure-cli-2.91.0"), hsm: env("REDOUBT_HSM_NAME"), prefix: env("REDOUBT_COMPAT_PREFIX"),
		dir: must(os.Getwd()), used: map[string]bool{}, kept: map[string]bool{}, batches: make(chan *batch, atOnce)}
	for range atOnce {
		s.batches <- nil
	}
	return s
}

// signIn signs the person in, who gives itself the role that uses keys. In own-cloud mode the cloud is registered first.
func (s *session) signIn() {
	s.cloud()
	s.az("login", "-u", env("AZURE_USERNAME"), "-p", env("AZURE_PASSWORD"))
	s.role("create")
	step("signed in, and took the role Crypto User")
}

// role takes the role that uses keys, or gives it back: the next mode has the same HSM.
func (s *session) role(verb string) {
	s.az("keyvault", "role", "assignment", verb, "--hsm-name", s.hsm, "--role", "Managed HSM Crypto User", "--assignee", env("AZURE_USERNAME"), "--scope", "/")
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

// answer is how a command ended and what it said.
type answer struct {
	Code     int
	Out, Err string
}

// call runs an az command: the first of each subcommand as a process of its own, the way a user starts it; all others
// in one of some long-lived processes, since az takes a second of processor time to start.
func (s *session) call(args []string) answer {
	words := args
	if i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") }); i >= 0 {
		words = args[:i]
	}
	sub := strings.Join(words, " ")
	s.mu.Lock()
	before := s.used[sub]
	s.used[sub] = true
	s.mu.Unlock()
	args = append(slices.Clone(args), "--only-show-errors", "-o", "json")
	if before {
		b := <-s.batches
		defer func() { s.batches <- b }()
		if b == nil {
			b = s.startBatch()
		}
		return b.call(args)
	}
	c := s.program(s.executable(), args...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	err := c.Run()
	var ended *exec.ExitError
	want(err == nil || errors.As(err, &ended) && ended.ExitCode() > 0, "az %s: %v: %s", short(args), err, said.String())
	return answer{c.ProcessState.ExitCode(), out.String(), said.String()}
}

func (s *session) executable() string { return filepath.Join(s.client, "bin", "az") }

// program makes a process that ends with the session.
func (s *session) program(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(s.ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 5 * time.Second
	return c
}

// az runs a command, which must succeed, and returns what it printed.
func (s *session) az(args ...string) string {
	a := s.call(args)
	want(a.Code == 0, "az %s: exit code %d\n%s", short(args), a.Code, a.Err)
	return a.Out
}

// json runs a command and decodes what it printed.
func (s *session) json(dst any, args ...string) {
	out := s.az(args...)
	if err := json.Unmarshal([]byte(out), dst); err != nil {
		panic(failure{fmt.Errorf("az %s: %w: %s", short(args), err, out)})
	}
}

// refused runs a command that must fail and say text.
func (s *session) refused(text string, args ...string) {
	a := s.call(args)
	want(a.Code > 0, "az %s was not refused: %s", short(args), a.Out)
	want(strings.Contains(a.Err, text), "az %s was refused, without saying %q:\n%s", short(args), text, a.Err)
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
		if i > 0 && (args[i-1] == "-p" || args[i-1] == "--pem-password" || args[i-1] == "--pem-string" || args[i-1] == "--federated-token") {
			a = "…"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// others are the beginnings of the subcommands that other programs run, or that Redoubt does not have.
var others = []string{"keyvault backup ", "keyvault restore ", "keyvault security-domain ", "keyvault ekm-connection "}

// complete fails when the installed az has a subcommand for HSMs, their keys, settings or roles that did not run.
func (s *session) complete() {
	var missing []string
	count := 0
	for line := range strings.Lines(string(must(s.python(commandsScript).Output()))) {
		name := strings.TrimSpace(line)
		if slices.ContainsFunc(others, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		count++
		if !s.used[name] {
			missing = append(missing, name)
		}
	}
	want(count > 0, "az says that it has no subcommand for HSMs")
	want(len(missing) == 0, "subcommands that take --hsm-name and were not used: %s", strings.Join(missing, ", "))
	step("all %d subcommands for an HSM, its keys, settings and roles were used", count)
}
