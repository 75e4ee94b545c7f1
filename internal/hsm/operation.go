package hsm

import "redoubt/internal/rbac"

// Operation is one operation of the device. The zero value is invalid.
type Operation uint8

// The operations. Everything about them stands in the table below.
const (
	OpKeyCreate Operation = iota + 1
	OpKeyGet
	OpKeyUpdate
	OpKeyList
	OpKeyListVersions
	OpKeyDelete
	OpKeyGetDeleted
	OpKeyListDeleted
	OpKeyRecover
	OpKeyPurge
	OpKeyImport
	OpKeyBackup
	OpKeyRestore
	OpKeySign
	OpKeyVerify
	OpKeyEncrypt
	OpKeyDecrypt
	OpKeyWrap
	OpKeyUnwrap
	OpRandomBytes
	OpKeyRotate
	OpRotationPolicyGet
	OpRotationPolicySet
	OpKeyRelease
	OpKeyAttestation
	OpSecureWrap
	OpSecureUnwrap
	OpDomainDownload
	OpDomainDownloadStatus
	OpDomainTransferKey
	OpDomainUpload
	OpDomainUploadStatus
	OpBackup
	OpBackupStatus
	OpRestore
	OpRestoreStatus
	OpSelectiveRestore
	OpPreBackup
	OpPreRestore
	OpRoleAssignmentCreate
	OpRoleAssignmentGet
	OpRoleAssignmentDelete
	OpRoleAssignmentList
	OpRoleDefinitionCreate
	OpRoleDefinitionGet
	OpRoleDefinitionDelete
	OpRoleDefinitionList
	OpSettingGet
	OpSettingList
	OpSettingUpdate
	operationEnd
)

// Row is what the table says of one operation: the guard enforces it, the role check reads it, the
// matrix test and the coverage page are generated from it.
type Row struct {
	Name    string      // operationName in the audit log (rest-api section 5)
	Action  rbac.Action // data action the caller needs
	States  []State     // states it is allowed in
	Mutates bool        // its audit entry commits in the same transaction as the change
	Route   string      // method and path, for the coverage page
	Since   string      // first api-version that has it (rest-api 0.1); older ones answer as if it were not there
}

var (
	whileActive = []State{Active}
	anyDomain   = []State{Provisioned, Recovering, Active, Restoring}
	duringJobs  = []State{Active, Restoring}
)

