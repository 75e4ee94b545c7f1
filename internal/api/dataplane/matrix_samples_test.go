package dataplane_test

import (
	"fmt"
	"strings"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/key"
)

// keyState is what there is under the name of a key.
type keyState string

// The states of a key. All keys but wrongType are oct-HSM of 256 bits.
const (
	absent    keyState = "absent"
	enabled   keyState = "enabled" // may do everything
	disabled  keyState = "disabled"
	notYet    keyState = "not yet valid"
	expired   keyState = "expired"
	deleted   keyState = "deleted"
	wrongOps  keyState = "wrong key_ops" // may do nothing
	wrongType keyState = "wrong type"    // EC-HSM, may sign and verify
)

var keyStates = []keyState{absent, enabled, disabled, notYet, expired, deleted, wrongOps, wrongType}

// name is the key's name.
func (k keyState) name() string {
	return "key-" + strings.ReplaceAll(strings.ReplaceAll(string(k), " ", "-"), "_", "-")
}

// answer is the part of an answer that the tables determine.
type answer struct {
	status      int
	code, inner string
}

func (a answer) String() string {
	s := fmt.Sprint(a.status)
	if a.code != "" {
		s += " " + a.code
	}
	if a.inner != "" {
		s += "/" + a.inner
	}
	return s
}

var (
	ok           = answer{200, "", ""}
	keyNotFound  = answer{404, "KeyNotFound", ""}
	badParameter = answer{400, "BadParameter", ""}
	notFound     = answer{404, "NotFound", ""}
	keyIsDeleted = answer{409, "Conflict", "ObjectIsDeletedButRecoverable"}
)

// sample is how an operation is asked for, and what whoever is admitted is answered.
type sample struct {
	target string // "METHOD /path"; {key} is the name of the key, {backup} its backup
	body   string
	scope  string // where the caller needs the action; {key} as above
	want   func(hsm.State, keyState) answer
}

// always is the answer of an operation that is not about a key.
func always(a answer) func(hsm.State, keyState) answer {
	return func(hsm.State, keyState) answer { return a }
}

// onLive is an operation on a live key that asks nothing of its attributes.
func onLive(a answer) func(hsm.State, keyState) answer {
	return func(_ hsm.State, k keyState) answer {
		if k == absent || k == deleted {
			return keyNotFound
		}
		return a
	}
}

// onDeleted is an operation on a soft-deleted key.
func onDeleted(a answer) func(hsm.State, keyState) answer {
	return func(_ hsm.State, k keyState) answer {
		if k == deleted {
			return a
		}
		return keyNotFound
	}
}

// making is an operation that makes a key or a new version of one.
func making(_ hsm.State, k keyState) answer {
	if k == deleted {
		return keyIsDeleted
	}
	return ok
}

// outsideDates are the uses that work before nbf and after exp as well (rest-api 1.9): old data stays readable.
var outsideDates = map[key.Op]bool{key.OpDecrypt: true, key.OpUnwrap: true, key.OpVerify: true}

// use is a cryptographic operation with a key, of an algorithm for oct-HSM keys of 256 bits.
func use(op key.Op) func(hsm.State, keyState) answer {
	return func(_ hsm.State, k keyState) answer {
		forbidden := func(why string) answer { return answer{403, "Forbidden", why} }
		switch k {
		case absent, deleted:
			return keyNotFound
		case disabled:
			return forbidden("KeyDisabled")
		case wrongOps:
			return forbidden("KeyOperationForbidden")
		case wrongType:
			if op == key.OpSign || op == key.OpVerify {
				return badParameter
			}
			return forbidden("KeyOperationForbidden")
		case notYet:
			if !outsideDates[op] {
				return forbidden("KeyNotYetValid")
			}
		case expired:
			if !outsideDates[op] {
				return forbidden("KeyExpired")
			}
		case enabled:
		}
		return ok
	}
}

// madeForIt is what only keys made for it can do, which those of the matrix are not: leave the HSM, wrap for attested environments.
func madeForIt(_ hsm.State, k keyState) answer {
	if k == disabled {
		return answer{403, "Forbidden", "KeyDisabled"}
	}
	return onLive(answer{403, "Forbidden", "KeyOperationForbidden"})("", k)
}

// The key encryption key of RFC 3394, 4.3, and what it wraps there.
const (
	matrixKey     = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	matrixWrapped = "ZOjD-c4PW6Jj6Xd5BYGKKpPIGR59born"
)

