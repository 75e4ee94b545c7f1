package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrDenied: no assignment of the caller grants the action at the scope.
	ErrDenied = errors.New("access denied")
	// ErrAssignmentNotFound: no such role assignment.
	ErrAssignmentNotFound = errors.New("role assignment not found")
	// ErrDefinitionNotFound: no such role definition.
	ErrDefinitionNotFound = errors.New("role definition not found")
	// ErrBadDefinition: a role definition the HSM does not accept.
	ErrBadDefinition = errors.New("bad role definition")
	// ErrBadAssignment: a role assignment the HSM does not accept.
	ErrBadAssignment = errors.New("bad role assignment")
	// ErrBuiltIn: built-in roles cannot be changed or deleted.
	ErrBuiltIn = errors.New("built-in role definitions cannot be changed")
	// ErrLastAdministrator: the change would leave the HSM without an Administrator.
	ErrLastAdministrator = errors.New("the last Managed HSM Administrator cannot be removed")
	// ErrAssignmentExists: the same principal already has the same role at the same scope.
	ErrAssignmentExists = errors.New("role assignment already exists")
)

// DefinitionID is the GUID of a role definition, lower-case.
type DefinitionID string

// definitionPrefix begins the wire id of a definition; there is no leading slash.
const definitionPrefix = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/"

// Wire is the id as clients know it.
func (d DefinitionID) Wire() string { return definitionPrefix + string(d) }

// ParseDefinitionID accepts the wire id with or without its leading slash, or the bare GUID.
func ParseDefinitionID(s string) (DefinitionID, error) {
	s = strings.TrimPrefix(s, "/")
	if len(s) > len(definitionPrefix) && strings.EqualFold(s[:len(definitionPrefix)], definitionPrefix) {
		s = s[len(definitionPrefix):]
	}
	g, err := ParseGUID(s)
	if err != nil {
		return "", fmt.Errorf("%w: roleDefinitionId %q", ErrBadAssignment, s)
	}
	return DefinitionID(g), nil
}

// ParseGUID checks the 8-4-4-4-12 form and lower-cases it.
func ParseGUID(s string) (string, error) {
	if len(s) != 36 {
		return "", fmt.Errorf("%w: %q is not a GUID", ErrBadAssignment, s)
	}
	s = strings.ToLower(s)
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return "", fmt.Errorf("%w: %q is not a GUID", ErrBadAssignment, s)
		}
	}
	return s, nil
}

// Definition is a role: what it grants.
type Definition struct {
	ID             DefinitionID `json:"id"`
	Name           string       `json:"name"`
	Description    string       `json:"description,omitempty"`
	Actions        []string     `json:"actions,omitempty"` // control-plane actions, kept and shown, never evaluated here
	NotActions     []string     `json:"not_actions,omitempty"`
	DataActions    []string     `json:"data_actions"`
	NotDataActions []string     `json:"not_data_actions,omitempty"`
	BuiltIn        bool         `json:"built_in,omitempty"`
}

// Grants is the set of data actions the role gives: its data actions minus its notDataActions.
func (d Definition) Grants() (Set, error) {
	var give, not Set
	for _, l := range []struct {
		names []string
		into  *Set
	}{{d.DataActions, &give}, {d.NotDataActions, &not}} {
		for _, n := range l.names {
			a, err := ParseAction(n)
			if err != nil {
				return 0, err
			}
			*l.into |= SetOf(a)
		}
	}
	return give &^ not, nil
}

// Canonical spells data actions as the service does and leaves out what is named twice. Their order stays.
func Canonical(names []string) ([]string, error) {
	var out []string
	var seen Set
	for _, n := range names {
		a, err := ParseAction(n)
		if err != nil {
			return nil, err
		}
		if !seen.Has(a) {
			seen, out = seen|SetOf(a), append(out, a.String())
		}
	}
	return out, nil
}