var table = [operationEnd]Row{
	OpKeyCreate:       {"KeyCreate", rbac.KeysCreate, whileActive, true, "POST /keys/{key-name}/create", "7.2-preview"},
	OpKeyGet:          {"KeyGet", rbac.KeysRead, whileActive, false, "GET /keys/{key-name}/{key-version}", "7.2-preview"},
	OpKeyUpdate:       {"KeyUpdate", rbac.KeysWrite, whileActive, true, "PATCH /keys/{key-name}/{key-version}", "7.2-preview"},
	OpKeyList:         {"KeyList", rbac.KeysRead, whileActive, false, "GET /keys", "7.2-preview"},
	OpKeyListVersions: {"KeyListVersions", rbac.KeysRead, whileActive, false, "GET /keys/{key-name}/versions", "7.2-preview"},
	OpKeyDelete:       {"KeyDelete", rbac.KeysDelete, whileActive, true, "DELETE /keys/{key-name}", "7.2-preview"},
	OpKeyGetDeleted:   {"KeyGetDeleted", rbac.DeletedKeysRead, whileActive, false, "GET /deletedkeys/{key-name}", "7.2-preview"},
	OpKeyListDeleted:  {"KeyListDeleted", rbac.DeletedKeysRead, whileActive, false, "GET /deletedkeys", "7.2-preview"},
	OpKeyRecover:      {"KeyRecover", rbac.DeletedKeysRecover, whileActive, true, "POST /deletedkeys/{key-name}/recover", "7.2-preview"},
	OpKeyPurge:        {"KeyPurge", rbac.DeletedKeysDelete, whileActive, true, "DELETE /deletedkeys/{key-name}", "7.2-preview"},
	OpKeyImport:       {"KeyImport", rbac.KeysImport, whileActive, true, "PUT /keys/{key-name}", "7.2-preview"},
	OpKeyBackup:       {"KeyBackup", rbac.KeysBackup, whileActive, false, "POST /keys/{key-name}/backup", "7.2-preview"},
	OpKeyRestore:      {"KeyRestore", rbac.KeysRestore, whileActive, true, "POST /keys/restore", "7.2-preview"},
	OpKeySign:         {"KeySign", rbac.KeysSign, whileActive, false, "POST /keys/{key-name}/{key-version}/sign", "7.2-preview"},
	OpKeyVerify:       {"KeyVerify", rbac.KeysVerify, whileActive, false, "POST /keys/{key-name}/{key-version}/verify", "7.2-preview"},
	OpKeyEncrypt:      {"KeyEncrypt", rbac.KeysEncrypt, whileActive, false, "POST /keys/{key-name}/{key-version}/encrypt", "7.2-preview"},
	OpKeyDecrypt:      {"KeyDecrypt", rbac.KeysDecrypt, whileActive, false, "POST /keys/{key-name}/{key-version}/decrypt", "7.2-preview"},
	OpKeyWrap:         {"KeyWrap", rbac.KeysWrap, whileActive, false, "POST /keys/{key-name}/{key-version}/wrapkey", "7.2-preview"},
	OpKeyUnwrap:       {"KeyUnwrap", rbac.KeysUnwrap, whileActive, false, "POST /keys/{key-name}/{key-version}/unwrapkey", "7.2-preview"},
	OpRandomBytes:     {"RandomBytesGet", rbac.RandomBytes, whileActive, false, "POST /rng", "7.3-preview"},

	OpKeyRotate:         {"KeyRotate", rbac.KeysRotate, whileActive, true, "POST /keys/{key-name}/rotate", "7.3-preview"},
	OpRotationPolicyGet: {"KeyRotationPolicyGet", rbac.KeysRead, whileActive, false, "GET /keys/{key-name}/rotationpolicy", "7.3-preview"},
	OpRotationPolicySet: {"KeyRotationPolicySet", rbac.KeysWrite, whileActive, true, "PUT /keys/{key-name}/rotationpolicy", "7.3-preview"},
	// A release changes nothing, but its audit entry must be on disk before the key leaves.
	OpKeyRelease:     {"KeyRelease", rbac.KeysRelease, whileActive, true, "POST /keys/{key-name}/{key-version}/release", "7.3-preview"},
	OpKeyAttestation: {"KeyGetAttestation", rbac.KeysRead, whileActive, false, "GET /keys/{key-name}/{key-version}/attestation", "7.6-preview.2"},
	OpSecureWrap:     {"KeySecureWrap", rbac.KeysWrap, whileActive, false, "POST /keys/{key-name}/{key-version}/securewrapkey", "2026-01-01-preview"},
	OpSecureUnwrap:   {"KeySecureUnwrap", rbac.KeysUnwrap, whileActive, true, "POST /keys/{key-name}/{key-version}/secureunwrapkey", "2026-01-01-preview"},

	OpDomainDownload:       {"SecurityDomainBackup", rbac.DomainDownload, []State{Provisioned, Active}, true, "POST /securitydomain/download", "7.2-preview"},
	OpDomainDownloadStatus: {"SecurityDomainBackupStatusGet", rbac.DomainDownloadRead, anyDomain, true, "GET /securitydomain/download/pending", "7.2-preview"},
	OpDomainTransferKey:    {"SecurityDomainTransferKeyGet", rbac.TransferKeyRead, []State{Provisioned, Recovering}, true, "GET /securitydomain/upload", "7.2-preview"},
	OpDomainUpload:         {"SecurityDomainRestore", rbac.DomainUpload, []State{Provisioned, Recovering}, true, "POST /securitydomain/upload", "7.2-preview"},
	OpDomainUploadStatus:   {"SecurityDomainRestoreStatusGet", rbac.DomainUploadRead, anyDomain, true, "GET /securitydomain/upload/pending", "7.2-preview"},

	OpBackup:           {"BackupCreate", rbac.BackupStart, whileActive, true, "POST /backup", "7.2-preview"},
	OpBackupStatus:     {"BackupStatusGet", rbac.BackupStatus, duringJobs, false, "GET /backup/{jobId}/pending", "7.2-preview"},
	OpRestore:          {"RestoreCreate", rbac.RestoreStart, whileActive, true, "PUT /restore", "7.2-preview"},
	OpRestoreStatus:    {"RestoreStatusGet", rbac.RestoreStatus, duringJobs, false, "GET /restore/{jobId}/pending", "7.2-preview"},
	OpSelectiveRestore: {"SelectiveKeyRestoreCreate", rbac.RestoreStart, whileActive, true, "PUT /keys/{keyName}/restore", "7.2-preview"},
	OpPreBackup:        {"PreBackupCreate", rbac.BackupStart, whileActive, true, "POST /prebackup", "7.6-preview.1"},
	OpPreRestore:       {"PreRestoreCreate", rbac.RestoreStart, whileActive, true, "PUT /prerestore", "7.6-preview.1"},

	OpRoleAssignmentCreate: {"RoleAssignmentCreate", rbac.RoleAssignmentsWrite, whileActive, true, "PUT /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", "7.2-preview"},
	OpRoleAssignmentGet:    {"RoleAssignmentGet", rbac.RoleAssignmentsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", "7.2-preview"},
	OpRoleAssignmentDelete: {"RoleAssignmentDelete", rbac.RoleAssignmentsDelete, whileActive, true, "DELETE /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}", "7.2-preview"},
	OpRoleAssignmentList:   {"RoleAssignmentList", rbac.RoleAssignmentsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleAssignments", "7.2-preview"},
	OpRoleDefinitionCreate: {"RoleDefinitionCreate", rbac.RoleDefinitionsWrite, whileActive, true, "PUT /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}", "7.2-preview"},
	OpRoleDefinitionGet:    {"RoleDefinitionGet", rbac.RoleDefinitionsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}", "7.2-preview"},
	OpRoleDefinitionDelete: {"RoleDefinitionDelete", rbac.RoleDefinitionsDelete, whileActive, true, "DELETE /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}", "7.2-preview"},
	OpRoleDefinitionList:   {"RoleDefinitionList", rbac.RoleDefinitionsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleDefinitions", "7.2-preview"},

	// Permission strings of settings are not published: reading needs what every role that sees roles has,
	// changing needs an Administrator's right.
	OpSettingGet:    {"SettingGet", rbac.RoleDefinitionsRead, whileActive, false, "GET /settings/{setting-name}", "7.4-preview.1"},
	OpSettingList:   {"SettingList", rbac.RoleDefinitionsRead, whileActive, false, "GET /settings", "7.4-preview.1"},
	OpSettingUpdate: {"SettingUpdate", rbac.DomainUpload, whileActive, true, "PATCH /settings/{setting-name}", "7.4-preview.1"},
}

// statuses are the HTTP statuses of successes that are not 200, for the audit entry, which is written before
// the answer.
var statuses = map[Operation]int{
	OpKeyPurge: 204, OpDomainDownload: 202, OpDomainUpload: 202, OpBackup: 202, OpRestore: 202, OpSelectiveRestore: 202, OpPreBackup: 202, OpPreRestore: 202,
	OpRoleAssignmentCreate: 201, OpRoleDefinitionCreate: 201,
}

// status is that of a success.
func (op Operation) status() int {
	if s, ok := statuses[op]; ok {
		return s
	}
	return 200
}

// Table returns all operations in order, for tests and generated pages.
func Table() []Row { return append([]Row(nil), table[1:]...) }

func (op Operation) row() *Row { return &table[op] }

// String is the audit name.
func (op Operation) String() string { return op.row().Name }

func (r *Row) allowedIn(s State) bool {
	for _, x := range r.States {
		if x == s {
			return true
		}
	}
	return false
}
