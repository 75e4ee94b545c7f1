package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"redoubt/test/internal/devcloud"
)

// variant is one way of going through the page.
type variant struct {
	name    string
	azurite bool                         // storage accounts live in Azurite
	setUp   string                       // commands after env.sh, before the page
	domain  string                       // of the HSMs; empty: that of Azure
	rewrite func(commands string) string // changes the page's commands; nil: none
	play    func(r *run) error           // what is run
}

// The page's sections, in its order: once for the source, then once for each method.
var (
	beforeSections  = []string{"An HSM to lose", "A full backup", "The loss"}
	rebuildSections = []string{"1. Create a new Managed HSM", "2. Put it into recovery", "3. Encrypt the security domain for it",
		"4. Upload it", "5. Back up the new HSM, then restore the old backup", "What came back"}
)

var variants = []variant{
	{name: "azurite", azurite: true, play: (*run).runbook},
	{name: "built-in", play: (*run).runbook},
	{name: "own-cloud", play: (*run).runbook, domain: ".managedhsm.localhost:",
		setUp: `az cloud register -n "$REDOUBT_CLOUD" --endpoint-resource-manager "$REDOUBT_RESOURCE_MANAGER"; az cloud set -n "$REDOUBT_CLOUD"`},
	{name: "redoubt", play: (*run).runbook, setUp: "export REDOUBT_AUTH=az", rewrite: ownTool},
	{name: "commands", play: (*run).commands},
}

// ownVerbs are the verbs of az keyvault that redoubt has too.
var ownVerbs = regexp.MustCompile(`\baz keyvault ((?:security-domain [a-z-]+|backup start|restore start|create|show|list|list-deleted|delete|recover|purge|update-hsm|` +
	`key (?:create|show|list|list-versions)|role assignment (?:create|list|delete)|role definition list) )`)

// ownTool puts redoubt in place of az keyvault.
func ownTool(commands string) string {
	return ownVerbs.ReplaceAllString(commands, "redoubt $1")
}

// run is one variant on its way.
type run struct {
	*settings
	variant
	dir      string
	sh       *shell
	dev, blb *devcloud.Process
	report   *reporter
	executed map[int]bool // blocks, by line
}

// run starts the servers, plays the variant, and stops what it started.
func (s *settings) run(ctx context.Context, v variant, report *reporter) (err error) {
	r := &run{settings: s, variant: v, dir: filepath.Join(s.work, v.name), report: report, executed: map[int]bool{}}
	if err := os.MkdirAll(filepath.Join(r.dir, "home"), 0o700); err != nil {
		return err
	}
	defer func() {
		switch {
		case err != nil && ctx.Err() != nil:
			err = errors.New("interrupted")
		case err != nil && r.dev != nil:
			err = fmt.Errorf("%w\nend of the server's log:\n%s", err, r.dev.Tail())
		}
		if r.sh != nil {
			r.sh.close()
		}
		err = errors.Join(err, r.dev.Stop(), r.blb.Stop())
	}()
	if err := r.startServers(ctx); err != nil {
		return err
	}
	if err := r.openShell(ctx); err != nil {
		return err
	}
	return v.play(r)
}

func (r *run) cloud() string { return filepath.Join(r.dir, "cloud") }

func (r *run) startDev(ctx context.Context, flags ...string) (err error) {
	r.dev, err = devcloud.StartDev(ctx, filepath.Join(r.bin, "redoubtd"), r.cloud(), filepath.Join(r.dir, "server.log"), flags...)
	return err
}

// startServers starts the dev cloud. With Azurite the accounts must exist first, because Azurite is told their
// keys when it starts; then the dev cloud is restarted in front of it.
func (r *run) startServers(ctx context.Context) error {
	if err := r.startDev(ctx); err != nil || !r.azurite {
		return err
	}
	accounts, err := r.makeAccounts(ctx)
	if err != nil {
		return fmt.Errorf("make the storage accounts: %w", err)
	}
	if err := r.dev.Stop(); err != nil {
		return err
	}
	var url string
	if r.blb, url, err = startAzurite(ctx, r.azuriteBlob, r.dir, accounts); err != nil {
		return err
	}
	return r.startDev(ctx, "--blob-endpoint", url)
}

