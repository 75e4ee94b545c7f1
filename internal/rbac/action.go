package rbac

import (
	"fmt"
	"math/bits"
	"strings"
)

// Action is one data action, numbered so that a set of them is a word. The zero value is invalid.
type Action uint8

// prefix begins every data action's name on the wire.
const prefix = "Microsoft.KeyVault/managedHsm/"

// The data actions. The names on the wire, with their irregular endings, are in actionNames.
const (
	KeysRead Action = iota + 1
	KeysWrite
	KeysCreate
	KeysDelete
	KeysImport
	KeysExport
	KeysRelease
	KeysBackup
	KeysRestore
	KeysEncrypt
	KeysDecrypt
	KeysWrap
	KeysUnwrap
	KeysSign
	KeysVerify
	KeysRotate
	KeysDerive
	DeletedKeysRead
	DeletedKeysRecover
	DeletedKeysDelete
	RoleAssignmentsRead
	RoleAssignmentsWrite
	RoleAssignmentsDelete
	RoleDefinitionsRead
	RoleDefinitionsWrite
	RoleDefinitionsDelete
	DomainDownload
	DomainDownloadRead
	DomainUpload
	DomainUploadRead
	TransferKeyRead
	BackupStart
	BackupStatus
	RestoreStart
	RestoreStatus
	RandomBytes
	actionEnd
)

// actionNames are the wire names without prefix (rest-api 4.1).
var actionNames = [actionEnd]string{
	KeysRead: "keys/read/action", KeysWrite: "keys/write/action", KeysCreate: "keys/create", KeysDelete: "keys/delete",
	KeysImport: "keys/import/action", KeysExport: "keys/export/action", KeysRelease: "keys/release/action",
	KeysBackup: "keys/backup/action", KeysRestore: "keys/restore/action",
	KeysEncrypt: "keys/encrypt/action", KeysDecrypt: "keys/decrypt/action", KeysWrap: "keys/wrap/action", KeysUnwrap: "keys/unwrap/action",
	KeysSign: "keys/sign/action", KeysVerify: "keys/verify/action", KeysRotate: "keys/rotate/action", KeysDerive: "keys/derive/action",
	DeletedKeysRead: "keys/deletedKeys/read/action", DeletedKeysRecover: "keys/deletedKeys/recover/action", DeletedKeysDelete: "keys/deletedKeys/delete",
	RoleAssignmentsRead: "roleAssignments/read/action", RoleAssignmentsWrite: "roleAssignments/write/action", RoleAssignmentsDelete: "roleAssignments/delete/action",
	RoleDefinitionsRead: "roleDefinitions/read/action", RoleDefinitionsWrite: "roleDefinitions/write/action", RoleDefinitionsDelete: "roleDefinitions/delete/action",
	DomainDownload: "securitydomain/download/action", DomainDownloadRead: "securitydomain/download/read",
	DomainUpload: "securitydomain/upload/action", DomainUploadRead: "securitydomain/upload/read", TransferKeyRead: "securitydomain/transferkey/read",
	BackupStart: "backup/start/action", BackupStatus: "backup/status/action", RestoreStart: "restore/start/action", RestoreStatus: "restore/status/action",
	RandomBytes: "rng/action",
}

// String is the full wire name.
func (a Action) String() string {
	if a == 0 || a >= actionEnd {
		return "invalid"
	}
	return prefix + actionNames[a]
}

// actionsByName finds an action by its wire name in lower case.
var actionsByName = func() map[string]Action {
	m := make(map[string]Action, actionEnd)
	for a := Action(1); a < actionEnd; a++ {
		m[strings.ToLower(a.String())] = a
	}
	return m
}()

// ParseAction is the inverse of String. Letter case is of no account: the service's own pages write managedHsm and
// managedHSM.
func ParseAction(s string) (Action, error) {
	if a, ok := actionsByName[strings.ToLower(s)]; ok {
		return a, nil
	}
	if strings.Contains(s, "*") {
		return 0, fmt.Errorf("%w: data action %.100q; there are no wildcards, name each data action", ErrBadDefinition, s)
	}
	return 0, fmt.Errorf("%w: unknown data action %.100q; the built-in roles show which there are", ErrBadDefinition, s)
}

// Set is a set of actions.
type Set uint64

// SetOf builds a Set.
func SetOf(as ...Action) Set {
	var s Set
	for _, a := range as {
		s |= 1 << a
	}
	return s
}

// Has tells whether a is in s.
func (s Set) Has(a Action) bool { return s&(1<<a) != 0 }

func (s Set) size() int { return bits.OnesCount64(uint64(s)) }

// Names lists the wire names in s, in numeric order.
func (s Set) Names() []string {
	out := []string{}
	for a := Action(1); a < actionEnd; a++ {
		if s.Has(a) {
			out = append(out, a.String())
		}
	}
	return out
}
