package azhttp

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"redoubt/internal/authn"
	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/release"
)

// Problem is an error as it goes over the wire: {"error":{"code","message","innererror":{"code"}}}.
type Problem struct {
	Status  int
	Code    string
	Inner   string // code of innererror, or empty
	Message string
	// RetryAfter is after how many seconds the client may try again; 0: it is not told.
	RetryAfter int
}

func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// Bad is a 400 BadParameter of the edge itself: a body or a path it cannot read.
func Bad(message string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: "BadParameter", Message: message}
}

// NotFound is the answer to a path that names no operation.
func NotFound(message string) *Problem {
	return &Problem{Status: http.StatusNotFound, Code: "NotFound", Message: message}
}

// row maps a sentinel to the wire.
type row struct {
	is          error
	status      int
	code, inner string
}

// table is the one place where sentinels get a status and a code (rest-api section 3). The first row that
// matches counts, so narrower sentinels stand before the wider ones they wrap.
var table = []row{
	{key.ErrNotFound, 404, "KeyNotFound", ""},
	{key.ErrDeletedNotFound, 404, "KeyNotFound", ""},
	{key.ErrExists, 409, "Conflict", ""},
	{key.ErrDeleted, 409, "Conflict", "ObjectIsDeletedButRecoverable"},
	{key.ErrBadKeyType, 400, "BadParameter", "KeyTypeNotSupported"},
	{key.ErrBadAlgorithm, 400, "BadParameter", ""},
	{key.ErrCryptoFailed, 400, "BadParameter", ""},
	{key.ErrBadParameter, 400, "BadParameter", ""},
	{key.ErrOperationForbidden, 403, "Forbidden", "KeyOperationForbidden"},
	{key.ErrDisabled, 403, "Forbidden", "KeyDisabled"},
	{key.ErrNotYetValid, 403, "Forbidden", "KeyNotYetValid"},
	{key.ErrExpired, 403, "Forbidden", "KeyExpired"},
	{key.ErrTooManyVersions, 400, "BadParameter", ""},
	{key.ErrNoRotationPolicy, 400, "BadParameter", ""},
	{key.ErrPurgeProtected, 403, "Forbidden", ""},

	{release.ErrBadToken, 400, "BadParameter", ""},
	{release.ErrUntrusted, 403, "Forbidden", "AccessDenied"},
	{release.ErrNotMet, 403, "Forbidden", "AccessDenied"},

	{rbac.ErrDenied, 403, "AccessDenied", ""},
	{rbac.ErrAssignmentNotFound, 404, "RoleAssignmentNotFound", ""},
	{rbac.ErrDefinitionNotFound, 404, "RoleDefinitionNotFound", ""},
	{rbac.ErrBadDefinition, 400, "BadParameter", ""},
	{rbac.ErrBadAssignment, 400, "BadParameter", ""},
	{rbac.ErrBuiltIn, 403, "Forbidden", ""},
	{rbac.ErrLastAdministrator, 409, "Conflict", ""},
	{rbac.ErrAssignmentExists, 409, "RoleAssignmentExists", ""},

	{hsm.ErrNotActivated, 403, "Forbidden", "NotActivated"},
	{hsm.ErrRestoring, 403, "Forbidden", "RestoreInProgress"},
	{hsm.ErrSealed, 503, "ServiceUnavailable", "Sealed"},
	{hsm.ErrGone, 404, "ResourceNotFound", ""},
	{hsm.ErrBusy, 409, "Conflict", "OperationInProgress"},
	{hsm.ErrAlreadyActive, 409, "Conflict", "AlreadyActivated"},
	{hsm.ErrBadSecurityDomain, 400, "BadParameter", "SecurityDomainRefused"},
	{hsm.ErrNoExchangeKey, 409, "Conflict", "NoExchangeKey"},
	{hsm.ErrNoOperation, 404, "NotFound", ""},
	{hsm.ErrJobNotFound, 404, "NotFound", ""},
	{hsm.ErrBadTarget, 400, "BadRequest", ""},
	{hsm.ErrNoRestorePoint, 400, "BadRequest", "NoRestorePoint"},
	{hsm.ErrLimit, 400, "BadParameter", "LimitReached"},
	{hsm.ErrConflict, 409, "Conflict", ""},
	{hsm.ErrSettingNotFound, 404, "SettingNotFound", ""},
	{hsm.ErrARMKeys, 400, "BadRequest", ""},
	{hsm.ErrAlgorithmForbidden, 403, "Forbidden", "AlgorithmNotAllowed"},
	{hsm.ErrBadRequest, 400, "BadParameter", ""},
	{hsm.ErrCorrupt, 500, "InternalServerError", ""},
	{hsm.ErrAudit, 503, "ServiceUnavailable", "AuditUnavailable"},
	{hsm.ErrAuditLost, 503, "ServiceUnavailable", "AuditUnavailable"},
	{hsm.ErrUnavailable, 503, "ServiceUnavailable", ""},

	{fleet.ErrUnknownHost, 404, "ResourceNotFound", ""},
	{fleet.ErrNotFound, 404, "ResourceNotFound", ""},
	{fleet.ErrNameTaken, 409, "VaultAlreadyExists", ""},
	{fleet.ErrSoftDeleted, 409, "ConflictError", ""},
	{fleet.ErrBadName, 400, "VaultNameNotValid", ""},
	{fleet.ErrBadResource, 400, "BadRequest", ""},
	{fleet.ErrBadSKU, 400, "SkuNotSupported", ""},
	{fleet.ErrElsewhere, 409, "InvalidResourceLocation", ""},
	{fleet.ErrImmutable, 400, "BadRequest", ""},
	{fleet.ErrPurgeProtected, 403, "Forbidden", ""},
	{fleet.ErrCreating, 409, "409", ""},
	{fleet.ErrDeleting, 409, "409", ""},
	{fleet.ErrFirewall, 403, "Forbidden", "ForbiddenByFirewall"},
	{fleet.ErrNotPublic, 403, "Forbidden", "ForbiddenByConnection"},

	{backup.ErrNoManifest, 400, "BadRequest", ""},
	{backup.ErrWrongFolder, 400, "BadRequest", ""},
	{blob.ErrBadTarget, 400, "BadRequest", ""},

	{authn.ErrNoToken, 401, "Unauthorized", ""},
	{authn.ErrExpired, 401, "Unauthorized", ""},
	{authn.ErrWrongTenant, 401, "Unauthorized", ""},
	{authn.ErrBadToken, 401, "Unauthorized", ""},
	{authn.ErrRevoked, 401, "Unauthorized", ""},
	{authn.ErrKeysUnavailable, 503, "ServiceUnavailable", ""},

	{context.DeadlineExceeded, 503, "ServiceUnavailable", ""},
	{context.Canceled, 503, "ServiceUnavailable", ""},
}

