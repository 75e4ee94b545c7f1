package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) checkName() *cobra.Command {
	var name string
	c := a.verb("check-name", "Ask whether a managed HSM can have a name", `Names are unique in the cloud, and that of a deleted HSM stays taken until it is purged. The answer is printed; the exit
code is 0 either way.`, func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		n, err := c.CheckHSMName(ctx, name)
		if err != nil {
			return fmt.Errorf("check the name %s: %w", name, err)
		}
		out := map[string]any{"nameAvailable": n.Available, "reason": nil, "message": nil}
		if !n.Available {
			out["reason"], out["message"] = n.Reason, n.Message
		}
		return a.print(out, "nameAvailable", "reason", "message")
	})
	c.Flags().StringVarP(&name, "name", "n", "", "the name")
	ignored(c, "resource-type")
	return require(c, "name")
}

func (a *app) showDeletedHSM() *cobra.Command {
	var d deleted
	c := a.verb("show-deleted", "Show a deleted managed HSM", "properties.scheduledPurgeDate tells until when it can be recovered.", func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		found, err := d.find(ctx, c)
		if err != nil {
			return err
		}
		v, err := withGroup(found.Resource)
		if err != nil {
			return err
		}
		return a.print(v, "name", "properties.location", "properties.deletionDate", "properties.scheduledPurgeDate")
	})
	d.flags(c)
	return c
}
