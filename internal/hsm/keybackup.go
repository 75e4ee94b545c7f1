package hsm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// MaxKeyBackup is the most bytes of a key's backup.
const MaxKeyBackup = backup.MaxKeyBackup

// keyBackupRef is the reference under which the content of a key's backup is sealed.
func keyBackupRef(id string) seal.Ref {
	return seal.Ref{Kind: seal.KindKeyBackup, Name: "key-backup/" + id, Version: 1}
}

// BackupKey gives out a key with all its versions, sealed under the security domain (docs/formats/key-backup.md).
// A disabled or expired key can be backed up, a soft-deleted one cannot.
func (h *HSM) BackupKey(ctx context.Context, who Caller, name key.Name) (blob []byte, err error) {
	c, err := h.begin(ctx, who, OpKeyBackup, rbac.KeyScope(name))
	if err != nil {
		return nil, err
	}
	defer c.end(&err)
	var records []backup.Record
	err = c.readSet(ctx, func() error {
		records, err = c.v.keyRecords(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	// What a restore would refuse must not be taken for a backup.
	k, err := openKeyCopy(c.v.root, records)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	content, err := backup.EncodeRecords(records)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	frame := backup.KeyBackup{DomainID: c.v.root.DomainID(), ID: newID()}
	frame.Sealed = c.v.root.Seal(keyBackupRef(frame.ID), content)
	c.note("versions", fmt.Sprint(len(k.versions)))
	c.note("backup", frame.ID)
	blob, err = frame.Encode()
	if errors.Is(err, backup.ErrBadKeyBackup) {
		return nil, answerf(ErrLimit, "key %s has %d versions and is too large for a backup of its own (%d bytes; %d are allowed); take a full backup (az keyvault backup start --hsm-name %s)", k.head.Meta.Name, len(k.versions), len(content), backup.MaxKeyBackup, h.cfg.Name)
	}
	return blob, err
}

// keyRecords reads what belongs to a live key, still sealed, at one revision and in the order of its names.
func (v *view) keyRecords(ctx context.Context, name key.Name) ([]backup.Record, error) {
	pin, err := v.h.store.Pin(ctx, time.Minute)
	if err != nil {
		return nil, storeError("pin the key", err)
	}
	defer pin.Close()
	at := v.contentKey(headName(name))
	page, err := v.h.store.Range(ctx, store.Query{Prefix: at, Limit: 1, At: pin.Rev()})
	if err != nil {
		return nil, storeError("read "+headName(name), err)
	}
	if len(page.KVs) == 0 || page.KVs[0].Key != at {
		return nil, v.h.keyNotFound(name, "")
	}
	hd, _, err := open[head](v, headName(name), page.KVs[0])
	if err != nil {
		return nil, err
	}
	records := []backup.Record{{Name: headName(name), Sealed: page.KVs[0].Val}}
	for _, prefix := range []string{materialsPrefix(hd.Incarnation), versionsPrefix(hd.Incarnation)} {
		q := store.Query{Prefix: v.contentKey(prefix), At: pin.Rev()}
		for {
			page, err := v.h.store.Range(ctx, q)
			if err != nil {
				return nil, storeError("read "+prefix, err)
			}
			for _, kv := range page.KVs {
				records = append(records, backup.Record{Name: prefix + kv.Key[len(q.Prefix):], Sealed: kv.Val})
			}
			if !page.More || len(page.KVs) == 0 {
				break
			}
			q.After = page.KVs[len(page.KVs)-1].Key
		}
	}
	return records, nil
}

// keyCopy is a key taken out of a backup, checked from end to end. Its material stays sealed.
type keyCopy struct {
	head      head
	versions  []key.Meta
	materials []backup.Record // materials[i] is that of versions[i]
}

// openKeyCopy opens records that are to be a whole key, and fails unless they are: every record opens
// under r, is what its name says and belongs to the others, and nothing is missing or left over.
func openKeyCopy(r *seal.Root, records []backup.Record) (*keyCopy, error) {
	if len(records) < 3 || len(records)%2 == 0 {
		return nil, fmt.Errorf("%d records are not a key with its versions", len(records))
	}
	k := &keyCopy{}
	if err := openRecord(r, records[0], &k.head); err != nil {
		return nil, err
	}
	hd, n := k.head, len(records)/2
	switch {
	case records[0].Name != headName(hd.Meta.Name), hd.Deletion != nil, !isID(string(hd.Incarnation)):
		return nil, errors.New("its first record is not the head of a live key")
	case hd.Versions != n:
		return nil, fmt.Errorf("key %s counts %d versions; there are %d", hd.Meta.Name, hd.Versions, n)
	}
	k.materials = records[1 : 1+n]
	current := false
	for i, rec := range records[1+n:] {
		var m key.Meta
		if err := openRecord(r, rec, &m); err != nil {
			return nil, err
		}
		if !isID(string(m.Version)) || rec.Name != versionName(hd.Incarnation, m.Version) || k.materials[i].Name != materialName(hd.Incarnation, m.Version) {
			return nil, fmt.Errorf("%s and %s are not version %s of key %s", rec.Name, k.materials[i].Name, m.Version, hd.Meta.Name)
		}
		if m.Name != hd.Meta.Name || m.Attributes.Exportable != hd.Meta.Attributes.Exportable || m.Version == hd.Meta.Version && !reflect.DeepEqual(m, hd.Meta) {
			return nil, fmt.Errorf("%s and the head of key %s do not agree", rec.Name, hd.Meta.Name)
		}
		current = current || m.Version == hd.Meta.Version
		if err := checkMaterial(r, k.materials[i].Name, k.materials[i].Sealed, m); err != nil {
			return nil, err
		}
		k.versions = append(k.versions, m)
	}
	if !current {
		return nil, fmt.Errorf("the current version of key %s is missing", hd.Meta.Name)
	}
	return k, nil
}

// openRecord opens a record and parses it strictly: a member that this release does not know would be lost.
func openRecord(r *seal.Root, rec backup.Record, into any) error {
	if err := checkLogical(rec.Name); err != nil {
		return err
	}
	hd, err := seal.Header(rec.Sealed)
	if err != nil {
		return fmt.Errorf("%s: %w", rec.Name, err)
	}
	plain, err := r.Open(ref(rec.Name, hd.Version), rec.Sealed)
	if err != nil {
		return fmt.Errorf("%s: %w", rec.Name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s does not parse (a later release may have made it): %w", rec.Name, err)
	}
	return nil
}
