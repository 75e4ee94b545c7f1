package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) deleteHSM() *cobra.Command {
	var r resource
	c := a.verb("delete", "Delete a managed HSM", "It can be recovered (redoubt recover) until its retention days are over or it is purged.", func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		m, err := r.find(ctx, c)
		if err != nil {
			return err
		}
		if err := c.DeleteHSM(ctx, m.ResourceGroup(), m.Name); err != nil {
			return fmt.Errorf("delete %s: %w", r.name, err)
		}
		a.note("%s is deleted. redoubt recover --hsm-name %s brings it back; redoubt purge --hsm-name %s destroys it.", m.Name, m.Name, m.Name)
		return nil
	})
	r.flags(c)
	return c
}

// deleted names one deleted HSM.
type deleted struct{ name, location string }

func (d *deleted) flags(c *cobra.Command) {
	c.Flags().StringVar(&d.name, "hsm-name", "", "name of the HSM")
	c.Flags().StringVarP(&d.location, "location", "l", "", "its region; found by the name if left out")
	require(c, "hsm-name")
}

func (d *deleted) find(ctx context.Context, c *client.Client) (client.DeletedHSM, error) {
	found, err := c.FindDeletedHSM(ctx, d.name)
	if err == nil && d.location != "" && !strings.EqualFold(found.Location, strings.ReplaceAll(d.location, " ", "")) {
		return found, &client.Error{Status: 404, Code: "DeletedManagedHsmNotFound", Message: fmt.Sprintf("the deleted managed HSM %s is in %s, not in %s", found.Name, found.Location, d.location)}
	}
	return found, err
}

func (a *app) purgeHSM() *cobra.Command {
	var d deleted
	c := a.verb("purge", "Destroy a deleted managed HSM for good", `Its keys are lost, except by disaster recovery: with its security domain, a quorum of the private keys, and a
full backup.`, func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		found, err := d.find(ctx, c)
		if err != nil {
			return err
		}
		p := a.progress("purge " + found.Name)
		p.say("working")
		err = c.PurgeHSM(ctx, found.Location, found.Name)
		p.end()
		if err != nil {
			return fmt.Errorf("purge %s: %w", d.name, err)
		}
		a.note("%s is purged.", found.Name)
		return nil
	})
	d.flags(c)
	return c
}

func (a *app) recoverHSM() *cobra.Command {
	var d deleted
	var rg string
	c := a.verb("recover", "Bring a deleted managed HSM back", "With everything that was in it.", func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		found, err := d.find(ctx, c)
		if err != nil {
			return err
		}
		if rg == "" {
			rg = client.Resource{ID: found.HSMID}.ResourceGroup()
		}
		m, err := c.RecoverHSM(ctx, rg, found.Location, found.Name)
		if err != nil {
			return fmt.Errorf("recover %s: %w", d.name, err)
		}
		return a.printHSM(m)
	})
	d.flags(c)
	c.Flags().StringVarP(&rg, "resource-group", "g", "", "resource group it was in; found by the name if left out")
	return c
}
