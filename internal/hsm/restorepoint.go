package hsm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/seal"
)

// A full restore destroys what the HSM holds, so there must be a way back: a recent full backup of this
// HSM, of the content that would be lost, that can be read now.

// archiveScheme is how archives are signed; package backup itself knows no keys.
var archiveScheme = backup.Scheme{Verify: seal.VerifyManifest, DomainID: seal.DomainIDOf}

// checkRestorePoint refuses a device without a recent enough backup of its content. It goes by the device
// record alone; readRestorePoint looks at the backup itself. uri is the storage of the restore, from which
// the command in the message takes its names.
func (h *HSM) checkRestorePoint(d device, uri string) error {
	const why = "a full restore replaces everything on the HSM, so it needs a backup of what is there now"
	p := d.Point
	switch {
	case p == nil:
		return fmt.Errorf("%w: %s, and none has been made; take one: %s", ErrNoRestorePoint, why, h.backupCommand(uri))
	case p.Lineage != d.Lineage:
		return fmt.Errorf("%w: %s; the last one was made before the content was last replaced; take a new one: %s", ErrNoRestorePoint, why, h.backupCommand(uri))
	}
	old := h.cfg.Clock().Sub(time.Unix(p.Time, 0))
	if limit := h.cfg.RestorePointMaxAge; limit > 0 && old > limit {
		return fmt.Errorf("%w: %s; the last one (%s) is %s old and may be %s at most; take a new one: %s", ErrNoRestorePoint, why, p.Folder, age(old), age(limit), h.backupCommand(uri))
	}
	return nil
}

func (h *HSM) backupCommand(uri string) string {
	container, account := containerAndAccount(uri)
	if h.cfg.Identities == nil {
		return fmt.Sprintf("az keyvault backup start --hsm-name %s --storage-account-name %s --blob-container-name %s --storage-container-SAS-token SAS, with permissions %s", h.cfg.Name, account, container, needBackup)
	}
	return fmt.Sprintf("az keyvault backup start --hsm-name %s --storage-account-name %s --blob-container-name %s --use-managed-identity true (or --storage-container-SAS-token SAS, with permissions %s)", h.cfg.Name, account, container, needBackup)
}

// age says how long something is ago: seconds below a minute, minutes below two days, then days.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// readRestorePoint reads the manifest of the restore point again: through the storage kept open since the
// backup, or that of the restore when it is the same container, or with the managed identity.
func (h *HSM) readRestorePoint(ctx context.Context, j *runningJob) (backup.Manifest, error) {
	p := j.v.dev.Point
	var last error
	for _, open := range []func() (blob.Container, error){
		func() (blob.Container, error) { return h.keptContainer(p.Job), nil },
		func() (blob.Container, error) {
			if j.storage == nil || j.storage.URL() != p.URI {
				return nil, nil
			}
			return j.storage, nil
		},
		func() (blob.Container, error) {
			ids := h.identities()
			if !p.Identity || len(ids) == 0 {
				return nil, nil
			}
			return h.cfg.OpenContainer(h.life, ContainerRequest{URI: p.URI, Identities: ids, Need: "r"})
		},
	} {
		c, err := open()
		if c != nil && err == nil {
			var m backup.Manifest
			if m, err = backup.ReadManifest(ctx, c, p.Folder, backup.ByKey(archiveScheme, j.v.root.PublicKey())); err == nil {
				return m, h.sameRestorePoint(m, j)
			}
		}
		if err != nil {
			last = err
		}
	}
	if last == nil {
		last = errors.New("the SAS token it was written with went with the restart of the server")
	}
	return backup.Manifest{}, fmt.Errorf("%w: the backup %s in %s cannot be read again (%s); take another: %s", ErrNoRestorePoint, p.Folder, p.URI, last, h.backupCommand(j.doc.URI))
}

// sameRestorePoint makes sure that the manifest is that of the backup the device remembers.
func (h *HSM) sameRestorePoint(m backup.Manifest, j *runningJob) error {
	if m.HSMID != h.cfg.ID || m.Lineage != j.v.dev.Lineage || m.Time.Unix() != j.v.dev.Point.Time {
		return fmt.Errorf("%w: the folder %s holds a backup of %s made %s, not the one this HSM made; take another: %s",
			ErrNoRestorePoint, m.Folder, m.HSMName, m.Time.Format(time.RFC3339), h.backupCommand(j.doc.URI))
	}
	return nil
}
