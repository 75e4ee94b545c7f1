// Package cli is redoubt, the operator's tool: the nouns, verbs and flags of "az keyvault", so that a runbook
// moves over by changing its first two words, and a few verbs of our own (keygen, inspect, verify).
//
// Two kinds of verb. The online ones are thin: flags, one or two calls of package client, output. The
// offline ones (security-domain keygen, inspect, restore-blob; backup verify of a folder; audit verify, query, tail; key make-byok,
// verify-attestation) open no connection, ask nobody and need no configuration; they are what runs on the isolated machine of a
// ceremony. The binary never links the server.
//
// What every verb promises: results go to standard output in the chosen format and everything else to standard
// error; a file that exists is never overwritten; a failed verb leaves no output file behind; errors are one
// line that says what is wrong and one that says what to do.
//
// Exit codes: 0 done; 1 failed; 2 wrong use; 3 the resource does not exist; 4 what was verified is not genuine;
// 130 interrupted.
package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"redoubt/internal/secret"
)

// Main runs the program with the process's arguments and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	noCoreDumps()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, now: time.Now,
		terminal: term.IsTerminal(int(os.Stderr.Fd())), prompt: promptTerminal}
	return a.run(ctx, os.Args[1:])
}

// app is one run of the tool: the outside world, and the flags that every verb has.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      func() time.Time
	terminal bool                                                          // standard error is a terminal
	prompt   func(ctx context.Context, label string) (secret.Bytes, error) // asks for a password without echo
	http     *http.Client                                                  // nil: the usual one

	began bool // a verb has started: later errors are not errors of use
	global
}

// global are the flags of every verb.
type global struct {
	output, query                  string
	quiet                          bool
	suffix, arm, authority, signIn string
	subscription                   string
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(expand(args))
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return a.report(ctx, root.ExecuteContext(ctx))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{Use: "redoubt", Short: "Operate Managed HSMs and carry their security domains", SilenceErrors: true, SilenceUsage: true, Version: version(),
		Long: `redoubt operates Managed HSMs, of Redoubt and of Azure, with the verbs and flags of "az keyvault":
write "redoubt" where a runbook has "az keyvault".

Sign-in: REDOUBT_TOKEN_COMMAND (a program of yours that is given the resource and prints an access token, for
issuers that are not Entra ID); or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; or AZURE_USERNAME and AZURE_PASSWORD; or
IDENTITY_ENDPOINT and IDENTITY_HEADER (managed identity); or, if none is set, "az login". --auth chooses.

These verbs need no network: security-domain keygen, inspect, restore-blob; backup verify --directory; audit verify,
query, tail; key make-byok, verify-attestation.`}
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", "json", "output format: json, table, tsv or none")
	f.StringVar(&a.query, "query", "", "part of the result to print: a path such as properties.hsmUri, [0].name or [].kid")
	f.BoolVar(&a.quiet, "only-show-errors", false, "print no progress and no warnings")
	f.StringVar(&a.subscription, "subscription", "", "subscription id (AZURE_SUBSCRIPTION_ID)")
	f.StringVar(&a.suffix, "suffix", "", "domain of the HSMs, default managedhsm.azure.net (REDOUBT_HSM_SUFFIX)")
	f.StringVar(&a.arm, "arm-endpoint", "", "control plane, default https://management.azure.com (REDOUBT_ARM_ENDPOINT)")
	f.StringVar(&a.authority, "authority", "", "where to sign in, default https://login.microsoftonline.com (AZURE_AUTHORITY_HOST)")
	f.StringVar(&a.signIn, "auth", "", "how to sign in: auto, command, client-secret, password, managed-identity or az (REDOUBT_AUTH)")
	root.AddCommand(a.securityDomain(), a.backup(), a.restore(), a.key(), a.role(), a.setting(), a.networkRule(), a.audit(),
		a.createHSM(), a.showHSM(), a.listHSMs(), a.updateHSM(), a.deleteHSM(), a.recoverHSM(), a.purgeHSM(), a.listDeletedHSMs(), a.showDeletedHSM(), a.checkName())
	return root
}

// version is what the build says about itself.
func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "unknown"
}

// group is a noun with verbs below it.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(verbs...)
	return c
}

// verb makes a command that takes flags only.
func (a *app) verb(use, short, long string, run func(ctx context.Context) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: short + ".\n\n" + long, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := a.checkOutput(); err != nil {
			return err
		}
		a.began = true
		return run(cmd.Context())
	}}
}

// require makes flags mandatory.
func require(c *cobra.Command, names ...string) *cobra.Command {
	for _, n := range names {
		if err := c.MarkFlagRequired(n); err != nil {
			panic(err) // the flag was not defined: a programming error every test finds
		}
	}
	return c
}
