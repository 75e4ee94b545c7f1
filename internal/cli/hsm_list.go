package cli

import (
	"context"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) listHSMs() *cobra.Command {
	var rg string
	c := a.verb("list", "List the managed HSMs of the subscription", "With --resource-group only those of the group.", func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		all, err := c.ListHSMs(ctx, rg)
		if err != nil {
			return err
		}
		return printResources(a, all, func(m client.ManagedHSM) client.Resource { return m.Resource }, hsmColumns...)
	})
	c.Flags().StringVarP(&rg, "resource-group", "g", "", "resource group")
	ignored(c, "resource-type")
	return c
}

func (a *app) listDeletedHSMs() *cobra.Command {
	c := a.verb("list-deleted", "List deleted managed HSMs that can be recovered", "", func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		all, err := c.ListDeletedHSMs(ctx)
		if err != nil {
			return err
		}
		return printResources(a, all, func(d client.DeletedHSM) client.Resource { return d.Resource },
			"name", "properties.location", "properties.deletionDate", "properties.scheduledPurgeDate")
	})
	ignored(c, "resource-type")
	return c
}

// printResources prints a list of resources.
func printResources[T any](a *app, all []T, of func(T) client.Resource, columns ...string) error {
	out := []any{}
	for _, m := range all {
		v, err := withGroup(of(m))
		if err != nil {
			return err
		}
		out = append(out, v)
	}
	return a.print(out, columns...)
}
