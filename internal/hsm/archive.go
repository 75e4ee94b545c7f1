package hsm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
)

// errBadArchive: a genuine archive whose content this HSM cannot take.
var errBadArchive = errors.New("the backup cannot be used on this HSM")

// needRestore is what a restore's SAS must permit: read and list.
const needRestore = "rl"

// archive is a backup to restore from, read and checked from end to end before anything is written.
type archive struct {
	manifest backup.Manifest
	root     *seal.Root

	keys        map[key.IncarnationID]*archivedKey // live and soft-deleted
	live        int
	assignments []rbac.Assignment
	definitions []rbac.Definition
	used        int // records that a restore takes over
}

// archivedKey is one key name of an archive: no more of it than is needed, because an archive may have many.
type archivedKey struct {
	logical     string // name of its head's record
	name        key.Name
	incarnation key.IncarnationID
	want        int // versions, as its head says
	versions    int
	materials   int
}

// openArchive reads the archive in folder: manifest, completeness, every byte and every record, which must
// open under the device's root.
func (j *runningJob) openArchive(ctx context.Context) (*archive, error) {
	m, err := backup.ReadManifest(ctx, j.storage, j.doc.Folder, backup.ByKey(archiveScheme, j.v.root.PublicKey()))
	if err != nil {
		return nil, err
	}
	if m.Epoch != j.v.root.Epoch() {
		return nil, fmt.Errorf("%w: it was made in epoch %d of the security domain, this HSM is in epoch %d", errBadArchive, m.Epoch, j.v.root.Epoch())
	}
	if err := backup.Preflight(ctx, j.storage, m); err != nil {
		return nil, err
	}
	a := &archive{manifest: m, root: j.v.root, keys: make(map[key.IncarnationID]*archivedKey)}
	seen := 0
	err = backup.Verify(ctx, j.storage, m, func(r backup.Record) error {
		if seen++; seen%500 == 0 {
			j.progress("checked %d of %d records", seen, m.Records)
		}
		return a.take(r)
	})
	if err != nil {
		return nil, err
	}
	if _, err := rbac.Compile(a.assignments, a.definitions); err != nil {
		return nil, fmt.Errorf("%w: its roles: %v", errBadArchive, err)
	}
	return a, nil
}

// take checks one record and remembers what the restore decides by. Heads come before versions and
// material, because records come in the order of their names.
func (a *archive) take(r backup.Record) error {
	if err := checkLogical(r.Name); err != nil {
		return err
	}
	if len(r.Sealed) > largestRecord {
		return fmt.Errorf("%w: its record %s has %d bytes", errBadArchive, r.Name, len(r.Sealed))
	}
	hd, err := seal.Header(r.Sealed)
	if err != nil {
		return fmt.Errorf("%w: %s: %v", errBadArchive, r.Name, err)
	}
	plain, err := a.root.Open(ref(r.Name, hd.Version), r.Sealed)
	if err != nil {
		return fmt.Errorf("%w: %s: %v", errBadArchive, r.Name, err)
	}
	defer clear(plain)
	if err := a.remember(r.Name, hd.Kind, plain); err != nil {
		return fmt.Errorf("%w: %s: %v", errBadArchive, r.Name, err)
	}
	return nil
}

