package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) sdRestoreBlob() *cobra.Command {
	var c ceremony
	var out string
	var dry bool
	cmd := a.verb("restore-blob", "Encrypt a security domain for the HSM that is to get it", `Opens the security domain with the private keys of a quorum and encrypts it for the new HSM's exchange key. Offline:
no connection is opened. Files are interchangeable with those of "az keyvault security-domain restore-blob".

Before any private key is read the quorum is checked. The restore blob is written whole or not at all, mode 0600,
and never over an existing file. Compare the exchange key's thumbprint with the one in the new HSM's status, and
the domain id with the one you keep with the file, on a second channel.

With --dry-run no private key is read and nothing is written; the transcript goes to standard output.`, func(ctx context.Context) error {
		if err := checkAbsent("restore blob", out); err != nil && !dry {
			return err
		}
		if err := c.prepare(); err != nil {
			return err
		}
		if dry {
			fmt.Fprint(a.out, c.transcript(a))
			fmt.Fprintf(a.out, "Restore blob: %s\n  not written (dry run)\n", out)
			return nil
		}
		blob, err := c.blob(ctx, a)
		if err != nil {
			return err
		}
		if err := create("restore blob", out, blob); err != nil {
			return err
		}
		a.note("%sRestore blob: %s\n  written. Next: redoubt security-domain upload --hsm-name NAME --sd-file %s --restore-blob", c.transcript(a), out, out)
		return nil
	})
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.sdFile, "sd-file", "", "security domain file of the lost HSM")
	f.StringVar(&out, "sd-file-restore-blob", "", "restore blob to write")
	f.BoolVar(&dry, "dry-run", false, "show what would be done")
	return require(cmd, "sd-file", "sd-exchange-key", "sd-wrapping-keys", "sd-file-restore-blob")
}
