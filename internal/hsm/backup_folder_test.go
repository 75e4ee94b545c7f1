package hsm

import "testing"

// TestBackupsInOneMoment: backups get folders of their own although the clock stands still, so that one can
// be started right after another failed and left its blocks.
func TestBackupsInOneMoment(t *testing.T) {
	t.Parallel()
	r, _ := newActiveDR(t)
	seen := make(map[string]bool)
	for range 3 {
		doc := r.succeed(r.StartBackup(t.Context(), admin, sasTarget(backupURI)))
		if seen[doc.Folder] {
			t.Errorf("folder %s was given out twice", doc.Folder)
		}
		seen[doc.Folder] = true
	}
}
