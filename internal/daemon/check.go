package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/audit"
	"redoubt/internal/blob"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/store/bolt"
)

func checkCommand() *cobra.Command {
	var dir string
	var verbose bool
	c := &cobra.Command{Use: "check --data DIR", Short: "Examine every HSM of a stopped server: each record, key, role and audit line",
		Long: `Examine every HSM kept in DIR, soft-deleted ones included, while the server is stopped.

Every record must open under its HSM's root and say what its name says; every key must have all its
versions, and every private key must belong to its public half; roles must compile and leave an
Administrator; the audit chain must be unbroken; nothing may be left over. One line is printed for
each HSM. The exit code is 0 only if all of them are sound.

What a crash interrupted is settled first, exactly as a start of the server would settle it: jobs that
ran are ended as failed, half-made HSMs are removed, begun purges are finished. Nothing else is changed,
and nothing is sent anywhere.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return runCheck(c.Context(), dir, c.OutOrStdout(), logger(c.ErrOrStderr(), verbose))
		}}
	f := c.Flags()
	f.StringVar(&dir, "data", "", "folder given to redoubtd dev (required)")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	_ = c.MarkFlagRequired("data") // cannot fail: the flag exists
	return c
}

// errUnsound is the outcome of a check that found something; what it was has been printed.
var errUnsound = errors.New("not every HSM is sound; see above")

// runCheck examines the HSMs in dir and prints a line for each.
func runCheck(ctx context.Context, dir string, out io.Writer, log *slog.Logger) (err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "store.db")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no data of redoubtd dev: there is no data/store.db in it", dir)
	}
	s, err := bolt.Open(filepath.Join(dir, "data", "store.db"), bolt.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	roots, err := openRoots(dir)
	if err != nil {
		return err
	}
	f, err := fleet.Open(ctx, fleet.Config{Store: s, Roots: roots, OpenAudit: openAudit(dir), Clock: time.Now, Log: log,
		OpenContainer: func(context.Context, hsm.ContainerRequest) (blob.Container, error) { return nil, blob.ErrBadTarget }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return report(ctx, f, out, func(id string) error { return verifyAudit(auditFile(dir, id)) })
}

func report(ctx context.Context, f *fleet.Fleet, out io.Writer, verify func(id string) error) error {
	sound := true
	err := f.Check(ctx, func(r fleet.Resource, err error) {
		if err == nil {
			err = verify(r.ID)
		}
		state := "live"
		if r.Deletion != nil {
			state = "soft-deleted"
		}
		if err == nil {
			fmt.Fprintf(out, "sound    %s (%s, %s)\n", r.Name, r.ID, state)
			return
		}
		sound = false
		if errors.Is(err, hsm.ErrSealed) {
			fmt.Fprintf(out, "SEALED   %s (%s, %s): it could not be examined: %v\n", r.Name, r.ID, state, err)
			return
		}
		fmt.Fprintf(out, "DAMAGED  %s (%s, %s): %v\n", r.Name, r.ID, state, err)
	})
	if err == nil && !sound {
		err = errUnsound
	}
	return err
}

// verifyAudit reads the chain from its beginning.
func verifyAudit(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = audit.Verify(f, "", nil)
	return errors.Join(err, f.Close())
}
