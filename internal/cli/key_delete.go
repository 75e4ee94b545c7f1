package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) keyDelete() *cobra.Command {
	var t keyAddress
	c := a.verb("delete", "Delete a key with all its versions", "It can be recovered (key recover) until its retention days are over or it is purged.", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		k, err := h.DeleteKey(ctx, t.name)
		if err != nil {
			return fmt.Errorf("delete key %s: %w", t.name, err)
		}
		return a.printKey(k)
	})
	t.flags(c)
	return c
}

func (a *app) keyShowDeleted() *cobra.Command {
	var t keyAddress
	c := a.verb("show-deleted", "Show a deleted key with its public part", "", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		k, err := h.GetDeletedKey(ctx, t.name)
		if err != nil {
			return fmt.Errorf("show deleted key %s: %w", t.name, err)
		}
		return a.printKey(k)
	})
	t.flags(c)
	return c
}

func (a *app) keyListDeleted() *cobra.Command {
	var at address
	var max int
	c := a.verb("list-deleted", "List the deleted keys of an HSM", "", func(ctx context.Context) error {
		_, h, err := at.open(a)
		if err != nil {
			return err
		}
		items, err := h.ListDeletedKeys(ctx)
		if err != nil {
			return fmt.Errorf("list deleted keys: %w", err)
		}
		if max > 0 && len(items) > max {
			items = items[:max]
		}
		return a.printKeys(items)
	})
	at.flags(c)
	c.Flags().IntVar(&max, "maxresults", 0, "how many to show")
	return c
}

func (a *app) keyRecover() *cobra.Command {
	var t keyAddress
	c := a.verb("recover", "Bring a deleted key back", "With all its versions, as it was.", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		k, err := h.RecoverKey(ctx, t.name)
		if err != nil {
			return fmt.Errorf("recover key %s: %w", t.name, err)
		}
		return a.printKey(k)
	})
	t.flags(c)
	return c
}

func (a *app) keyPurge() *cobra.Command {
	var t keyAddress
	c := a.verb("purge", "Destroy a deleted key for good", "It is lost, except from backups: of the key (key restore) or of the HSM (restore start --key-name).", func(ctx context.Context) error {
		h, err := t.open(a)
		if err != nil {
			return err
		}
		if err := h.PurgeKey(ctx, t.name); err != nil {
			return fmt.Errorf("purge key %s: %w", t.name, err)
		}
		a.note("%s is purged.", t.name)
		return nil
	})
	t.flags(c)
	return c
}
