package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/backup"
)

func (a *app) keyRestore() *cobra.Command {
	var at address
	var s storage
	var file, folder, name string
	c := a.verb("restore", "Bring back one key", `From the file that key backup wrote; or, with the storage and --backup-folder, from a full backup, as restore start
--key-name does. The HSM must have the security domain that the backup was made under, and the key's name must be free: neither live nor
deleted.`, func(ctx context.Context) error {
		if file == "" {
			return a.restoreKeyFromStorage(ctx, at, s, folder, name)
		}
		if name != "" {
			return wrongUse("--name goes with a backup in storage; the file says itself which key it holds")
		}
		blob, err := readFileUpTo("backup", file, backup.MaxKeyBackup)
		if err != nil {
			return err
		}
		_, h, err := at.open(a)
		if err != nil {
			return err
		}
		k, err := h.RestoreKey(ctx, blob)
		if err != nil {
			return fmt.Errorf("restore the key of %s: %w", file, err)
		}
		return a.printKey(k)
	})
	at.flags(c)
	s.flags(c)
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "file that key backup wrote")
	f.StringVar(&folder, "backup-folder", "", "folder of a full backup in the container")
	f.StringVarP(&name, "name", "n", "", "key to restore from the full backup")
	c.MarkFlagsOneRequired("file", "backup-folder")
	for _, other := range []string{"backup-folder", "storage-account-name", "blob-container-name", "storage-resource-uri", "storage-container-SAS-token", "storage-container-sas-token-file"} {
		c.MarkFlagsMutuallyExclusive("file", other)
	}
	return c
}

func (a *app) restoreKeyFromStorage(ctx context.Context, at address, s storage, folder, name string) error {
	if name == "" {
		return wrongUse("--name is needed: which key of the backup %s", folder)
	}
	return a.startRestore(ctx, at, s, false, folder, name)
}