// makeAccounts makes the page's storage accounts and returns them with their keys, as Azurite wants them.
func (r *run) makeAccounts(ctx context.Context) (string, error) {
	if err := r.openShell(ctx); err != nil {
		return "", err
	}
	defer r.sh.close()
	var out []string
	if _, err := r.sh.run("az login -u \"$AZURE_USERNAME\" -p \"$AZURE_PASSWORD\"\naz group create --name ContosoResourceGroup --location westus3\n"); err != nil {
		return "", err
	}
	for _, name := range []string{"mhsmdemobackup", "ContosoBackup"} {
		if _, err := r.sh.run("az storage account create --name " + name + " --resource-group ContosoResourceGroup --location westus3\n"); err != nil {
			return "", err
		}
		var key string
		if err := r.sh.json(&key, "az storage account keys list --account-name "+name+" --query '[0].value'"); err != nil {
			return "", err
		}
		out = append(out, name+":"+key)
	}
	return strings.Join(out, ";"), nil
}

// openShell opens a shell that has read env.sh, as an operator's.
func (r *run) openShell(ctx context.Context) (err error) {
	env := append(devcloud.CleanEnv(os.Environ()), "HOME="+filepath.Join(r.dir, "home"), "PATH="+r.az+":"+r.bin+":"+os.Getenv("PATH"))
	if r.sh, err = startShell(ctx, filepath.Join(r.dir, "w"), filepath.Join(r.dir, "logs"), env); err != nil {
		return err
	}
	_, err = r.sh.run(". '" + filepath.Join(r.cloud(), "env.sh") + "'\n" + r.setUp + "\n")
	return err
}

// section executes the blocks of a section that belong to a method or to none, and returns what they printed.
// With again set, it begins at the section's first block that belongs to a method: the rest has been done.
func (r *run) section(name, method string, again bool) (string, error) {
	start, first := time.Now(), len(r.sh.timing)
	var printed strings.Builder
	for _, b := range r.page.Blocks {
		if b.Section != name || b.Method != "" && b.Method != method {
			continue
		}
		if again && b.Method == "" {
			continue
		}
		again = false
		commands := r.page.commands(b)
		if r.rewrite != nil {
			commands = r.rewrite(commands)
		}
		out, err := r.sh.run(commands)
		printed.WriteString(out)
		if err != nil {
			return "", fmt.Errorf("the page's block at line %d (%s): %w", b.Line, name, err)
		}
		r.executed[b.Line] = true
	}
	r.done(name+where(method), start, first)
	return printed.String(), nil
}

func where(method string) string {
	if method == "" {
		return ""
	}
	return " (" + method + ")"
}

// done reports a part of the run, and in verbose mode its commands.
func (r *run) done(what string, start time.Time, first int) {
	r.report.print(r.name, "%s: %s", what, short(time.Since(start)))
	if r.verbose {
		for _, t := range r.sh.timing[first:] {
			r.report.print(r.name, "  %6s  %.150s", short(t.Took), t.Command)
		}
	}
}

// allExecuted fails when a block of the page was left out.
func (r *run) allExecuted() error {
	for _, b := range r.page.Blocks {
		if !r.executed[b.Line] {
			return fmt.Errorf("the page's block at line %d (%s) was never executed", b.Line, b.Section)
		}
	}
	return nil
}

// commands runs commands.sh.
func (r *run) commands() error {
	start := time.Now()
	out, err := r.sh.run(". '" + r.commandsSh + "'\n")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "\nall commands ran") {
		return fmt.Errorf("commands.sh did not run to its end:\n%s", devcloud.Indent(devcloud.Tail(out, 40)))
	}
	r.done("commands.sh", start, 0)
	return nil
}
