package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) updateHSM() *cobra.Command {
	var r resource
	var identities []string
	c := a.verb("update-hsm", "Change which identities a managed HSM has", `The HSM uses a user-assigned identity for backup start and restore start with --use-managed-identity. The given list
replaces the former one; none takes all away.`, func(ctx context.Context) error {
		if len(identities) == 1 && strings.EqualFold(identities[0], "none") {
			identities = nil
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		m, err := r.find(ctx, c)
		if err != nil {
			return err
		}
		if m, err = c.SetHSMIdentities(ctx, m.ResourceGroup(), m.Name, identities); err != nil {
			return fmt.Errorf("update %s: %w", r.name, err)
		}
		return a.printHSM(m)
	})
	r.flags(c)
	c.Flags().StringVarP(&r.name, "name", "n", "", "the same as --hsm-name")
	_ = c.Flags().MarkHidden("name")
	c.Flags().StringArrayVar(&identities, "mi-user-assigned", nil, "resource ids of user-assigned identities, or none")
	return require(c, "mi-user-assigned")
}