func (a *archive) remember(logical string, kind seal.Kind, plain []byte) error {
	used := true
	switch kind {
	case seal.KindHead, seal.KindDeletedHead:
		var hd head
		if err := json.Unmarshal(plain, &hd); err != nil {
			return err
		}
		_, name, _ := strings.Cut(logical, "/")
		if hd.Meta.Name.Fold() != name || !isID(string(hd.Incarnation)) || a.keys[hd.Incarnation] != nil {
			return errors.New("it is not the head of that key")
		}
		a.keys[hd.Incarnation] = &archivedKey{logical: logical, name: hd.Meta.Name, incarnation: hd.Incarnation, want: hd.Versions}
		if kind == seal.KindHead {
			a.live++
		}
	case seal.KindVersion, seal.KindMaterial:
		k := a.keys[incarnationOf(logical)]
		used = k != nil // else it was left behind by a purge when the backup was made
		if used && kind == seal.KindVersion {
			k.versions++
		} else if used {
			k.materials++
		}
	case seal.KindRoleAssignment:
		var as rbac.Assignment
		if err := json.Unmarshal(plain, &as); err != nil {
			return err
		}
		if assignmentName(as.ID) != logical {
			return errors.New("it is another role assignment")
		}
		a.assignments = append(a.assignments, as)
	case seal.KindRoleDefinition:
		var d rbac.Definition
		if err := json.Unmarshal(plain, &d); err != nil {
			return err
		}
		if definitionName(d.ID) != logical {
			return errors.New("it is another role definition")
		}
		a.definitions = append(a.definitions, d)
	default: // nothing of other kinds is needed before staging
	}
	if used {
		a.used++
	}
	return nil
}

// takes tells whether a restore takes the record over.
func (a *archive) takes(logical string) bool {
	inc := incarnationOf(logical)
	return inc == "" || a.keys[inc] != nil
}

// incomplete names keys of which the archive has not all versions, for the job's details; "" when there is
// none, as in every archive of a sound HSM. Such keys are restored all the same: what is there is wanted.
func (a *archive) incomplete() string {
	var names []string
	for _, k := range a.keys {
		if k.versions != k.want || k.materials != k.want {
			names = append(names, fmt.Sprintf("%s (%d of %d versions)", k.name, min(k.versions, k.materials), k.want))
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	more := ""
	if n := len(names) - 5; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return "; incomplete in the backup: " + strings.Join(names[:min(5, len(names))], ", ") + more
}

// incarnationOf is the incarnation in the name of a version or material record, "" for other records.
func incarnationOf(logical string) key.IncarnationID {
	parts := strings.Split(logical, "/")
	if len(parts) != 3 {
		return ""
	}
	return key.IncarnationID(parts[1])
}

// checkLogical accepts the names that records of this release have, spelled in their one way. A name
// becomes part of a store key, and comes from outside.
func checkLogical(logical string) error {
	kind, ok := kindOf(logical)
	_, rest, _ := strings.Cut(logical, "/")
	switch {
	case !ok:
	case kind == seal.KindHead, kind == seal.KindDeletedHead:
		n, err := key.ParseName(rest)
		ok = err == nil && n.Fold() == rest
	case kind == seal.KindVersion, kind == seal.KindMaterial:
		inc, version, _ := strings.Cut(rest, "/")
		ok = isID(inc) && isID(version)
	case kind == seal.KindRoleAssignment, kind == seal.KindRoleDefinition:
		g, err := rbac.ParseGUID(rest)
		ok = err == nil && g == rest
	case kind == seal.KindSetting:
		ok = len(rest) <= 127 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	}
	if !ok {
		return fmt.Errorf("%w: it holds a record %.80q that this release does not know; restore it with the release that made it, or a later one", errBadArchive, logical)
	}
	return nil
}

// source says in words where the archive comes from and how old it is.
func (a *archive) source(now time.Time) string {
	m := a.manifest
	return fmt.Sprintf("backup of %s (%s) made %s, %s ago, in security domain %s", m.HSMName, m.HSMID, m.Time.Format(time.RFC3339), age(now.Sub(m.Time)), m.DomainID)
}

// audit is what the audit entry of a restore says of its source, the head of its audit chain included.
func (a *archive) audit() map[string]string {
	m := a.manifest
	return map[string]string{"sourceName": m.HSMName, "sourceId": m.HSMID, "sourceTime": m.Time.Format(time.RFC3339), "sourceSequence": fmt.Sprint(m.Sequence), "sourceAuditHead": m.AuditHead}
}
