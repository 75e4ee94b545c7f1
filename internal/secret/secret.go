// Package secret holds the type that secret bytes travel in: it cannot be printed, encoded or compared
// by accident, and reading it needs an explicit Expose that a search finds.
//
// The bytes live behind a closure, not in a field: fmt cannot call methods on unexported fields, so a
// slice inside another struct would print its bytes with %v. A closure prints as an address with every verb.
//
// Known weakness: Wipe overwrites this copy. The runtime may have moved or copied the bytes before (stack
// growth, crypto libraries that keep their own), so erasure is best effort and nothing more is promised.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
)

const redacted = "(redacted)"

// ErrEncode is the error of every attempt to encode a secret.
var ErrEncode = errors.New("secret: refusing to encode a secret value")

// Bytes is a secret value. The zero value is an empty secret. Copies share the same bytes.
type Bytes struct{ f func() []byte }

// New takes ownership of b: the caller must not use b again.
func New(b []byte) Bytes { return Bytes{f: func() []byte { return b }} }

// Random returns n bytes from the system's random generator.
func Random(n int) Bytes {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand aborts the process instead
	return New(b)
}

// Expose returns the bytes themselves. Callers must neither keep nor modify them.
func (s Bytes) Expose() []byte {
	if s.f == nil {
		return nil
	}
	return s.f()
}

// Len returns the number of bytes.
func (s Bytes) Len() int { return len(s.Expose()) }

// Equal compares in constant time; lengths are not secret.
func (s Bytes) Equal(o Bytes) bool { return subtle.ConstantTimeCompare(s.Expose(), o.Expose()) == 1 }

// Clone returns an independent copy, so that one can be wiped without the other.
func (s Bytes) Clone() Bytes { return New(append([]byte(nil), s.Expose()...)) }

// Wipe overwrites the bytes with zeros; every copy of s sees it.
func (s Bytes) Wipe() { clear(s.Expose()) }

// String never shows the value.
func (s Bytes) String() string { return redacted }

// GoString never shows the value.
func (s Bytes) GoString() string { return redacted }

// Format never shows the value, whatever the verb.
func (s Bytes) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalJSON refuses.
func (s Bytes) MarshalJSON() ([]byte, error) { return nil, ErrEncode }

// MarshalText refuses.
func (s Bytes) MarshalText() ([]byte, error) { return nil, ErrEncode }

// MarshalBinary refuses, and with it encoding/gob.
func (s Bytes) MarshalBinary() ([]byte, error) { return nil, ErrEncode }
