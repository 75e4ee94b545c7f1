// Package backup is the archive of a full backup: a folder in a blob container with block objects, which
// hold still-sealed records, and a signed manifest, which is written last. No manifest, no backup.
//
// The package never unseals anything. It takes records as opaque bytes from an iterator and a signer that
// the caller provides, so it can be used where no key is: the operator's tool verifies an archive with it
// on a machine that has no server. The format, byte for byte, is docs/formats/archive.md.
//
// What a verified archive proves depends on the anchor, which comes from outside the archive: with the
// domain's public key or its id, that an HSM of this security domain wrote exactly these records in this
// order into this folder; with no anchor, only that the archive is undamaged ("integrity only"), because
// anyone can sign with a key of their own and put that key beside the signature. HSMs that share a domain can sign
// for each other, and an old archive of the domain is still a genuine one: freshness is the caller's to judge
// (Manifest.Time, Manifest.Sequence).
//
// Memory: Write holds at most InFlight+1 blocks of MaxBlock bytes, Read and Verify at most ReadAhead+1,
// whatever the size of the archive; besides, the manifest takes about 250 bytes per block.
package backup

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Sizes of the format and of the work on it.
const (
	MaxBlock  = 8 << 20 // bytes of one block object, frame included
	MaxSealed = 4 << 20 // bytes of one sealed record
	MaxName   = 1024    // bytes of a record's name
	InFlight  = 4       // blocks being sent at once
	ReadAhead = 4       // blocks being fetched at once
)

var (
	// ErrNoManifest: the folder has no manifest, so it holds no complete backup.
	ErrNoManifest = errors.New("this folder holds no complete backup")
	// ErrBadFolder: the text cannot be the name of a backup folder.
	ErrBadFolder = errors.New("not a backup folder name")
	// ErrWrongFolder: the manifest was signed for another folder than the one it was found in.
	ErrWrongFolder = errors.New("the manifest belongs to another folder")
	// ErrFolderInUse: the folder of a new backup already has something in it.
	ErrFolderInUse = errors.New("the backup folder is already in use")
	// ErrOtherDomain: the archive belongs to another security domain. See OtherDomainError.
	ErrOtherDomain = errors.New("the backup belongs to another security domain")
	// ErrTampered: an object is not what the signed manifest says. See TamperedError.
	ErrTampered = errors.New("the backup is damaged or was altered")
	// ErrMissingBlock: the manifest names a block that is not there. See MissingBlockError.
	ErrMissingBlock = errors.New("the backup is incomplete")
	// ErrBadRecord: Write was given a record that the format does not allow (name, order, size).
	ErrBadRecord = errors.New("bad record")
	// ErrBadOrigin: Write was given an origin that the format does not allow.
	ErrBadOrigin = errors.New("bad origin")
)

// OtherDomainError is the ErrOtherDomain of an archive whose domain is Got where Want was asked for.
type OtherDomainError struct{ Want, Got string }

func (e *OtherDomainError) Error() string {
	return fmt.Sprintf("%v: it was made in %s, but %s was expected; install the security domain %s first or choose another backup",
		ErrOtherDomain, e.Got, e.Want, e.Got)
}

// Is makes the error an ErrOtherDomain.
func (e *OtherDomainError) Is(target error) bool { return target == ErrOtherDomain }

// TamperedError is the ErrTampered of one object.
type TamperedError struct{ Object, Reason string }

func (e *TamperedError) Error() string {
	return fmt.Sprintf("%v: %s: %s; choose another backup", ErrTampered, e.Object, e.Reason)
}

// Is makes the error an ErrTampered.
func (e *TamperedError) Is(target error) bool { return target == ErrTampered }

// MissingBlockError is the ErrMissingBlock of the objects that are not there.
type MissingBlockError struct{ Objects []string }

func (e *MissingBlockError) Error() string {
	shown, more := e.Objects, ""
	if len(shown) > 5 {
		more = fmt.Sprintf(" and %d more", len(shown)-5)
		shown = shown[:5]
	}
	return fmt.Sprintf("%v: missing %s%s; choose another backup", ErrMissingBlock, strings.Join(shown, ", "), more)
}

// Is makes the error an ErrMissingBlock.
func (e *MissingBlockError) Is(target error) bool { return target == ErrMissingBlock }

// Record is one still-sealed record of an HSM's content. The records of an archive are in ascending byte
// order of their names, and no name occurs twice.
type Record struct {
	Name   string // 1 to MaxName bytes of UTF-8 without control characters
	Sealed []byte // 1 to MaxSealed bytes; never looked into
}

// Origin is where and when an archive was made, as the writing HSM states it. All of it is signed.
type Origin struct {
	Folder    string    // name of the archive's folder in the container, see Folder
	HSMID     string    // UUID of the source HSM
	HSMName   string    // its name, in the letter case it was created with
	DomainID  string    // its security domain; empty = the signer's
	Epoch     uint32    // epoch of the root the records are sealed under
	Lineage   string    // content lineage: changes with every full restore
	Revision  int64     // store revision at which all records were read
	Time      time.Time // when that was; kept to the millisecond, in UTC
	Sequence  uint64    // number of the backup within this HSM, rising
	AuditHead string    // head of the source's audit chain at that time
}

// Signer signs for the security domain. *seal.Root is one.
type Signer interface {
	DomainID() string
	PublicKey() ed25519.PublicKey
	SignManifest(msg []byte) []byte
}

// Folder is the name of the folder for a backup of the HSM hsmName begun at t:
// mhsm-{NAME}-{YYYYMMDDHHMMSSff}, in UTC, ff being hundredths of a second.
func Folder(hsmName string, t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf("mhsm-%s-%s%02d", hsmName, t.Format("20060102150405"), t.Nanosecond()/1e7)
}

// CheckFolder accepts what may stand for a folder in a request: 1 to 128 ASCII letters, digits and
// hyphens, so that a request can never name an object outside one folder of the container.
func CheckFolder(folder string) error {
	ok := len(folder) >= 1 && len(folder) <= 128
	for _, c := range []byte(folder) {
		ok = ok && ('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-')
	}
	if !ok {
		return fmt.Errorf("%w: %.140q; give the folder that the backup reported, like mhsm-ContosoMHSM-2020083120161860, without container or slashes", ErrBadFolder, folder)
	}
	return nil
}

// checkText accepts valid UTF-8 of 1 to limit bytes without control characters.
func checkText(s string, limit int) error {
	if len(s) < 1 || len(s) > limit {
		return fmt.Errorf("has %d bytes, 1 to %d are allowed", len(s), limit)
	}
	if !utf8.ValidString(s) {
		return errors.New("is not valid UTF-8")
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c == 0x7f {
			return errors.New("has a control character")
		}
	}
	return nil
}
