package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/store"
)

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// create runs a transaction that must not find anything there.
func (c *Cloud) create(ctx context.Context, ifs []store.Cond, then []store.Op) error {
	_, err := c.s.Txn(ctx, ifs, then)
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return ErrExists
	}
	if err != nil {
		return fmt.Errorf("write dev cloud: %w", err)
	}
	return nil
}

// Principal returns any principal by object id.
func (c *Cloud) Principal(ctx context.Context, objectID string) (Principal, error) {
	if !keySafe(objectID) {
		return Principal{}, ErrNotFound
	}
	p, _, err := load[pointer](ctx, c, "oid/"+fold(objectID))
	if err != nil {
		return Principal{}, err
	}
	switch p.Kind {
	case KindUser:
		u, _, err := load[User](ctx, c, p.Key)
		return u.principal(), err
	case KindServicePrincipal:
		sp, _, err := load[ServicePrincipal](ctx, c, p.Key)
		return sp.principal(), err
	case KindManagedIdentity:
		mi, _, err := load[ManagedIdentity](ctx, c, p.Key)
		return mi.principal(), err
	}
	return Principal{}, fmt.Errorf("read dev cloud: principal %q is of unknown kind %q", objectID, p.Kind)
}

// disabledMark is in the pointer of a principal that is disabled, and in no other: inside a JSON string its quotes
// would be escaped.
var disabledMark = []byte(`"disabled":true`)

// Active tells whether there is a principal with that object id, and it is not disabled. It reads one record and
// decodes nothing: every request of every edge asks it. An error means that nobody can tell.
func (c *Cloud) Active(ctx context.Context, objectID string) (bool, error) {
	if !keySafe(objectID) {
		return false, nil
	}
	kv, _, err := c.s.Get(ctx, root+"oid/"+fold(objectID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read dev cloud: %w", err)
	}
	return !bytes.Contains(kv.Val, disabledMark), nil
}

// SetDisabled disables a person or a service principal, or enables it again. Who is disabled cannot sign in, and
// every token is refused at once. What a person could sign in anew with (refresh tokens) is worth nothing any
// more, also after enabling.
func (c *Cloud) SetDisabled(ctx context.Context, objectID string, disabled bool) error {
	if !keySafe(objectID) {
		return ErrNotFound
	}
	oid := "oid/" + fold(objectID)
	return c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		p, prev, err := load[pointer](ctx, c, oid)
		if err != nil {
			return nil, nil, err
		}
		p.Disabled = disabled
		var record any
		var rev store.Rev
		switch p.Kind {
		case KindUser:
			var r userRecord
			if r, rev, err = load[userRecord](ctx, c, p.Key); disabled && !r.Disabled {
				r.Stamp = NewGUID()
			}
			r.Disabled, record = disabled, &r
		case KindServicePrincipal:
			var r spRecord
			r, rev, err = load[spRecord](ctx, c, p.Key)
			r.Disabled, record = disabled, &r
		default:
			err = fmt.Errorf("%w: a managed identity is deleted, not disabled", ErrInvalid)
		}
		if err != nil {
			return nil, nil, err
		}
		return []store.Cond{unchanged(oid, prev), unchanged(p.Key, rev)}, []store.Op{put(oid, p), put(p.Key, record)}, nil
	})
}

// Principals returns everybody: people, service principals, managed identities.
func (c *Cloud) Principals(ctx context.Context) ([]Principal, error) {
	users, err := c.Users(ctx)
	if err != nil {
		return nil, err
	}
	sps, err := c.ServicePrincipals(ctx)
	if err != nil {
		return nil, err
	}
	mis, err := c.ManagedIdentities(ctx, "/")
	if err != nil {
		return nil, err
	}
	all := make([]Principal, 0, len(users)+len(sps)+len(mis))
	for _, u := range users {
		all = append(all, u.principal())
	}
	for _, sp := range sps {
		all = append(all, sp.principal())
	}
	for _, mi := range mis {
		all = append(all, mi.principal())
	}
	return all, nil
}

