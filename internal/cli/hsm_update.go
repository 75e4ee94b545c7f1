package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) updateHSM() *cobra.Command {
	var r resource
	var identities []string
	var net network
	var protect bool
	var c *cobra.Command
	c = a.verb("update-hsm", "Change identities, purge protection and network rules of a managed HSM", `The HSM uses a user-assigned identity for backup start and restore start with --use-managed-identity. The given list
replaces the former one; none takes all away.

The network rules concern the data plane. This verb works whatever they are: the control plane is not behind them.`, func(ctx context.Context) error {
		arm, err := a.client()
		if err != nil {
			return err
		}
		m, err := r.find(ctx, arm)
		if err != nil {
			return err
		}
		if len(identities) > 0 {
			if len(identities) == 1 && strings.EqualFold(identities[0], "none") {
				identities = nil
			}
			if m, err = arm.SetHSMIdentities(ctx, m.ResourceGroup(), m.Name, identities); err != nil {
				return fmt.Errorf("update %s: %w", r.name, err)
			}
		}
		if c.Flags().Changed("enable-purge-protection") {
			if m, err = arm.ProtectHSM(ctx, m.ResourceGroup(), m.Name, protect); err != nil {
				return fmt.Errorf("update %s: %w", r.name, err)
			}
		}
		if net.acls() || net.public != "" {
			rules := m.Network
			net.apply(&rules)
			if m, err = arm.SetHSMNetwork(ctx, m.ResourceGroup(), m.Name, rules, net.public); err != nil {
				return fmt.Errorf("update %s: %w", r.name, err)
			}
		}
		return a.printHSM(m)
	})
	r.flags(c)
	c.Flags().StringVarP(&r.name, "name", "n", "", "the same as --hsm-name")
	_ = c.Flags().MarkHidden("name")
	c.Flags().StringArrayVar(&identities, "mi-user-assigned", nil, "resource ids of user-assigned identities, or none")
	c.Flags().BoolVar(&protect, "enable-purge-protection", false, "nobody can purge before the retention days are over; cannot be undone")
	net.flags(c)
	c.MarkFlagsOneRequired("mi-user-assigned", "enable-purge-protection", "bypass", "default-action", "public-network-access")
	return c
}

// network are the flags that say from where an HSM can be reached.
type network struct {
	bypass, action, public string
	addresses              []string
}

func (n *network) flags(c *cobra.Command) {
	c.Flags().StringVar(&n.bypass, "bypass", "", "whom the rules do not concern: AzureServices (this server's control plane) or None")
	c.Flags().StringVar(&n.action, "default-action", "", "what becomes of addresses that no rule names: Allow or Deny")
	c.Flags().StringVar(&n.public, "public-network-access", "", "Enabled, or Disabled: nobody is let in")
}

// acls tells whether anything is said of the rules themselves.
func (n *network) acls() bool { return n.bypass != "" || n.action != "" || len(n.addresses) > 0 }

// apply puts what was given into rules.
func (n *network) apply(rules *client.NetworkRules) {
	if n.bypass != "" {
		rules.Bypass = n.bypass
	}
	if n.action != "" {
		rules.DefaultAction = n.action
	}
	for _, v := range n.addresses {
		rules.IPRules = append(rules.IPRules, client.IPRule{Value: v})
	}
}
