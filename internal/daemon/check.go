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
	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

func checkCommand() *cobra.Command {
	var dir, config string
	var verbose bool
	c := &cobra.Command{Use: "check {--data DIR | --config FILE}", Short: "Examine every HSM of a stopped server: each record, key, role and audit line",
		Long: `Examine every HSM of a stopped server, soft-deleted ones included: those of a dev cloud in DIR, or
those of redoubtd serve with its configuration FILE.

Every record must open under its HSM's root and say what its name says; every key must have all its
versions, and every private key must belong to its public half; roles must compile and leave an
Administrator; the audit chain must be unbroken; nothing may be left over. One line is printed for
each HSM. The exit code is 0 only if all of them are sound.

What a crash interrupted is settled first, exactly as a start of the server would settle it: jobs that
ran are ended as failed, half-made HSMs are removed, begun purges are finished. Nothing else is changed,
and nothing is sent anywhere.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log := logger(c.ErrOrStderr(), verbose)
			if config == "" {
				return runCheck(c.Context(), dir, c.OutOrStdout(), log)
			}
			cfg, err := ReadConfig(config)
			if err != nil {
				return err
			}
			return cfg.place().check(c.Context(), c.OutOrStdout(), log)
		}}
	f := c.Flags()
	f.StringVar(&dir, "data", "", "folder given to redoubtd dev")
	f.StringVar(&config, "config", "", "configuration file of redoubtd serve")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	c.MarkFlagsOneRequired("data", "config")
	c.MarkFlagsMutuallyExclusive("data", "config")
	return c
}

// errUnsound is the outcome of a check that found something; what it was has been printed.
var errUnsound = errors.New("not every HSM is sound; see above")

// runCheck examines the HSMs of the dev cloud in dir and prints a line for each.
func runCheck(ctx context.Context, dir string, out io.Writer, log *slog.Logger) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	p := devPlace(dir)
	if _, err := os.Stat(p.store()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no data of redoubtd dev: there is no data/store.db in it", dir)
	}
	return p.check(ctx, out, log)
}

// check examines the HSMs that are kept here.
func (p place) check(ctx context.Context, out io.Writer, log *slog.Logger) (err error) {
	if there, err := p.passphraseThere(); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("the passphrase file %s is missing", p.passphrase)
	}
	s, err := bolt.Open(p.store(), bolt.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	roots, err := p.roots()
	if err != nil {
		return err
	}
	f, err := fleet.Open(ctx, fleet.Config{Store: s, Roots: roots, OpenAudit: openAudit(p), Clock: time.Now, Log: log,
		OpenContainer: func(context.Context, hsm.ContainerRequest) (blob.Container, error) { return nil, blob.ErrBadTarget }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = report(ctx, f, out, func(id string) error { return verifyAudit(p.audit(id)) })
	if cerr := p.checkTrail(ctx, s); cerr != nil {
		fmt.Fprintf(out, "DAMAGED  the control plane's audit log: %v\n", cerr)
		err = errUnsound
	}
	return err
}

// checkTrail verifies the control plane's audit log.
func (p place) checkTrail(ctx context.Context, st store.Store) error {
	if files, err := audit.Segments(p.audit(trailName)); err != nil || len(files) == 0 {
		return err // before the first start
	}
	file, err := openAudit(p)(trailName)
	if err != nil {
		return err
	}
	return errors.Join(trailHeld(ctx, st, file), file.Close(), verifyAudit(p.audit(trailName)))
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

// verifyAudit reads the chain from its beginning, in all its files.
func verifyAudit(path string) error {
	segments, err := audit.Segments(path)
	if err != nil {
		return err
	}
	files := []string{path}
	for i, s := range segments {
		files = append(files[:i], s.Path)
	}
	_, err = audit.VerifyFiles(files, audit.Expect{}, nil)
	return err
}
