// Package unlock is the contract for getting an HSM's root back after a restart: a driver seals a small
// secret so that it can be kept on disk and opens it again. It says nothing about what the secret is.
//
// Each sealed root is a file of its own (see Roots), so that purging an HSM destroys it for good: pages
// and logs of a database keep what was deleted.
package unlock

import (
	"context"
	"errors"

	"redoubt/internal/secret"
)

var (
	// ErrLocked: the driver cannot open now what it sealed (passphrase missing or wrong, device absent).
	ErrLocked = errors.New("unlock: cannot open the sealed root")
	// ErrNoRoot: no sealed root is kept under that name.
	ErrNoRoot = errors.New("unlock: no such sealed root")
)

// Driver seals and opens small secrets. aad is bound to the blob: Open with other aad fails with ErrLocked.
type Driver interface {
	Seal(ctx context.Context, s secret.Bytes, aad []byte) ([]byte, error)
	Open(ctx context.Context, sealed []byte, aad []byte) (secret.Bytes, error)
	// Describe names the driver and its key for status pages, without secrets.
	Describe() string
}
