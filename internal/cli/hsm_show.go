package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) showHSM() *cobra.Command {
	var r resource
	c := a.verb("show", "Show a managed HSM and its state", `properties.securityDomainProperties tells whether it is active, with which security domain, and while it
recovers the thumbprint of its exchange key.`, func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		m, err := r.find(ctx, c)
		if err != nil {
			return err
		}
		return a.printHSM(m)
	})
	r.flags(c)
	return c
}
