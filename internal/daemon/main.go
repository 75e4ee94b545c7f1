// Package daemon is configuration and wiring: the only place that knows which driver is used. It makes the
// dev cloud (dev.go), and the commands of redoubtd.
package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Main runs redoubtd with the process's arguments and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	noCoreDumps()
	if err := command(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "redoubtd:", err)
		return 1
	}
	return 0
}

// noCoreDumps keeps keys out of core files; it fails only where there are none.
func noCoreDumps() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

func command(out, errOut io.Writer) *cobra.Command {
	root := &cobra.Command{Use: "redoubtd", Short: "A self-hosted Managed HSM that can be lost and rebuilt", SilenceUsage: true, SilenceErrors: true}
	root.SetOut(out)
	root.SetErr(errOut)
	root.AddCommand(serveCommand(), initCommand(), configCommand(), statusCommand(), devCommand(), identityCommand(), drillCommand(), checkCommand(), ownerCommand(), auditCommand())
	return root
}

func devCommand() *cobra.Command {
	var cfg DevConfig
	var verbose bool
	c := &cobra.Command{Use: "dev --data DIR", Short: "Run a complete local cloud on loopback: control plane, data plane, identity, Graph, storage",
		Long: `Run a complete local cloud on loopback, with nothing to configure.

All state is kept in DIR: the same folder is the same cloud after a restart. When every endpoint
answers, one line beginning "ready" is printed and DIR/env.sh is there. Read it in a shell, and
unmodified Azure clients work under Azure's own names:

  . DIR/env.sh
  az login -u "$AZURE_USERNAME" -p "$AZURE_PASSWORD"

Nothing dials outward. This is for development and rehearsal: its secrets lie in DIR.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Log = logger(c.ErrOrStderr(), verbose)
			return runDev(c.Context(), cfg, c.OutOrStdout())
		}}
	f := c.Flags()
	f.StringVar(&cfg.Dir, "data", "", "folder for all state (required)")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "loopback address of the TLS listener; port 0 keeps the port of the last start")
	f.StringVar(&cfg.CloudName, "cloud", "Redoubt", "name of this cloud for az cloud register")
	f.StringVar(&cfg.Suffix, "suffix", "localhost", "local domain for clients that do not use the proxy: NAME.managedhsm.SUFFIX:PORT")
	f.StringVar(&cfg.BlobEndpoint, "blob-endpoint", "", "URL that serves all storage accounts instead of the built-in front, e.g. an Azurite")
	f.BoolVar(&cfg.IdentityEndpoint, "identity-endpoint", false, "offer the managed identities to programs: adds IDENTITY_ENDPOINT and IDENTITY_HEADER to env.sh")
	f.BoolVar(&cfg.IMDS, "imds", false, "offer them as the metadata service of a virtual machine: adds AZURE_POD_IDENTITY_AUTHORITY_HOST to env.sh")
	f.StringArrayVar(&cfg.TokenResources, "token-resource", nil, "make tokens for this resource, too: URL of a redoubtd serve that trusts this cloud's issuer; may be repeated")
	f.BoolVar(&cfg.SyncAudit, "sync-audit", false, "write the audit entries of reads and cryptography to the disk before the answer, too")
	f.DurationVar(&cfg.RestorePointMaxAge, "restore-point-max-age", 30*time.Minute, "how old the HSM's own backup may be for a full restore; 0: any since activation")
	f.IntVar(&cfg.MaxKeys, "max-keys", 0, "keys an HSM can have, soft-deleted ones included; 0: the service's 5,000")
	f.IntVar(&cfg.MaxVersions, "max-versions", 0, "versions a key can have; 0: the service's 100")
	f.BoolVar(&cfg.ReadyKeys, "ready-keys", true, "keep a few RSA keys ready, from the first one of a size on: 4 of 2048 bits, 2 of 3072, 1 of 4096")
	f.StringVar(&cfg.Health, "health", "", "loopback address for /healthz, /readyz and /metrics, plain HTTP; without it there is none")
	f.BoolVarP(&verbose, "verbose", "v", false, "log every request's failure and refused connections")
	_ = c.MarkFlagRequired("data") // cannot fail: the flag exists
	return c
}

func logger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// runDev serves until the context ends.
func runDev(ctx context.Context, cfg DevConfig, out io.Writer) error {
	d, err := StartDev(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "ready %s proxy=%s read=%s\n", d.names.origin("localhost"), d.Get("HTTPS_PROXY"), d.path("env.sh"))
	<-ctx.Done()
	return d.Close()
}

// exactly demands n arguments, and shows how the command is written when there are others. It repeats none of them: what stands
// in the wrong place may be a secret.
func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("the command is: %s (arguments beside flags: %d, needed: %d)", c.UseLine(), len(args), n)
		}
		return nil
	}
}