// Requests that are well formed and refused when it comes to what they name, so that nothing starts.
const (
	matrixGUID   = "0a0a0a0a-1b1b-4c1c-8d1d-2e2e2e2e2e2e"
	matrixTarget = `{"storageResourceUri":"http://elsewhere.example/c","token":"sig=x"}`
)

// samples has one sample of each operation; the key is the route in hsm.Table.
func samples(download string) map[string]sample {
	const root, inKeys, onKey = "/", "/keys", "/keys/{key}"
	assignment, definition := "/providers/Microsoft.Authorization/roleAssignments", "/providers/Microsoft.Authorization/roleDefinitions"
	crypto := func(op key.Op, action, body string) sample {
		return sample{"POST /keys/{key}/" + action, body, onKey, use(op)}
	}
	sixteen := b64(make([]byte, 16))
	return map[string]sample{
		"POST /keys/{key-name}/create":                  {"POST /keys/{key}/create", `{"kty":"oct-HSM"}`, onKey, making},
		"PUT /keys/{key-name}":                          {"PUT /keys/{key}", `{"key":{"kty":"oct-HSM","k":"` + matrixKey + `"}}`, onKey, making},
		"GET /keys/{key-name}/{key-version}":            {"GET /keys/{key}", "", onKey, onLive(ok)},
		"PATCH /keys/{key-name}/{key-version}":          {"PATCH /keys/{key}", `{"tags":{"a":"b"}}`, onKey, onLive(ok)},
		"GET /keys":                                     {"GET /keys", "", inKeys, always(ok)},
		"GET /keys/{key-name}/versions":                 {"GET /keys/{key}/versions", "", onKey, onLive(ok)},
		"DELETE /keys/{key-name}":                       {"DELETE /keys/{key}", "", onKey, onLive(ok)},
		"POST /keys/{key-name}/backup":                  {"POST /keys/{key}/backup", "", onKey, onLive(ok)},
		"POST /keys/restore":                            {"POST /keys/restore", `{"value":"{backup}"}`, inKeys, restoring},
		"GET /deletedkeys/{key-name}":                   {"GET /deletedkeys/{key}", "", onKey, onDeleted(ok)},
		"GET /deletedkeys":                              {"GET /deletedkeys", "", inKeys, always(ok)},
		"POST /deletedkeys/{key-name}/recover":          {"POST /deletedkeys/{key}/recover", "", onKey, onDeleted(ok)},
		"DELETE /deletedkeys/{key-name}":                {"DELETE /deletedkeys/{key}", "", onKey, onDeleted(answer{204, "", ""})},
		"POST /keys/{key-name}/rotate":                  {"POST /keys/{key}/rotate", "", onKey, onLive(ok)},
		"GET /keys/{key-name}/rotationpolicy":           {"GET /keys/{key}/rotationpolicy", "", onKey, onLive(ok)},
		"PUT /keys/{key-name}/rotationpolicy":           {"PUT /keys/{key}/rotationpolicy", `{"attributes":{"expiryTime":"P1Y"}}`, onKey, onLive(ok)},
		"POST /rng":                                     {"POST /rng", `{"count":1}`, root, always(ok)},
		"POST /keys/{key-name}/{key-version}/sign":      crypto(key.OpSign, "sign", `{"alg":"HS256","value":"`+digest+`"}`),
		"POST /keys/{key-name}/{key-version}/verify":    crypto(key.OpVerify, "verify", `{"alg":"HS256","digest":"`+digest+`","value":"`+digest+`"}`),
		"POST /keys/{key-name}/{key-version}/encrypt":   crypto(key.OpEncrypt, "encrypt", `{"alg":"A256GCM","value":"AAAA"}`),
		"POST /keys/{key-name}/{key-version}/decrypt":   crypto(key.OpDecrypt, "decrypt", `{"alg":"A256CBC","value":"`+sixteen+`","iv":"`+sixteen+`"}`),
		"POST /keys/{key-name}/{key-version}/wrapkey":   crypto(key.OpWrap, "wrapkey", `{"alg":"A256KW","value":"`+sixteen+`"}`),
		"POST /keys/{key-name}/{key-version}/unwrapkey": crypto(key.OpUnwrap, "unwrapkey", `{"alg":"A256KW","value":"`+matrixWrapped+`"}`),

		"POST /keys/{key-name}/{key-version}/release":         {"POST /keys/{key}/release", `{"target":"x"}`, onKey, madeForIt},
		"GET /keys/{key-name}/{key-version}/attestation":      {"GET /keys/{key}/attestation", "", onKey, onLive(ok)},
		"POST /keys/{key-name}/{key-version}/securewrapkey":   {"POST /keys/{key}/securewrapkey", `{"alg":"A256KW"}`, onKey, madeForIt},
		"POST /keys/{key-name}/{key-version}/secureunwrapkey": {"POST /keys/{key}/secureunwrapkey", `{"alg":"A256KW","value":"` + matrixWrapped + `","target":"x"}`, onKey, madeForIt},

		"POST /securitydomain/download":        {"POST /securitydomain/download", download, root, always(answer{202, "", ""})},
		"GET /securitydomain/download/pending": {"GET /securitydomain/download/pending", "", root, downloaded},
		"GET /securitydomain/upload":           {"GET /securitydomain/upload", "", root, always(ok)},
		"POST /securitydomain/upload":          {"POST /securitydomain/upload", `{"value":"{}"}`, root, uploading},
		"GET /securitydomain/upload/pending":   {"GET /securitydomain/upload/pending", "", root, downloaded},

		"POST /backup":                 {"POST /backup", matrixTarget, root, always(answer{400, "BadRequest", ""})},
		"GET /backup/{jobId}/pending":  {"GET /backup/00000000000000000000000000000000/pending", "", root, always(notFound)},
		"PUT /restore":                 {"PUT /restore", `{"sasTokenParameters":` + matrixTarget + `,"folderToRestore":"mhsm-x-2026010203040500"}`, root, always(answer{400, "BadRequest", ""})},
		"GET /restore/{jobId}/pending": {"GET /restore/00000000000000000000000000000000/pending", "", root, always(notFound)},
		"PUT /keys/{keyName}/restore":  {"PUT /keys/any/restore", `{"sasTokenParameters":` + matrixTarget + `,"folder":"mhsm-x-2026010203040500"}`, root, always(answer{400, "BadRequest", ""})},
		"POST /prebackup":              {"POST /prebackup", matrixTarget, root, always(answer{400, "BadRequest", ""})},
		"PUT /prerestore":              {"PUT /prerestore", `{"sasTokenParameters":` + matrixTarget + `}`, root, always(answer{400, "BadRequest", ""})},

		"PUT /{scope}" + assignment + "/{roleAssignmentName}":    {"PUT " + assignment + "/" + matrixGUID, `{"properties":{"principalId":"` + hsmtest.Stranger + `","roleDefinitionId":"` + userRole + `"}}`, root, always(answer{201, "", ""})},
		"GET /{scope}" + assignment + "/{roleAssignmentName}":    {"GET " + assignment + "/" + matrixGUID, "", root, always(answer{404, "RoleAssignmentNotFound", ""})},
		"DELETE /{scope}" + assignment + "/{roleAssignmentName}": {"DELETE " + assignment + "/" + matrixGUID, "", root, always(answer{404, "RoleAssignmentNotFound", ""})},
		"GET /{scope}" + assignment:                              {"GET " + assignment, "", root, always(ok)},
		"PUT /{scope}" + definition + "/{roleDefinitionName}":    {"PUT " + definition + "/" + matrixGUID, `{"properties":{"roleName":"R","permissions":[{"dataActions":[]}]}}`, root, always(answer{201, "", ""})},
		"GET /{scope}" + definition + "/{roleDefinitionName}":    {"GET " + definition + "/" + matrixGUID, "", root, always(answer{404, "RoleDefinitionNotFound", ""})},
		"DELETE /{scope}" + definition + "/{roleDefinitionName}": {"DELETE " + definition + "/" + matrixGUID, "", root, always(answer{404, "RoleDefinitionNotFound", ""})},
		"GET /{scope}" + definition:                              {"GET " + definition, "", root, always(ok)},

		"GET /settings":                  {"GET /settings", "", root, always(ok)},
		"GET /settings/{setting-name}":   {"GET /settings/AllowKeyManagementOperationsThroughARM", "", root, always(ok)},
		"PATCH /settings/{setting-name}": {"PATCH /settings/AllowKeyManagementOperationsThroughARM", `{"value":"true"}`, root, always(ok)},
	}
}

// restoring is the restore of a key's backup over what is there.
func restoring(s hsm.State, k keyState) answer {
	if k == absent || k == deleted {
		return making(s, k)
	}
	return answer{409, "Conflict", ""}
}

// downloaded is a poll: a fresh HSM has nothing to report.
func downloaded(s hsm.State, _ keyState) answer {
	if s == hsm.Provisioned {
		return notFound
	}
	return ok
}

// uploading is the upload of something that is no restore blob.
func uploading(s hsm.State, _ keyState) answer {
	if s == hsm.Provisioned {
		return answer{409, "Conflict", "NoExchangeKey"}
	}
	return answer{400, "BadParameter", "SecurityDomainRefused"}
}
