package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
	"redoubt/internal/key"
	"redoubt/internal/material"
)

type keyImport struct {
	at                                           keyAddress
	pem                                          pemKey
	byokFile, byokString, kty, curve, protection string
	from, until                                  string
	ops, tags                                    []string
	disabled                                     bool
	release                                      releaseFlags
}

func (a *app) keyImport() *cobra.Command {
	var k keyImport
	c := a.verb("import", "Bring a key into an HSM, or a new version of one", `From a PEM file, whose key goes to the HSM through the encrypted connection only; or from a key transfer file (.byok), in which the
key was wrapped for this HSM where it came from: with the tool of another HSM's vendor, or with key make-byok.`, func(ctx context.Context) error { return k.run(ctx, a) })
	k.at.flags(c)
	k.pem.flags(c)
	k.release.flags(c)
	k.release.exportableFlag(c)
	f := c.Flags()
	f.StringVar(&k.byokFile, "byok-file", "", "key transfer file")
	f.StringVar(&k.byokString, "byok-string", "", "content of a key transfer file")
	f.StringVar(&k.kty, "kty", "RSA", "type of the key in the transfer file: RSA, EC or oct")
	f.StringVar(&k.curve, "curve", "", "its curve, for EC: P-256, P-384, P-521 or P-256K")
	f.StringArrayVar(&k.ops, "ops", nil, "what the key may do: sign verify encrypt decrypt wrapKey unwrapKey")
	f.StringArrayVar(&k.tags, "tags", nil, "tags, NAME=VALUE")
	f.BoolVar(&k.disabled, "disabled", false, "import it disabled")
	f.StringVar(&k.from, "not-before", "", "time before which it cannot be used, such as 2026-01-31T00:00:00Z")
	f.StringVar(&k.until, "expires", "", "time after which it cannot be used")
	f.StringVarP(&k.protection, "protection", "p", "hsm", "hsm")
	c.MarkFlagsOneRequired("pem-file", "byok-file", "byok-string")
	c.MarkFlagsMutuallyExclusive("pem-file", "byok-file", "byok-string")
	return c
}

func (k *keyImport) run(ctx context.Context, a *app) error {
	if k.protection != "hsm" {
		return wrongUse("--protection %s: keys of an HSM are protected by it; use hsm", k.protection)
	}
	tags, err := parseTags(k.tags)
	if err != nil {
		return err
	}
	enabled := !k.disabled
	p := client.ImportKey{HSM: true, Tags: tags, Attributes: &client.KeyAttributes{Enabled: &enabled}}
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
	if p.Key, err = k.material(ctx, a); err != nil {
		return err
	}
	defer p.Key.Wipe()
	p.Key.KeyOps = k.ops
	made, err := h.ImportKey(ctx, k.at.name, p)
	if err != nil {
		return fmt.Errorf("import key %s: %w", k.at.name, err)
	}
	return a.printKey(made)
}

// material is what was given, as the wire has it.
func (k *keyImport) material(ctx context.Context, a *app) (client.PrivateJWK, error) {
	if k.pem.file != "" {
		if k.curve != "" {
			return client.PrivateJWK{}, wrongUse("--curve is for transfer files; a PEM file says itself what it holds")
		}
		m, err := k.pem.read(ctx, a)
		if err != nil {
			return client.PrivateJWK{}, err
		}
		defer m.Wipe()
		return privateJWK(m)
	}
	if k.pem.password != "" || k.pem.passwordFile != "" {
		return client.PrivateJWK{}, wrongUse("a password goes with --pem-file; transfer files have none")
	}
	kty, err := key.ParseType(strings.TrimSuffix(k.kty, "-HSM") + "-HSM")
	if err != nil {
		return client.PrivateJWK{}, wrongUse("--kty %s: use RSA, EC or oct", k.kty)
	}
	if (kty == key.EC) != (k.curve != "") {
		return client.PrivateJWK{}, wrongUse("--curve goes with --kty EC, and with nothing else")
	}
	blob := []byte(k.byokString)
	if k.byokFile != "" {
		if blob, err = readFile("key transfer file", k.byokFile); err != nil {
			return client.PrivateJWK{}, err
		}
	}
	return client.PrivateJWK{Kty: string(kty), Crv: k.curve, KeyHSM: blob}, nil
}

// privateJWK is a key with its private parts. The caller wipes it.
func privateJWK(k material.Key) (client.PrivateJWK, error) {
	p, err := k.Private()
	if err != nil {
		return client.PrivateJWK{}, err
	}
	spec, pub := k.Spec(), k.Public()
	return client.PrivateJWK{Kty: string(spec.Type), Crv: string(spec.Curve), N: pub.N, E: pub.E, X: pub.X, Y: pub.Y,
		D: p.D.Expose(), P: p.P.Expose(), Q: p.Q.Expose(), DP: p.DP.Expose(), DQ: p.DQ.Expose(), QI: p.QI.Expose(), K: p.K.Expose()}, nil
}
