package dataplane

import (
	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

var keyBackupRoutes = []route{
	{"POST", "keys/{name}/backup", backupKey},
	{"POST", "keys/restore", restoreKey},
}

// maxKeyBackupBody has room for the largest backup of a key, as base64url in JSON.
const maxKeyBackupBody = (hsm.MaxKeyBackup+2)/3*4 + 1024

// keyBackup is both the answer to a backup and the body of a restore.
type keyBackup struct {
	Value bytes64 `json:"value"`
}

func backupKey(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	blob, err := q.hsm.BackupKey(q.Context(), q.who, n)
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.OK(keyBackup{blob})
}

func restoreKey(q *request) (azhttp.Reply, error) {
	raw, err := q.ReadBodyUpTo(maxKeyBackupBody)
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body keyBackup
	if err := decodeBody(raw, &body); err != nil {
		return azhttp.Reply{}, err
	}
	return q.bundleReply(q.hsm.RestoreKey(q.Context(), q.who, body.Value))
}
