// Package blob is the contract for the place where backups go: one container of named objects. Drivers
// live below it (azblob for Azure Storage and anything that speaks it, dir for a folder); blobtest is
// the contract in executable form.
//
// A container may be opened with narrow rights: a backup's shared access signature typically carries
// create, read, delete and write ("crdw") but not list, a restore's only read and list ("rl"). So Put
// and Get must never need a listing.
//
// Error messages of a driver never contain a credential: a shared access signature is a secret, and
// url.Error would print it.
package blob

import (
	"context"
	"errors"
	"io"
	"iter"
)

var (
	// ErrNotFound: the named object does not exist.
	ErrNotFound = errors.New("blob: not found")
	// ErrNoContainer: the container (or its account) does not exist.
	ErrNoContainer = errors.New("blob: container not found")
	// ErrExists: Put found an object of that name; nothing was overwritten.
	ErrExists = errors.New("blob: already exists")
	// ErrDenied: the credential is valid but lacks the permission for this call.
	ErrDenied = errors.New("blob: permission denied")
	// ErrExpired: the credential's validity has ended or has not begun.
	ErrExpired = errors.New("blob: credential expired")
	// ErrBadCredential: the credential is malformed, for another resource, or its signature is wrong.
	ErrBadCredential = errors.New("blob: credential refused")
	// ErrUnreachable: no answer from the account (name, connection, TLS, time-out).
	ErrUnreachable = errors.New("blob: account unreachable")
	// ErrFull: the medium has no room.
	ErrFull = errors.New("blob: no space left")
	// ErrBadTarget: the storage address is not one this server may use.
	ErrBadTarget = errors.New("blob: storage address refused")
)

// Info describes one object.
type Info struct {
	Name string // full name in the container, "/"-separated
	Size int64
}

// Container is one open container. Methods may be called from any goroutine.
type Container interface {
	// URL is the container's address without any credential, e.g. https://acct.blob.core.windows.net/c.
	URL() string
	// Put stores data under name. It never overwrites: ErrExists. When it returns nil the object is
	// complete and durable; on any error the object is absent or complete, never partial.
	Put(ctx context.Context, name string, data []byte) error
	// Get opens an object for reading from its start. A connection lost midway shows as an error of
	// Read, never as a short object.
	Get(ctx context.Context, name string) (io.ReadCloser, Info, error)
	// List yields the objects whose names begin with prefix, in name order.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete removes an object; an absent one is not an error.
	Delete(ctx context.Context, name string) error
}
