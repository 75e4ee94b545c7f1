package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

type keySetAttributes struct {
	at                   keyAddress
	version, from, until string
	enabled              string
	ops, tags            []string
	release              releaseFlags
}

func (a *app) keySetAttributes() *cobra.Command {
	var k keySetAttributes
	c := a.verb("set-attributes", "Change attributes, operations or tags of a key", "Of the newest version, unless --version names another. What is not given stays as it is; --tags '' removes all tags.", func(ctx context.Context) error {
		return k.run(ctx, a)
	})
	k.at.flags(c)
	k.release.flags(c)
	f := c.Flags()
	f.StringVarP(&k.version, "version", "v", "", "version of the key")
	yesNoFlag(c, &k.enabled, "enabled", "it can be used")
	f.StringArrayVar(&k.ops, "ops", nil, "what the key may do: sign verify encrypt decrypt wrapKey unwrapKey")
	f.StringArrayVar(&k.tags, "tags", nil, "tags, NAME=VALUE, in place of all there are")
	f.StringVar(&k.from, "not-before", "", "time before which it cannot be used, such as 2026-01-31T00:00:00Z")
	f.StringVar(&k.until, "expires", "", "time after which it cannot be used")
	return c
}

func (k *keySetAttributes) run(ctx context.Context, a *app) error {
	p := client.UpdateKey{Ops: k.ops, Attributes: &client.KeyAttributes{}}
	var err error
	switch {
	case len(k.tags) == 1 && k.tags[0] == "":
		p.Tags = map[string]string{}
	default:
		if p.Tags, err = parseTags(k.tags); err != nil {
			return err
		}
	}
	if p.Attributes.Enabled, err = yesOrNo("--enabled", k.enabled); err != nil {
		return err
	}
	if p.Release, _, err = k.release.read(); err != nil {
		return err
	}
	if p.Attributes.NotBefore, err = parseTime("--not-before", k.from); err != nil {
		return err
	}
	if p.Attributes.Expires, err = parseTime("--expires", k.until); err != nil {
		return err
	}
	h, err := k.at.open(a)
	if err != nil {
		return err
	}
	if k.version != "" {
		k.at.version = k.version
	}
	changed, err := h.UpdateKey(ctx, k.at.name, k.at.version, p)
	if err != nil {
		return fmt.Errorf("change key %s: %w", k.at.name, err)
	}
	return a.printKey(changed)
}
