package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

type keyCreate struct {
	at                                  keyAddress
	kty, curve, protection, from, until string
	size                                int
	ops, tags                           []string
	disabled                            bool
	release                             releaseFlags
}

func (a *app) keyCreate() *cobra.Command {
	var k keyCreate
	c := a.verb("create", "Make a key in an HSM, or a new version of one", "The key is made inside and never leaves but in backups, under the security domain.", func(ctx context.Context) error {
		return k.run(ctx, a)
	})
	k.at.flags(c)
	k.release.flags(c)
	k.release.exportableFlag(c)
	f := c.Flags()
	f.StringVar(&k.kty, "kty", "RSA-HSM", "type: RSA-HSM, EC-HSM or oct-HSM")
	f.IntVar(&k.size, "size", 0, "bits: 2048, 3072, 4096 for RSA; 128, 192, 256 for oct")
	f.StringVar(&k.curve, "curve", "", "curve for EC: P-256, P-384, P-521 or P-256K")
	f.StringArrayVar(&k.ops, "ops", nil, "what the key may do: sign verify encrypt decrypt wrapKey unwrapKey")
	f.StringArrayVar(&k.tags, "tags", nil, "tags, NAME=VALUE")
	f.BoolVar(&k.disabled, "disabled", false, "make it disabled")
	f.StringVar(&k.from, "not-before", "", "time before which it cannot be used, such as 2026-01-31T00:00:00Z")
	f.StringVar(&k.until, "expires", "", "time after which it cannot be used")
	f.StringVarP(&k.protection, "protection", "p", "hsm", "hsm")
	return c
}

func (k *keyCreate) run(ctx context.Context, a *app) error {
	if k.protection != "hsm" {
		return wrongUse("--protection %s: keys of an HSM are protected by it; use hsm", k.protection)
	}
	tags, err := parseTags(k.tags)
	if err != nil {
		return err
	}
	enabled := !k.disabled
	p := client.CreateKey{Kty: k.hsmType(), Size: k.size, Crv: k.curve, Ops: k.ops, Tags: tags, Attributes: &client.KeyAttributes{Enabled: &enabled}}
	if p.Attributes.NotBefore, err = parseTime("--not-before", k.from); err != nil {
		return err
	}
	if p.Attributes.Expires, err = parseTime("--expires", k.until); err != nil {
		return err
	}
	if p.Release, p.Attributes.Exportable, err = k.release.read(); err != nil {
		return err
	}
	h, err := k.at.open(a)
	if err != nil {
		return err
	}
	made, err := h.CreateKey(ctx, k.at.name, p)
	if err != nil {
		return fmt.Errorf("create key %s: %w", k.at.name, err)
	}
	return a.printKey(made)
}

// hsmType is the type as an HSM knows it: az takes RSA for RSA-HSM there.
func (k *keyCreate) hsmType() string {
	if strings.HasSuffix(strings.ToUpper(k.kty), "-HSM") {
		return k.kty
	}
	return k.kty + "-HSM"
}

func parseTime(flag, s string) (*int64, error) {
	if s == "" {
		return nil, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			unix := t.Unix()
			return &unix, nil
		}
	}
	return nil, wrongUse("%s %s: write a time such as 2026-01-31T00:00:00Z", flag, s)
}