// DeletePrincipal removes a person or a service principal. Role assignments stay, as in Azure, and name
// nobody any more.
func (c *Cloud) DeletePrincipal(ctx context.Context, objectID string) error {
	p, err := c.Principal(ctx, objectID)
	if err != nil {
		return err
	}
	switch p.Kind {
	case KindUser:
		_, err = c.s.Txn(ctx, nil, []store.Op{
			remove("user/" + p.ObjectID), remove("upn/" + fold(p.UPN)), remove("oid/" + p.ObjectID)})
	case KindServicePrincipal:
		_, err = c.s.Txn(ctx, nil, []store.Op{
			remove("sp/" + p.ObjectID), remove("app/" + p.AppID), remove("oid/" + p.ObjectID)})
	default:
		return c.DeleteManagedIdentity(ctx, p.ResourceID)
	}
	if err != nil {
		return fmt.Errorf("write dev cloud: %w", err)
	}
	return nil
}

func (u User) principal() Principal {
	return Principal{Kind: KindUser, ObjectID: u.ObjectID, DisplayName: u.DisplayName, UPN: u.UPN, Disabled: u.Disabled}
}

func (sp ServicePrincipal) principal() Principal {
	return Principal{Kind: KindServicePrincipal, ObjectID: sp.ObjectID, DisplayName: sp.DisplayName, AppID: sp.AppID, Disabled: sp.Disabled}
}

func (m ManagedIdentity) principal() Principal {
	return Principal{Kind: KindManagedIdentity, ObjectID: m.PrincipalID, DisplayName: m.Name(), AppID: m.ClientID, ResourceID: m.ResourceID}
}

// EnsureManagedIdentity creates the identity, or updates location and tags of the one that is there: its
// principal id and client id never change while it exists. created tells which.
func (c *Cloud) EnsureManagedIdentity(ctx context.Context, resourceID, location string, tags map[string]string) (mi ManagedIdentity, created bool, err error) {
	key, err := resourceKey("mi", resourceID)
	if err != nil {
		return ManagedIdentity{}, false, err
	}
	err = c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		var rev store.Rev
		var lerr error
		mi, rev, lerr = load[ManagedIdentity](ctx, c, key)
		created = isNotFound(lerr)
		if lerr != nil && !created {
			return nil, nil, lerr
		}
		if !created {
			mi.Location, mi.Tags = location, tags
			return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, mi)}, nil
		}
		mi = ManagedIdentity{ResourceID: strings.TrimRight(resourceID, "/"), PrincipalID: NewGUID(), ClientID: NewGUID(), Location: location, Tags: tags}
		return []store.Cond{absent(key)}, []store.Op{
			put(key, mi),
			put("app/"+mi.ClientID, mi.PrincipalID),
			put("oid/"+mi.PrincipalID, pointer{Kind: KindManagedIdentity, Key: key}),
		}, nil
	})
	return mi, created, err
}

// ManagedIdentity returns one by resource id.
func (c *Cloud) ManagedIdentity(ctx context.Context, resourceID string) (ManagedIdentity, error) {
	key, err := resourceKey("mi", resourceID)
	if err != nil {
		return ManagedIdentity{}, ErrNotFound
	}
	mi, _, err := load[ManagedIdentity](ctx, c, key)
	return mi, err
}

// ManagedIdentities returns those whose resource id begins with scope ("/subscriptions/S",
// "/subscriptions/S/resourceGroups/G", or "/" for all).
func (c *Cloud) ManagedIdentities(ctx context.Context, scope string) ([]ManagedIdentity, error) {
	return loadAll[ManagedIdentity](ctx, c, "mi"+fold(strings.TrimRight(scope, "/"))+"/")
}

// DeleteManagedIdentity removes an identity. ErrNotFound when there is none.
func (c *Cloud) DeleteManagedIdentity(ctx context.Context, resourceID string) error {
	key, err := resourceKey("mi", resourceID)
	if err != nil {
		return ErrNotFound
	}
	return c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		mi, rev, err := load[ManagedIdentity](ctx, c, key)
		if err != nil {
			return nil, nil, err
		}
		return []store.Cond{unchanged(key, rev)},
			[]store.Op{remove(key), remove("app/" + mi.ClientID), remove("oid/" + mi.PrincipalID)}, nil
	})
}

// resourceKey makes a key of a resource id: lower-case, no double or trailing slashes.
func resourceKey(table, id string) (string, error) {
	segs := strings.FieldsFunc(id, func(r rune) bool { return r == '/' })
	for _, s := range segs {
		if !keySafe(s) {
			return "", fmt.Errorf("%w: resource id", ErrInvalid)
		}
	}
	if len(segs) == 0 || len(id) > 1024 || id[0] != '/' {
		return "", fmt.Errorf("%w: resource id", ErrInvalid)
	}
	return table + "/" + fold(strings.Join(segs, "/")), nil
}
