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
	OpKeySign
	OpKeyVerify
	OpKeyEncrypt
	OpKeyDecrypt
	OpKeyWrap
	OpKeyUnwrap
	OpRandomBytes
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
}

var (
	whileActive = []State{Active}
	anyDomain   = []State{Provisioned, Recovering, Active, Restoring}
	duringJobs  = []State{Active, Restoring}
)

var table = [operationEnd]Row{
	OpKeyCreate:       {"KeyCreate", rbac.KeysCreate, whileActive, true, "POST /keys/{key-name}/create"},
	OpKeyGet:          {"KeyGet", rbac.KeysRead, whileActive, false, "GET /keys/{key-name}/{key-version}"},
	OpKeyUpdate:       {"KeyUpdate", rbac.KeysWrite, whileActive, true, "PATCH /keys/{key-name}/{key-version}"},
	OpKeyList:         {"KeyList", rbac.KeysRead, whileActive, false, "GET /keys"},
	OpKeyListVersions: {"KeyListVersions", rbac.KeysRead, whileActive, false, "GET /keys/{key-name}/versions"},
	OpKeyDelete:       {"KeyDelete", rbac.KeysDelete, whileActive, true, "DELETE /keys/{key-name}"},
	OpKeyGetDeleted:   {"KeyGetDeleted", rbac.DeletedKeysRead, whileActive, false, "GET /deletedkeys/{key-name}"},
	OpKeyListDeleted:  {"KeyListDeleted", rbac.DeletedKeysRead, whileActive, false, "GET /deletedkeys"},
	OpKeyRecover:      {"KeyRecover", rbac.DeletedKeysRecover, whileActive, true, "POST /deletedkeys/{key-name}/recover"},
	OpKeyPurge:        {"KeyPurge", rbac.DeletedKeysDelete, whileActive, true, "DELETE /deletedkeys/{key-name}"},
	OpKeySign:         {"KeySign", rbac.KeysSign, whileActive, false, "POST /keys/{key-name}/{key-version}/sign"},
	OpKeyVerify:       {"KeyVerify", rbac.KeysVerify, whileActive, false, "POST /keys/{key-name}/{key-version}/verify"},
	OpKeyEncrypt:      {"KeyEncrypt", rbac.KeysEncrypt, whileActive, false, "POST /keys/{key-name}/{key-version}/encrypt"},
	OpKeyDecrypt:      {"KeyDecrypt", rbac.KeysDecrypt, whileActive, false, "POST /keys/{key-name}/{key-version}/decrypt"},
	OpKeyWrap:         {"KeyWrap", rbac.KeysWrap, whileActive, false, "POST /keys/{key-name}/{key-version}/wrapkey"},
	OpKeyUnwrap:       {"KeyUnwrap", rbac.KeysUnwrap, whileActive, false, "POST /keys/{key-name}/{key-version}/unwrapkey"},
	OpRandomBytes:     {"RandomBytesGet", rbac.RandomBytes, whileActive, false, "POST /rng"},

	OpDomainDownload:       {"SecurityDomainBackup", rbac.DomainDownload, []State{Provisioned, Active}, true, "POST /securitydomain/download"},
	OpDomainDownloadStatus: {"SecurityDomainBackupStatusGet", rbac.DomainDownloadRead, anyDomain, true, "GET /securitydomain/download/pending"},
	OpDomainTransferKey:    {"SecurityDomainTransferKeyGet", rbac.TransferKeyRead, []State{Provisioned, Recovering}, true, "GET /securitydomain/upload"},
	OpDomainUpload:         {"SecurityDomainRestore", rbac.DomainUpload, []State{Provisioned, Recovering}, true, "POST /securitydomain/upload"},
	OpDomainUploadStatus:   {"SecurityDomainRestoreStatusGet", rbac.DomainUploadRead, anyDomain, true, "GET /securitydomain/upload/pending"},

	OpBackup:           {"BackupCreate", rbac.BackupStart, whileActive, true, "POST /backup"},
	OpBackupStatus:     {"BackupStatusGet", rbac.BackupStatus, duringJobs, false, "GET /backup/{jobId}/pending"},
	OpRestore:          {"RestoreCreate", rbac.RestoreStart, whileActive, true, "PUT /restore"},
	OpRestoreStatus:    {"RestoreStatusGet", rbac.RestoreStatus, duringJobs, false, "GET /restore/{jobId}/pending"},
	OpSelectiveRestore: {"SelectiveKeyRestoreCreate", rbac.RestoreStart, whileActive, true, "PUT /keys/{keyName}/restore"},

	OpRoleAssignmentCreate: {"RoleAssignmentCreate", rbac.RoleAssignmentsWrite, whileActive, true, "PUT /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}"},
	OpRoleAssignmentGet:    {"RoleAssignmentGet", rbac.RoleAssignmentsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}"},
	OpRoleAssignmentDelete: {"RoleAssignmentDelete", rbac.RoleAssignmentsDelete, whileActive, true, "DELETE /{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}"},
	OpRoleAssignmentList:   {"RoleAssignmentList", rbac.RoleAssignmentsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleAssignments"},
	OpRoleDefinitionCreate: {"RoleDefinitionCreate", rbac.RoleDefinitionsWrite, whileActive, true, "PUT /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}"},
	OpRoleDefinitionGet:    {"RoleDefinitionGet", rbac.RoleDefinitionsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}"},
	OpRoleDefinitionDelete: {"RoleDefinitionDelete", rbac.RoleDefinitionsDelete, whileActive, true, "DELETE /{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionName}"},
	OpRoleDefinitionList:   {"RoleDefinitionList", rbac.RoleDefinitionsRead, whileActive, false, "GET /{scope}/providers/Microsoft.Authorization/roleDefinitions"},

	// Permission strings of settings are not published: reading needs what every role that sees roles has,
	// changing needs an Administrator's right.
	OpSettingGet:    {"SettingGet", rbac.RoleDefinitionsRead, whileActive, false, "GET /settings/{setting-name}"},
	OpSettingList:   {"SettingList", rbac.RoleDefinitionsRead, whileActive, false, "GET /settings"},
	OpSettingUpdate: {"SettingUpdate", rbac.DomainUpload, whileActive, true, "PATCH /settings/{setting-name}"},
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
