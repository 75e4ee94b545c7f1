package store

import (
	"errors"
	"fmt"
	"strings"
)

// MaxKey is the longest key in bytes.
const MaxKey = 1024

// DefaultLimit is the page size of a Query without one.
const DefaultLimit = 1000

// ErrInvalid: the request is malformed, which is a mistake of the caller: an empty or overlong key, a key
// with a NUL byte, the same key twice in one Txn, a condition of no kind, a time to live that is not
// positive. Nothing was done.
var ErrInvalid = errors.New("store: invalid request")

// CheckTxn applies the rules that every driver has in common before it looks at its medium: the answer is
// nil, ErrInvalid or ErrTooLarge. Conditions are limited to MaxOps as well, and their keys count.
func CheckTxn(ifs []Cond, then []Op) error {
	if len(ifs) > MaxOps || len(then) > MaxOps {
		return fmt.Errorf("%w: %d conditions and %d operations, at most %d each", ErrTooLarge, len(ifs), len(then), MaxOps)
	}
	size := 0
	for _, c := range ifs {
		if err := checkKey(c.Key); err != nil {
			return err
		}
		if c.Kind < CondAbsent || c.Kind > CondUnchanged {
			return fmt.Errorf("%w: condition on %q has no kind", ErrInvalid, c.Key)
		}
		size += len(c.Key)
	}
	for i, op := range then {
		if err := checkKey(op.Key); err != nil {
			return err
		}
		for _, earlier := range then[:i] {
			if earlier.Key == op.Key {
				return fmt.Errorf("%w: key %q twice in one transaction", ErrInvalid, op.Key)
			}
		}
		size += len(op.Key) + len(op.Val)
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, MaxTxnBytes)
	}
	return nil
}

func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty key", ErrInvalid)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrInvalid, len(key), MaxKey)
	case strings.IndexByte(key, 0) >= 0:
		return fmt.Errorf("%w: key %q holds a NUL byte", ErrInvalid, key)
	}
	return nil
}

// Holds tells whether the condition is met by the current record of its key; ok tells that there is one.
func (c Cond) Holds(now KV, ok bool) bool {
	switch c.Kind {
	case CondAbsent:
		return !ok
	case CondExists:
		return ok
	case CondUnchanged:
		return ok && now.Mod == c.Rev
	}
	return false
}

// PageLimit is the number of records a page of q may hold.
func (q Query) PageLimit() int {
	if q.Limit <= 0 {
		return DefaultLimit
	}
	return q.Limit
}
