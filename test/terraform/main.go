// Command terraform runs config/ with the genuine Terraform (or OpenTofu) and its azurerm provider against `redoubtd dev`: apply, a plan
// that must be empty, changes, another such plan, destroy. In between it holds what Terraform says against what the HSM says, and at the
// end nothing may be left.
//
// Terraform and the provider are the user's: README.md beside this file says where they come from and why `make test` leaves this out.
// Without one of them it fails; it never skips.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"redoubt/test/internal/devcloud"
)

// options are the flags.
type options struct {
	root, program string
	keep          bool
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "folder of the repository, with both programs in bin")
	flag.StringVar(&o.program, "program", "", "terraform or tofu, or the path of one; empty: the first of the two that is in PATH")
	flag.BoolVar(&o.keep, "keep", false, "keep the working folder, with the logs of all commands")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAILED:", err)
		os.Exit(1)
	}
}

// trial is one run.
type trial struct {
	program, bin, work string
	own, cloud         []string // environment of the user, and the one after . env.sh
	steps              int
}

func run(ctx context.Context, o options) (err error) {
	t, err := prepare(o)
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("working folder:", t.work)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(t.work)) }()
	}
	dev, err := devcloud.StartDev(ctx, filepath.Join(t.bin, "redoubtd"), t.path("cloud"), t.path("server.log"))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\nend of the server's log:\n%s", err, dev.Tail())
		}
		err = errors.Join(err, dev.Stop())
	}()
	if t.cloud, err = t.environment(ctx); err != nil {
		return err
	}
	return t.play(ctx)
}

// prepare finds the programs and makes the working folder with a copy of the configuration.
func prepare(o options) (*trial, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	t := &trial{bin: filepath.Join(root, "bin"), own: os.Environ()}
	for _, name := range []string{"redoubt", "redoubtd"} {
		if _, err := os.Stat(filepath.Join(t.bin, name)); err != nil {
			return nil, fmt.Errorf("%w: run make build first", err)
		}
	}
	candidates := []string{"terraform", "tofu"}
	if o.program != "" {
		candidates = []string{o.program}
	}
	for _, name := range candidates {
		if t.program, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("neither terraform nor tofu is installed (%w); test/terraform/README.md says where they come from", err)
	}
	if t.work, err = os.MkdirTemp("", "redoubt-terraform-"); err != nil {
		return nil, err
	}
	err = errors.Join(os.CopyFS(t.path("config"), os.DirFS(filepath.Join(root, "test", "terraform", "config"))), os.MkdirAll(t.path("holders"), 0o700), os.MkdirAll(t.path("logs"), 0o700))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(t.work))
	}
	t.own = append(t.own, t.terraformVariables()...)
	return t, nil
}

func (t *trial) path(parts ...string) string {
	return filepath.Join(append([]string{t.work}, parts...)...)
}

// terraformVariables keep Terraform's own files in the working folder and Terraform to itself.
func (t *trial) terraformVariables() []string {
	return []string{"TF_DATA_DIR=" + t.path("data"), "TF_WORKSPACE=default", "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1"}
}

// environment is the user's without what would steer a client elsewhere, and with what env.sh exports.
func (t *trial) environment(ctx context.Context) ([]string, error) {
	vars, err := devcloud.Environ(ctx, t.path("cloud"))
	if err != nil {
		return nil, err
	}
	env := devcloud.CleanEnv(os.Environ())
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	env = append(env, "HOME="+os.Getenv("HOME"), "PATH="+t.bin+":"+os.Getenv("PATH"))
	return append(env, t.terraformVariables()...), nil
}

// command runs a program and returns its standard output and its exit code. All of what it prints goes to a log.
func (t *trial) command(ctx context.Context, env []string, dir, name string, args ...string) (string, int, error) {
	t.steps++
	log, err := os.Create(t.path("logs", fmt.Sprintf("%02d-%s.log", t.steps, args[0])))
	if err != nil {
		return "", 0, err
	}
	var out strings.Builder
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, env, both{&out, log}, log
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // Terraform ends its provider then
	c.WaitDelay = 30 * time.Second
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out.String(), exit.ExitCode(), log.Close()
	}
	return out.String(), 0, errors.Join(err, log.Close())
}

// both writes to a text and to a file.
type both struct {
	text *strings.Builder
	file *os.File
}

func (b both) Write(p []byte) (int, error) {
	b.text.Write(p)
	return b.file.Write(p)
}

// ask runs a program that must succeed and returns its standard output.
func (t *trial) ask(ctx context.Context, env []string, dir, name string, args ...string) (string, error) {
	out, code, err := t.command(ctx, env, dir, name, args...)
	if err == nil && code == 0 {
		return out, nil
	}
	log, rerr := os.ReadFile(t.path("logs", fmt.Sprintf("%02d-%s.log", t.steps, args[0])))
	return "", errors.Join(fmt.Errorf("%s %s: exit code %d\n%s", filepath.Base(name), strings.Join(args, " "), code, devcloud.Indent(devcloud.Tail(string(log), 40))), err, rerr)
}