// The built-in roles' ids (rest-api 4.2).
const (
	Administrator               DefinitionID = "a290e904-7015-4bba-90c8-60543313cdb4"
	CryptoOfficer               DefinitionID = "515eb02d-2335-4d2d-92f2-b1cbdf9c3778"
	CryptoUser                  DefinitionID = "21dbd100-6940-42c2-9190-5d6cb909625b"
	PolicyAdministrator         DefinitionID = "4bd23610-cdcf-4971-bdee-bdc562cc28e4"
	CryptoAuditor               DefinitionID = "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3"
	CryptoServiceEncryptionUser DefinitionID = "33413926-3206-4cdd-b39a-83574fe37a17"
	CryptoServiceReleaseUser    DefinitionID = "21dbd100-6940-42c2-9190-5d6cb909625c"
	BackupOperator              DefinitionID = "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8"
	RestoreOperator             DefinitionID = "6efe6056-5259-49d2-8b3d-d3d73544b20b"
	roleAssignmentsAll                       = 1<<RoleAssignmentsRead | 1<<RoleAssignmentsWrite | 1<<RoleAssignmentsDelete
	roleDefinitionsAll                       = 1<<RoleDefinitionsRead | 1<<RoleDefinitionsWrite | 1<<RoleDefinitionsDelete
)

func builtIn(id DefinitionID, name string, s Set) Definition {
	return Definition{ID: id, Name: name, DataActions: s.Names(), BuiltIn: true}
}

// builtIns are the roles every HSM has. What each grants follows what a live service returned.
var builtIns = []Definition{
	builtIn(Administrator, "Managed HSM Administrator", roleAssignmentsAll|roleDefinitionsAll|
		SetOf(DomainDownload, DomainDownloadRead, DomainUpload, DomainUploadRead, TransferKeyRead, BackupStart, BackupStatus, RestoreStart, RestoreStatus)),
	builtIn(CryptoOfficer, "Managed HSM Crypto Officer", roleAssignmentsAll|roleDefinitionsAll|
		SetOf(DeletedKeysRead, DeletedKeysDelete, DeletedKeysRecover, KeysExport)),
	builtIn(CryptoUser, "Managed HSM Crypto User", SetOf(RoleDefinitionsRead, RoleAssignmentsRead, KeysRead, KeysWrite, KeysRotate, KeysImport, KeysRelease,
		KeysBackup, KeysRestore, KeysEncrypt, KeysDecrypt, KeysWrap, KeysUnwrap, KeysSign, KeysVerify, KeysDerive, KeysCreate, KeysDelete, RandomBytes)),
	builtIn(PolicyAdministrator, "Managed HSM Policy Administrator", roleAssignmentsAll|roleDefinitionsAll),
	builtIn(CryptoAuditor, "Managed HSM Crypto Auditor", SetOf(RoleAssignmentsRead, RoleDefinitionsRead, KeysRead, DeletedKeysRead)),
	builtIn(CryptoServiceEncryptionUser, "Managed HSM Crypto Service Encryption User", SetOf(KeysRead, KeysWrap, KeysUnwrap)),
	builtIn(CryptoServiceReleaseUser, "Managed HSM Crypto Service Release User", SetOf(KeysRelease)),
	builtIn(BackupOperator, "Managed HSM Backup User", SetOf(BackupStart, BackupStatus, KeysBackup)),
	builtIn(RestoreOperator, "Managed HSM Restore", SetOf(RestoreStart, RestoreStatus, KeysRestore)),
}

// BuiltIns lists the built-in role definitions.
func BuiltIns() []Definition { return slices.Clone(builtIns) }

// BuiltIn finds one by id.
func BuiltIn(id DefinitionID) (Definition, bool) {
	i := slices.IndexFunc(builtIns, func(d Definition) bool { return d.ID == id })
	if i < 0 {
		return Definition{}, false
	}
	return builtIns[i], true
}
