package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) keyBackup() *cobra.Command {
	var t keyAddress
	var file string
	c := a.verb("backup", "Write a backup of one key with all its versions", `The file is sealed under the HSM's security domain: key restore brings the key back on this HSM, or on any that has the
same security domain. It is written whole or not at all, mode 0600, and never over an existing file.`, func(ctx context.Context) error {
		if err := checkAbsent("backup", file); err != nil {
			return err
		}
		h, err := t.open(a)
		if err != nil {
			return err
		}
		blob, err := h.BackupKey(ctx, t.name)
		if err != nil {
			return fmt.Errorf("back up key %s: %w", t.name, err)
		}
		if err := create("backup", file, blob); err != nil {
			return err
		}
		a.note("%s: %d bytes. redoubt key restore --hsm-name NAME --file %s brings %s back where its name is free.", file, len(blob), file, t.name)
		return nil
	})
	t.flags(c)
	c.Flags().StringVarP(&file, "file", "f", "", "file to write")
	return require(c, "file")
}
