// Package cloud is the persistent state of the dev cloud that surrounds the HSMs: one tenant with people,
// service principals and managed identities, one subscription with resource groups, storage accounts and
// role assignments of the control plane. HSMs are not here but in package fleet.
//
// Everything is a small JSON record under "/cloud/" in a store.Store:
//
//	/cloud/tenant                     the tenant, made once
//	/cloud/sub/{guid}                 subscriptions
//	/cloud/user/{object id}           people
//	/cloud/upn/{upn}                  -> object id
//	/cloud/sp/{object id}             service principals
//	/cloud/mi/{resource id}           managed identities
//	/cloud/app/{app or client id}     -> object id
//	/cloud/oid/{object id}            -> what kind of principal, and its record
//	/cloud/fi/{hash of the URL}       external issuers of federated tokens, with their keys
//	/cloud/rg/{subscription}/{name}   resource groups
//	/cloud/sa/{name}                  storage accounts
//	/cloud/ra/{assignment id}         role assignments
//	/cloud/rax/{principal|role|scope} -> assignment id, so that the same grant is not made twice
//	/cloud/rarev                      written anew with every change of role assignments
//
// Names and ids are compared without regard to letter case, as Azure does: they are lower-case in the keys
// and as given in the records. Records that belong together change in one transaction with conditions, so
// any number of goroutines may call, and a crash leaves all of a change or none of it.
//
// Secrets: passwords and client secrets are kept as Argon2id hashes only. Keys of storage accounts are kept
// as they are, because a shared key signs requests and must be handed out again by listKeys. That is good
// enough for a cloud on loopback that exists for development and drills, and for nothing else.
package cloud

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/store"
)

var (
	// ErrNotFound: no such thing in this cloud.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name, or the same grant, is taken.
	ErrExists = errors.New("already exists")
	// ErrInvalid: a value that Azure would refuse as well; the message says which.
	ErrInvalid = errors.New("invalid value")
	// ErrBadCredentials: unknown user or application, or the wrong secret. Which of these is not told
	// by CheckPassword.
	ErrBadCredentials = errors.New("wrong name or secret")
	// ErrDisabled: the secret is right, but its owner has been disabled.
	ErrDisabled = errors.New("the principal is disabled")
	// ErrBusy: others kept changing the same record; try again.
	ErrBusy = errors.New("record keeps changing, try again")
)

// Cloud is the state of one dev cloud. It is safe for concurrent use.
type Cloud struct {
	s       store.Store
	secrets *hasher
	roles   roleIndex
}

// Open returns the cloud that lives in s. It writes nothing; see Bootstrap.
func Open(s store.Store) *Cloud { return &Cloud{s: s, secrets: newHasher()} }

// NewGUID returns a random GUID (RFC 9562 version 4), lower-case.
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

const root = "/cloud/"

// attempts is how often a read-modify-write is tried against other writers before ErrBusy.
const attempts = 16

// load reads the record under key. A missing record is ErrNotFound.
func load[T any](ctx context.Context, c *Cloud, key string) (T, store.Rev, error) {
	var v T
	kv, _, err := c.s.Get(ctx, root+key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return v, 0, ErrNotFound
	case err != nil:
		return v, 0, fmt.Errorf("read dev cloud: %w", err)
	}
	if err := json.Unmarshal(kv.Val, &v); err != nil {
		return v, 0, fmt.Errorf("read dev cloud: record %q: %w", key, err)
	}
	return v, kv.Mod, nil
}

// loadAll reads every record whose key begins with prefix, in key order.
func loadAll[T any](ctx context.Context, c *Cloud, prefix string) ([]T, error) {
	q := store.Query{Prefix: root + prefix, Limit: 500}
	all := []T{}
	for {
		page, err := c.s.Range(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("list dev cloud: %w", err)
		}
		for _, kv := range page.KVs {
			var v T
			if err := json.Unmarshal(kv.Val, &v); err != nil {
				return nil, fmt.Errorf("list dev cloud: record %q: %w", kv.Key, err)
			}
			all = append(all, v)
			q.After = kv.Key
		}
		if !page.More || len(page.KVs) == 0 {
			return all, nil
		}
	}
}

// put is the write of one record.
func put(key string, v any) store.Op {
	b, err := json.Marshal(v)
	if err != nil {
		panic("cloud: record cannot be encoded: " + err.Error()) // plain structs of strings: a programming error
	}
	return store.Put(root+key, b)
}

func remove(key string) store.Op { return store.Delete(root + key) }

func absent(key string) store.Cond { return store.Absent(root + key) }

func unchanged(key string, rev store.Rev) store.Cond {
	if rev == 0 {
		return absent(key)
	}
	return store.Unchanged(root+key, rev)
}

// update runs step until its transaction meets no conflict. step reads what it needs and returns the
// conditions under which its writes are right; it may be run several times.
func (c *Cloud) update(ctx context.Context, step func() ([]store.Cond, []store.Op, error)) error {
	for range attempts {
		ifs, then, err := step()
		if err != nil {
			return err
		}
		if len(then) == 0 {
			return nil
		}
		_, err = c.s.Txn(ctx, ifs, then)
		var conflict *store.Conflict
		switch {
		case err == nil:
			return nil
		case errors.As(err, &conflict):
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("write dev cloud: %w", err)
			}
		default:
			return fmt.Errorf("write dev cloud: %w", err)
		}
	}
	return ErrBusy
}

func fold(s string) string { return strings.ToLower(s) }

// SameName tells whether two names of subscriptions or resource groups are one, as scopes of roles see it. It is not
// strings.EqualFold, for which "ſ" (U+017F) is an "s": whoever has a role on the group "ſecrets" would have it on "secrets".
func SameName(a, b string) bool { return fold(a) == fold(b) }

// keySafe tells whether s can be one segment of a key.
func keySafe(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '/' || r == '|' || r == 0x7f })
}
