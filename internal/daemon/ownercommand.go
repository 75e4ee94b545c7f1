package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/audit"
	"redoubt/internal/cloud"
	"redoubt/internal/fleet"
	"redoubt/internal/store"
	"redoubt/internal/store/bolt"
)

func ownerCommand() *cobra.Command {
	c := &cobra.Command{Use: "owner", Short: "Owners of the subscription of redoubtd serve"}
	var config, reason string
	add := &cobra.Command{Use: "add --config FILE OBJECT-ID", Short: "Make somebody Owner of the subscription of a stopped server",
		Long: `Make a principal Owner of the subscription again, when no Owner is left who could do it:

  redoubtd owner add --config FILE 0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e --reason "the last owner has left"

The server must be stopped. An Owner may make and delete HSMs and say who else may; they have no access to keys.
That it happened, and who on this machine did it, becomes an entry of the audit logs of the control plane and of every HSM.`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := ReadConfig(config)
			if err != nil {
				return err
			}
			return addOwner(c.Context(), cfg, args[0], reason, c.OutOrStdout())
		}}
	add.Flags().StringVar(&config, "config", "", "configuration file (required)")
	add.Flags().StringVar(&reason, "reason", "", "why, for the audit logs")
	_ = add.MarkFlagRequired("config") // cannot fail: the flag exists
	c.AddCommand(add)
	return c
}

// entryOwnerAdd is the name of its audit entries.
const entryOwnerAdd = "SubscriptionOwnerAdd"

// addOwner makes an Owner and tells the audit logs: the control plane's before, the HSMs' in the same transaction, or before
// it where there are more than 61. So no log misses what happened.
func addOwner(ctx context.Context, cfg Config, id, reason string, out io.Writer) (err error) {
	if !isGUID(id) {
		return fmt.Errorf("%q is not an object id such as 0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e", id)
	}
	id = strings.ToLower(id)
	p := cfg.place()
	if err := checkData(p); err != nil {
		return err
	}
	st, err := bolt.Open(p.store(), bolt.Options{})
	if errors.Is(err, bolt.ErrInUse) {
		return fmt.Errorf("the server runs; stop it first, or let an Owner who is left assign the role (az role assignment create --role Owner --assignee-object-id %s --scope /subscriptions/%s): %w", id, cfg.Subscription, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	c := cloud.Open(st)
	if err := checkSite(ctx, c, cfg); err != nil {
		return err
	}
	if is, err := c.IsOwner(ctx, id); err != nil {
		return err
	} else if is {
		return fmt.Errorf("%s is Owner of subscription %s already; nothing was changed", id, cfg.Subscription)
	}
	details := ownerDetails(id, reason)
	notes, err := fleet.OutsideEntries(ctx, fleet.Config{Store: st, OpenAudit: openAudit(p), Clock: time.Now}, entryOwnerAdd, details)
	if err != nil {
		return err
	}
	told := len(notes)
	if err := recordOwner(ctx, st, cfg, details); err != nil {
		return err
	}
	for most := store.MaxOps - 3; len(notes) > most; notes = notes[most:] {
		if _, err := st.Txn(ctx, nil, notes[:most]); err != nil {
			return err
		}
	}
	if err := c.AddOwner(ctx, id, notes); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is Owner of subscription %s; its audit log and those of %d HSMs tell of it\n", id, cfg.Subscription, told)
	return nil
}

// ownerDetails are those of the audit entries.
func ownerDetails(id, reason string) map[string]string {
	details := map[string]string{"owner": id, "by": "unknown"}
	if u, err := user.Current(); err == nil {
		details["by"] = u.Username
	}
	if reason != "" {
		details["reason"] = clipped(reason)
	}
	return details
}

// recordOwner puts the entry into the control plane's audit log. It is durable before anything is changed: a crash in between
// leaves a word too many, and never one too few.
func recordOwner(ctx context.Context, st store.Store, cfg Config, details map[string]string) (err error) {
	p := cfg.place()
	roots, err := p.roots()
	if err != nil {
		return err
	}
	var records running
	quiet := slog.New(slog.DiscardHandler)
	defer func() { err = errors.Join(err, records.close(0, quiet)) }()
	trail, err := records.openTrail(ctx, openAudit(p), st, roots, quiet)
	if err != nil {
		return err
	}
	return trail.Record(audit.Entry{Operation: entryOwnerAdd, Result: "Success", Target: "/subscriptions/" + cfg.Subscription, ClientInfo: "redoubtd owner add",
		Details: details, Resource: &audit.Resource{Tenant: cfg.Tenant, Type: "tenants"}})
}