// FromError turns any error into a Problem. An error that is not in the table is a 500 that says nothing;
// known reports whether it was.
func FromError(err error) (p *Problem, known bool) {
	if errors.As(err, &p) {
		return p, true
	}
	var aud authn.ErrWrongAudience
	if errors.As(err, &aud) {
		return &Problem{Status: http.StatusUnauthorized, Code: "Unauthorized", Message: err.Error()}, true
	}
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &Problem{Status: http.StatusRequestEntityTooLarge, Code: "RequestBodyTooLarge", Message: err.Error()}, true
	}
	for _, r := range table {
		if errors.Is(err, r.is) {
			return &Problem{Status: r.status, Code: r.code, Inner: r.inner, Message: publicMessage(r, err)}, r.status < 500
		}
	}
	return &Problem{Status: http.StatusInternalServerError, Code: "InternalServerError", Message: "An internal error occurred."}, false
}

// StatusOf is the HTTP status that err is answered with.
func StatusOf(err error) int {
	p, _ := FromError(err)
	return p.Status
}

// publicMessage is the error's own text, without a beginning that only says what the code says, too. Of failures
// inside the server the causes are logged and not sent: they name files and folders.
func publicMessage(r row, err error) string {
	switch {
	case r.status < 500:
		text := err.Error()
		for _, generic := range []error{key.ErrBadParameter, hsm.ErrBadRequest} {
			text = strings.TrimPrefix(text, generic.Error()+": ")
		}
		return text
	case errors.Is(r.is, hsm.ErrSealed):
		return r.is.Error() + ": the operator of this server must give it its unlock passphrase; try again then"
	}
	return r.is.Error()
}
