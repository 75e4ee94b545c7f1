package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/fleet"
	"redoubt/internal/store/bolt"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "The audit logs of a stopped server"}
	c.AddCommand(acceptLossCommand())
	return c
}

func acceptLossCommand() *cobra.Command {
	var dir, config, name, reason string
	var control bool
	c := &cobra.Command{Use: "accept-loss {--data DIR | --config FILE} {--hsm NAME | --control} --reason TEXT", Short: "Let an HSM open whose audit files have lost entries",
		Long: `Let an HSM open again that does not because its audit files are not those that it wrote: an older copy, cut short, or
damaged; or, with --control, let the server start whose control plane's audit file is not the one that it wrote. Look for
the right files first, and put them back: then there is nothing to accept. A damaged file is cut before its first bad line;
what stood from there on is kept beside it, in a file named after that line.

That entries were lost, which, who accepted it and why becomes an entry of the log. The server must be stopped.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if reason == "" {
				return errors.New("--reason: say how the entries were lost")
			}
			p := devPlace(dir)
			if config != "" {
				cfg, err := ReadConfig(config)
				if err != nil {
					return err
				}
				p = cfg.place()
			}
			what := name
			if control {
				what, name = "the control plane", ""
			}
			if err := p.acceptLoss(c.Context(), name, reason); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s opens at the next start; the loss is an entry of its audit log\n", what)
			return nil
		}}
	f := c.Flags()
	f.StringVar(&dir, "data", "", "folder given to redoubtd dev")
	f.StringVar(&config, "config", "", "configuration file of redoubtd serve")
	f.StringVar(&name, "hsm", "", "name of the HSM")
	f.BoolVar(&control, "control", false, "the control plane's log instead of an HSM's")
	f.StringVar(&reason, "reason", "", "how the entries were lost (required)")
	c.MarkFlagsOneRequired("data", "config")
	c.MarkFlagsMutuallyExclusive("data", "config")
	c.MarkFlagsOneRequired("hsm", "control")
	c.MarkFlagsMutuallyExclusive("hsm", "control")
	return c
}

// acceptLoss accepts the loss of entries of one HSM, or, without a name, of the control plane. The entry has the name of the
// operating system's user.
func (p place) acceptLoss(ctx context.Context, name, reason string) (err error) {
	if p.data, err = filepath.Abs(p.data); err != nil {
		return err
	}
	if p.passphrase, err = filepath.Abs(p.passphrase); err != nil {
		return err
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
	by := "unknown"
	if u, err := user.Current(); err == nil {
		by = u.Username
	}
	if name == "" {
		return p.acceptTrailLoss(ctx, s, by, reason)
	}
	return fleet.AcceptAuditLoss(ctx, fleet.Config{Store: s, Roots: roots, OpenAudit: openCut(p), Clock: time.Now}, name, by, reason)
}
