// Package key holds what a key is, apart from its material: names, versions, types, attributes, permitted
// operations, algorithms and the rules of its life. It is pure: no I/O, no secrets, no clock of its own
// (times are passed in as Unix seconds).
//
// Shapes follow the Azure Key Vault keys API (api-versions 7.2 and later) as Managed HSM serves it.
package key

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotFound: no such key or version.
	ErrNotFound = errors.New("key not found")
	// ErrDeletedNotFound: no such soft-deleted key.
	ErrDeletedNotFound = errors.New("deleted key not found")
	// ErrExists: the name is taken by a live key (restore of a single key).
	ErrExists = errors.New("key already exists")
	// ErrDeleted: the name is taken by a soft-deleted key.
	ErrDeleted = errors.New("key is deleted but recoverable")
	// ErrBadParameter: a value is outside what the API allows.
	ErrBadParameter = errors.New("bad parameter")
	// ErrBadKeyType: the key type is not one this HSM makes. It is also an ErrBadParameter.
	ErrBadKeyType = fmt.Errorf("%w: key type not supported", ErrBadParameter)
	// ErrBadAlgorithm: the algorithm does not go with this key. It is also an ErrBadParameter.
	ErrBadAlgorithm = fmt.Errorf("%w: algorithm not supported for this key", ErrBadParameter)
	// ErrCryptoFailed: padding, tag or integrity check failed; one answer for every cause.
	ErrCryptoFailed = fmt.Errorf("%w: the operation failed on this input", ErrBadParameter)
	// ErrOperationForbidden: key_ops does not list the operation.
	ErrOperationForbidden = errors.New("operation is not permitted on this key")
	// ErrDisabled: attributes.enabled is false.
	ErrDisabled = errors.New("key is disabled")
	// ErrNotYetValid: before attributes.nbf.
	ErrNotYetValid = errors.New("key is not yet valid")
	// ErrExpired: after attributes.exp.
	ErrExpired = errors.New("key has expired")
	// ErrTooManyVersions: a key has at most MaxVersions versions.
	ErrTooManyVersions = errors.New("key has too many versions")
	// ErrNoRotationPolicy: a key is rotated by its policy, and has none.
	ErrNoRotationPolicy = errors.New("key has no rotation policy")
	// ErrPurgeProtected: purge protection forbids purging before the retention ends.
	ErrPurgeProtected = errors.New("purge protection is on")
)

// Limits of the service (Managed HSM service limits).
const (
	MaxKeys     = 5000
	MaxVersions = 100
	MaxTags     = 15
	MaxTagChars = 256
)

// Name is a key's name: 1 to 127 of letters, digits and hyphens. The zero value is invalid.
// Names keep the letter case they were created with and are compared without regard to it.
type Name string

// ParseName checks s against the service's pattern ^[0-9a-zA-Z-]{1,127}$.
func ParseName(s string) (Name, error) {
	if len(s) < 1 || len(s) > 127 {
		return "", fmt.Errorf("%w: a key name has 1 to 127 characters", ErrBadParameter)
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-') {
			return "", fmt.Errorf("%w: a key name has only letters, digits and hyphens", ErrBadParameter)
		}
	}
	return Name(s), nil
}

// Fold is the form under which names are compared and stored.
func (n Name) Fold() string { return strings.ToLower(string(n)) }

// Version is 32 lower-case hex digits. The zero value means "the current version" in requests.
type Version string

// ParseVersion accepts an empty string (the current version) or 32 hex digits in any letter case.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return "", nil
	}
	if b, err := hex.DecodeString(s); err != nil || len(b) != 16 {
		return "", fmt.Errorf("%w: a key version is 32 hexadecimal digits", ErrBadParameter)
	}
	return Version(strings.ToLower(s)), nil
}

// NewVersion draws a fresh version.
func NewVersion() Version { return Version(randomHex(16)) }

// IncarnationID names one life of a key name: a key created again after a purge gets another, so that
// leftovers of the former can never be mistaken for the new one's.
type IncarnationID string

// NewIncarnation draws a fresh incarnation id.
func NewIncarnation() IncarnationID { return IncarnationID(randomHex(16)) }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
