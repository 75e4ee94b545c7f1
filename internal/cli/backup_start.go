package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// backupResult is how az prints a finished backup, and its job.
type backupResult struct {
	FolderURL string `json:"folderUrl"`
	JobID     string `json:"jobId"`
	Status    string `json:"status"`
	Details   string `json:"statusDetails,omitempty"`
	Start     int64  `json:"startTime"`
	End       int64  `json:"endTime"`
}

func (a *app) backupStart() *cobra.Command {
	var at address
	var s storage
	var identity bool
	c := a.verb("start", "Make a full backup of an HSM", `The HSM writes a new folder mhsm-NAME-TIME into the container: by its user-assigned managed identity
(--use-managed-identity true), or by a SAS token with the permissions crdw. A backup is also the restore point that
restore start asks for.

The SAS token: --storage-container-SAS-token as in az; or, unseen by other users of this machine,
--storage-container-sas-token-file or the variable `+sasVariable+`.`, func(ctx context.Context) error {
		c, h, err := at.open(a)
		if err != nil {
			return err
		}
		target, err := s.forHSM(a, c, identity)
		if err != nil {
			return err
		}
		j, err := h.StartBackup(ctx, target)
		if err != nil {
			return fmt.Errorf("start the backup: %w", err)
		}
		if j, err = a.follow(ctx, "backup", j); err != nil {
			return err
		}
		return a.print(backupResult{FolderURL: j.FolderURL, JobID: j.ID, Status: j.Status, Details: j.Details, Start: j.Start, End: j.End}, "status", "folderUrl")
	})
	at.flags(c)
	s.flags(c)
	c.Flags().BoolVar(&identity, "use-managed-identity", false, "use the HSM's user-assigned managed identity")
	return c
}
