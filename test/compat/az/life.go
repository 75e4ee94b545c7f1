package main

import (
	"os"
	"slices"
	"strings"
	"time"
)

// life is delete, show-deleted, list-deleted, recover, purge, backup and restore.
func (s *session) life() {
	n := s.name("life")
	var made, gone, back bundle
	s.key(&made, "create", "--name", n, "--kty", "RSA-HSM", "--size", "2048", "--tags", "a=b")
	digest := digestOf("RS256", text)
	sig := s.sign(n, "RS256", digest)

	s.key(&gone, "delete", "--name", n)
	equal(gone.RecoveryID, env("REDOUBT_HSM_URL")+"/deletedkeys/"+n, "recovery id")
	want(gone.DeletedDate != nil && gone.ScheduledPurgeDate != nil && gone.ScheduledPurgeDate.Sub(*gone.DeletedDate) == 7*24*time.Hour, "deleted %v, to be purged %v", gone.DeletedDate, gone.ScheduledPurgeDate)
	s.refusedKey("KeyNotFound", "show", "--name", n)
	s.refusedKey("Conflict", "create", "--name", n, "--kty", "EC-HSM", "--curve", "P-256")
	s.key(&gone, "show-deleted", "--name", n)
	equal(gone.Key.Kid, made.Key.Kid, "what show-deleted says")
	var deleted []item
	s.key(&deleted, "list-deleted")
	want(contains(names(deleted), n), "%s is not in the list of deleted keys", n)
	s.key(&deleted, "list-deleted", "--maxresults", "1")
	equal(len(deleted), 1, "deleted keys of at most one")
	s.key(&back, "recover", "--name", n)
	equal(back.Key.Kid, made.Key.Kid, "what recover says")
	step("deleted, shown, listed and recovered a key")

	file := s.file("life.backup")
	s.key(nil, "backup", "--name", n, "--file", file)
	s.refusedKey("Conflict", "restore", "--file", file)
	s.key(nil, "delete", "--name", n)
	s.key(nil, "purge", "--name", n)
	s.refusedKey("KeyNotFound", "show-deleted", "--name", n)
	blob := must(os.ReadFile(file))
	fatal(os.WriteFile(file+".damaged", flip(blob), 0o600))
	s.refusedKey("BadParameter", "restore", "--file", file+".damaged")
	s.key(&back, "restore", "--file", file)
	want(back.Key.Kid == made.Key.Kid && slices.Equal(back.Key.N, made.Key.N) && back.Tags["a"] == "b", "restored %+v, made %+v", back, made)
	equal(s.verifies(n, "RS256", digest, sig), true, "a signature from before the restore")
	public := s.file("life.pem")
	s.key(nil, "download", "--name", n, "--file", public)
	want(s.opensslVerifies(public, "RS256", digest, s.sign(n, "RS256", digest)), "a signature by the restored key does not verify")
	// A defect of az 2.91: the form that restores one key from a full backup calls a method that its library no longer has. `az keyvault restore
	// start --key-name` does the same, and is run by test/runbook/commands.sh.
	s.refusedKey("begin_selective_restore", "restore", "--name", n, "--storage-account-name", "account", "--blob-container-name", "backups",
		"--storage-container-SAS-token", "none", "--backup-folder", "mhsm-folder-2026010112000000")
	step("backed up, purged and restored a key; its signatures verify by openssl")
}

// clean deletes and purges all keys that verify does not need.
func (s *session) clean() {
	var there []item
	s.json(&there, "keyvault", "key", "list", "--hsm-name", s.hsm)
	count := 0
	for _, n := range s.made {
		if s.kept[n] || !contains(names(there), n) {
			continue
		}
		s.az("keyvault", "key", "delete", "--hsm-name", s.hsm, "--name", n)
		s.az("keyvault", "key", "purge", "--hsm-name", s.hsm, "--name", n)
		count++
	}
	var left []item
	s.json(&left, "keyvault", "key", "list-deleted", "--hsm-name", s.hsm)
	for _, it := range left {
		want(!strings.HasPrefix(it.Name, s.prefix), "%s is still deleted, not purged", it.Name)
	}
	step("%d keys deleted and purged, %d kept for verify", count, len(s.kept))
}
