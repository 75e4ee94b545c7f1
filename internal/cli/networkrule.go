package cli

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) networkRule() *cobra.Command {
	return group("network-rule", "Addresses that an HSM's data plane answers", a.networkRuleList(), a.networkRuleChange("add", "Let addresses in", `Rules need the default action Deny: redoubt update-hsm --default-action Deny.`, addRules),
		a.networkRuleChange("remove", "Let addresses in no more", "A rule is removed by the address or range that it was made with.", removeRules))
}

func (a *app) networkRuleList() *cobra.Command {
	var r resource
	c := a.verb("list", "Show the network rules", "", func(ctx context.Context) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		m, err := r.find(ctx, c)
		if err != nil {
			return err
		}
		return a.print(m.Network)
	})
	r.flags(c)
	return c
}

func (a *app) networkRuleChange(use, short, long string, change func(rules, given []client.IPRule) []client.IPRule) *cobra.Command {
	var r resource
	var addresses []string
	c := a.verb(use, short, long, func(ctx context.Context) error {
		var given []client.IPRule
		for _, v := range addresses {
			if _, err := ipRange(v); err != nil {
				return wrongUse("%q is neither an IP address nor a range in CIDR form, such as 203.0.113.7 or 203.0.113.0/24", v)
			}
			given = append(given, client.IPRule{Value: v})
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		m, err := r.find(ctx, c)
		if err != nil {
			return err
		}
		rules := m.Network
		rules.IPRules = change(rules.IPRules, given)
		if m, err = c.SetHSMNetwork(ctx, m.ResourceGroup(), m.Name, rules, ""); err != nil {
			return fmt.Errorf("change the network rules of %s: %w", r.name, err)
		}
		return a.printHSM(m)
	})
	r.flags(c)
	c.Flags().StringArrayVar(&addresses, "ip-address", nil, "addresses, or ranges in CIDR form")
	return require(c, "ip-address")
}

// ipRange reads an address as the range of that one address.
func ipRange(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// sameRange tells whether two rules mean the same addresses.
func sameRange(a, b client.IPRule) bool {
	x, xerr := ipRange(a.Value)
	y, yerr := ipRange(b.Value)
	return xerr == nil && yerr == nil && x == y
}

func addRules(rules, given []client.IPRule) []client.IPRule {
	for _, g := range given {
		if !slices.ContainsFunc(rules, func(r client.IPRule) bool { return sameRange(r, g) }) {
			rules = append(rules, g)
		}
	}
	return rules
}

func removeRules(rules, given []client.IPRule) []client.IPRule {
	return slices.DeleteFunc(rules, func(r client.IPRule) bool {
		return slices.ContainsFunc(given, func(g client.IPRule) bool { return sameRange(r, g) })
	})
}
