package hsm

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
)

// Where records live. Everything of one HSM is under /hsm/<id>/. Content, which backups carry and a
// restore replaces, is under g/<generation>/; what belongs to this HSM alone is under l/.
//
//	dev                                 the device record (plain)
//	g/<gen>/d/<name>                    head of a soft-deleted key
//	g/<gen>/h/<name>                    head of a live key
//	g/<gen>/m/<incarnation>/<version>   material of one version
//	g/<gen>/ra/<guid>  rd/<guid>        role assignment, custom role definition
//	g/<gen>/st/<name>                   setting
//	g/<gen>/v/<incarnation>/<version>   one version apart from its material
//	l/job/<id>                          job document (sealed to this HSM)
//	l/xk                                exchange key (sealed to this HSM)
//	l/audit                             head of the audit log, "seq:hash", that its file must have (plain)
//	l/out/<id>                          audit entry waiting for the file (plain)
//	l/sweep/k/<inc>                     versions to delete (plain); generations no longer referred to need no record

func (h *HSM) at(path string) string { return "/hsm/" + h.cfg.ID + "/" + path }

func (h *HSM) deviceKey() string { return h.at("dev") }

func (h *HSM) exchangeKeyKey() string { return h.at("l/xk") }

func (h *HSM) jobKey(id string) string { return h.at("l/job/" + id) }

func (h *HSM) generationPrefix(gen string) string { return h.at("g/" + gen + "/") }

func (h *HSM) auditHeadKey() string { return h.at("l/audit") }

func (h *HSM) outboxPrefix() string { return h.at("l/out/") }

func (h *HSM) sweepPrefix() string { return h.at("l/sweep/") }

func (h *HSM) sweepKeyKey(inc key.IncarnationID) string { return h.at("l/sweep/k/" + string(inc)) }

// Logical names: the part below a generation. They are what a sealed record is bound to and what an
// archive calls it, so they mean the same on every HSM.

func headName(n key.Name) string    { return "h/" + n.Fold() }
func deletedName(n key.Name) string { return "d/" + n.Fold() }

func versionsPrefix(inc key.IncarnationID) string  { return "v/" + string(inc) + "/" }
func materialsPrefix(inc key.IncarnationID) string { return "m/" + string(inc) + "/" }

func versionName(inc key.IncarnationID, v key.Version) string {
	return versionsPrefix(inc) + string(v)
}

func materialName(inc key.IncarnationID, v key.Version) string {
	return materialsPrefix(inc) + string(v)
}

func assignmentName(id string) string            { return "ra/" + id }
func definitionName(id rbac.DefinitionID) string { return "rd/" + string(id) }
func settingName(name string) string             { return "st/" + strings.ToLower(name) }

// kindOf tells the record kind a logical name has; ok is false for names no record may have.
func kindOf(logical string) (k seal.Kind, ok bool) {
	prefix, rest, found := strings.Cut(logical, "/")
	if !found || rest == "" {
		return 0, false
	}
	switch prefix {
	case "h":
		return seal.KindHead, true
	case "d":
		return seal.KindDeletedHead, true
	case "v":
		return seal.KindVersion, true
	case "m":
		return seal.KindMaterial, true
	case "ra":
		return seal.KindRoleAssignment, true
	case "rd":
		return seal.KindRoleDefinition, true
	case "st":
		return seal.KindSetting, true
	}
	return 0, false
}

// newID draws 32 hex digits: job ids, generations, root ids, lineages.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// newGUID draws a random GUID (RFC 9562 version 4), lower-case.
func newGUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
