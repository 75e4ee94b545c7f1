package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

// restoreResult is a finished restore.
type restoreResult struct {
	JobID   string `json:"jobId"`
	Status  string `json:"status"`
	Details string `json:"statusDetails,omitempty"`
	Start   int64  `json:"startTime"`
	End     int64  `json:"endTime"`
}

func (a *app) restoreStart() *cobra.Command {
	var at address
	var s storage
	var identity bool
	var folder, key string
	c := a.verb("start", "Restore an HSM, or one key, from a full backup", `A full restore replaces everything in the HSM: keys with all versions, deleted keys, attributes, tags, role
assignments, settings. It is all or nothing, and refused unless this HSM has made a backup of its own a short while ago: run
backup start on it first. With --key-name only that key comes back; it must not exist.

The storage is given as for backup start; a SAS token needs the permissions rl.`, func(ctx context.Context) error {
		return a.startRestore(ctx, at, s, identity, folder, key)
	})
	at.flags(c)
	s.flags(c)
	f := c.Flags()
	f.BoolVar(&identity, "use-managed-identity", false, "use the HSM's user-assigned managed identity")
	f.StringVar(&folder, "backup-folder", "", "folder of the backup in the container")
	f.StringVar(&key, "key-name", "", "restore this key only")
	f.StringVar(&key, "key", "", "the same as --key-name")
	c.MarkFlagsMutuallyExclusive("key-name", "key")
	return require(c, "backup-folder")
}

// startRestore restores an HSM, or one key, and follows the job to its end.
func (a *app) startRestore(ctx context.Context, at address, s storage, identity bool, folder, key string) error {
	c, h, err := at.open(a)
	if err != nil {
		return err
	}
	target, err := s.forHSM(a, c, identity)
	if err != nil {
		return err
	}
	var j client.Job
	if key != "" {
		j, err = h.StartSelectiveRestore(ctx, key, target, folder)
	} else {
		j, err = h.StartRestore(ctx, target, folder)
	}
	if err != nil {
		return fmt.Errorf("start the restore: %w", err)
	}
	if j, err = a.follow(ctx, "restore", j); err != nil {
		return err
	}
	return a.print(restoreResult{JobID: j.ID, Status: j.Status, Details: j.Details, Start: j.Start, End: j.End}, "status", "statusDetails")
}
