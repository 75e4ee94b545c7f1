package backup

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeyBackup is the frame of the backup of one key (docs/formats/key-backup.md): what can be read without the
// security domain, around a sealed content.
type KeyBackup struct {
	DomainID string // of the security domain it was made in
	ID       string // 32 lower-case hex digits, random
	Sealed   []byte
}

// ErrBadKeyBackup: the bytes are not the backup of a key.
var ErrBadKeyBackup = errors.New("not the backup of a key")

const (
	keyMagic     = "RDKB\x01"
	domainPrefix = "sd-"
	domainSize   = len(domainPrefix) + 32
	keyFrame     = len(keyMagic) + domainSize + idSize
	// MaxKeyBackup is the most bytes of a key's backup. A hundred versions of RSA 4096 with all tags at their
	// longest take half of it.
	MaxKeyBackup = 12 << 20
)

// Encode is the inverse of ParseKeyBackup.
func (k KeyBackup) Encode() ([]byte, error) {
	id, err := hex.DecodeString(k.ID)
	if err != nil || len(id) != idSize || checkDomainID(k.DomainID) != nil {
		return nil, fmt.Errorf("%w: id %.80q, security domain %.80q", ErrBadOrigin, k.ID, k.DomainID)
	}
	if keyFrame+len(k.Sealed) > MaxKeyBackup {
		return nil, fmt.Errorf("%w: it would have %d bytes, %d are allowed", ErrBadKeyBackup, keyFrame+len(k.Sealed), MaxKeyBackup)
	}
	out := make([]byte, 0, keyFrame+len(k.Sealed))
	out = append(out, keyMagic...)
	out = append(out, k.DomainID...)
	out = append(out, id...)
	return append(out, k.Sealed...), nil
}

// ParseKeyBackup reads the frame. Sealed aliases b.
func ParseKeyBackup(b []byte) (KeyBackup, error) {
	if len(b) > MaxKeyBackup {
		return KeyBackup{}, fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrBadKeyBackup, len(b), MaxKeyBackup)
	}
	if len(b) < len(keyMagic) || string(b[:len(keyMagic)]) != keyMagic {
		return KeyBackup{}, fmt.Errorf("%w: it does not begin like one", ErrBadKeyBackup)
	}
	if len(b) <= keyFrame {
		return KeyBackup{}, fmt.Errorf("%w: it is cut short", ErrBadKeyBackup)
	}
	rest := b[len(keyMagic):]
	k := KeyBackup{DomainID: string(rest[:domainSize]), ID: hex.EncodeToString(rest[domainSize : domainSize+idSize]), Sealed: b[keyFrame:]}
	if err := checkDomainID(k.DomainID); err != nil {
		return KeyBackup{}, err
	}
	return k, nil
}

func checkDomainID(s string) error {
	digits, ok := strings.CutPrefix(s, domainPrefix)
	if !ok || len(s) != domainSize || strings.Trim(digits, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: it names no security domain", ErrBadKeyBackup)
	}
	return nil
}

// EncodeRecords is the content of a key's backup: records in the frame that they have in an archive. It refuses
// what ParseRecords would.
func EncodeRecords(rs []Record) ([]byte, error) {
	size := 0
	for i, r := range rs {
		if err := r.check(); err != nil {
			return nil, err
		}
		if i > 0 && rs[i-1].Name >= r.Name {
			return nil, fmt.Errorf("%w: %.80q is out of order", ErrBadRecord, r.Name)
		}
		size += frameSize + len(r.Name) + len(r.Sealed)
	}
	w := blockWriter{buf: make([]byte, 0, size)}
	for _, r := range rs {
		w.add(r)
	}
	return w.buf, nil
}

// ParseRecords is the inverse of EncodeRecords. The records alias b.
func ParseRecords(b []byte) ([]Record, error) {
	var rs []Record
	for len(b) > 0 {
		if len(b) < frameSize {
			return nil, fmt.Errorf("%w: it is cut short", ErrBadKeyBackup)
		}
		r, n, err := parseRecord(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadKeyBackup, err)
		}
		if k := len(rs); k > 0 && rs[k-1].Name >= r.Name {
			return nil, fmt.Errorf("%w: records are out of order", ErrBadKeyBackup)
		}
		rs = append(rs, r)
		b = b[n:]
	}
	return rs, nil
}
