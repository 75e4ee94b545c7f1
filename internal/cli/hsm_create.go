package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) createHSM() *cobra.Command {
	var p client.CreateHSM
	var name, rg string
	var tags []string
	var net network
	c := a.verb("create", "Make a managed HSM", `The new HSM does nothing before it is activated: take its security domain (security-domain download), or give it
that of a lost one (security-domain init-recovery, restore-blob, upload).`, func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		if p.Tags, err = parseTags(tags); err != nil {
			return err
		}
		p.PublicAccess = net.public
		if net.acls() {
			p.Network = new(client.NetworkRules)
			net.apply(p.Network)
		}
		if p.Location == "" {
			g, err := c.GetResourceGroup(ctx, rg)
			if err != nil {
				return advise(fmt.Errorf("find the location of resource group %s: %w", rg, err), "Give --location.")
			}
			p.Location = g.Location
		}
		progress := a.progress("create " + name)
		progress.say("working")
		m, err := c.CreateHSM(ctx, rg, name, p)
		progress.end()
		if err != nil {
			return fmt.Errorf("create %s: %w", name, err)
		}
		return a.printHSM(m)
	})
	f := c.Flags()
	f.StringVar(&name, "hsm-name", "", "name of the HSM, unique in the cloud")
	f.StringVarP(&rg, "resource-group", "g", "", "resource group")
	f.StringVarP(&p.Location, "location", "l", "", "region; that of the resource group if left out")
	f.StringArrayVar(&p.Administrators, "administrators", nil, "object ids of the first administrators")
	f.IntVar(&p.RetentionDays, "retention-days", 0, "days that a deleted HSM or key can be recovered, 7 to 90")
	f.BoolVar(&p.PurgeProtection, "enable-purge-protection", false, "nobody can purge before these days are over; cannot be undone")
	f.StringArrayVar(&p.Identities, "mi-user-assigned", nil, "resource ids of user-assigned identities, for backups")
	f.StringArrayVar(&tags, "tags", nil, "tags, NAME=VALUE")
	net.flags(c)
	f.StringArrayVar(&net.addresses, "network-acls-ips", nil, "addresses or ranges that are let in; needs --default-action Deny")
	ignored(c, "sku")
	return require(c, "hsm-name", "resource-group", "administrators")
}

// ignored takes flags of az that change nothing here, so that runbooks with them run.
func ignored(c *cobra.Command, names ...string) {
	for _, n := range names {
		c.Flags().String(n, "", "")
		_ = c.Flags().MarkHidden(n)
	}
}
