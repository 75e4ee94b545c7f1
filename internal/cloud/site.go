package cloud

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/store"
)

// Site is the control plane of a server whose people live elsewhere, at the issuers that it trusts: a tenant, a
// subscription and who owns it, but no directory. It is the record "/cloud/site".
type Site struct {
	Tenant       string `json:"tenant"`       // GUID, lower-case
	Subscription string `json:"subscription"` // GUID, lower-case
}

// Found makes a site in an empty store, with owners (object ids, at most 20) as Owner of the subscription. It
// is one transaction; ErrExists when the store holds a site or a dev cloud.
func (c *Cloud) Found(ctx context.Context, s Site, owners []string) error {
	s.Tenant, s.Subscription = fold(s.Tenant), fold(s.Subscription)
	if !keySafe(s.Tenant) || !keySafe(s.Subscription) || len(owners) > 20 {
		return fmt.Errorf("%w: tenant, subscription or owners of a site", ErrInvalid)
	}
	ifs := []store.Cond{absent("site"), absent("boot"), absent("tenant")}
	ops := []store.Op{put("site", s), put("tenant", Tenant{ID: s.Tenant, DisplayName: "Redoubt"}),
		put("sub/"+s.Subscription, Subscription{ID: s.Subscription, TenantID: s.Tenant, DisplayName: "Redoubt"})}
	ops = append(ops, grantsChanged())
	made := make(map[string]bool)
	for _, id := range owners {
		if id = fold(id); !keySafe(id) {
			return fmt.Errorf("%w: owner %q", ErrInvalid, id)
		}
		if made[id] {
			continue
		}
		made[id] = true
		ra := RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/" + s.Subscription, Role: RoleOwner, PrincipalID: id,
			CreatedBy: id, CreatedOn: time.Now().UTC().Format(time.RFC3339)}
		key, err := resourceKey("ra", ra.ID())
		if err != nil {
			return err
		}
		ops = append(ops, put(key, ra), put(ra.grantKey(), ra.ID()))
	}
	_, err := c.s.Txn(ctx, ifs, ops)
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return ErrExists
	}
	return err
}

// AddOwner makes a principal (object id) Owner of a site's subscription, in one transaction with also, which is at most
// store.MaxOps-3 writes. ErrExists when they are that already: then nothing is written.
func (c *Cloud) AddOwner(ctx context.Context, id string, also []store.Op) error {
	s, err := c.Site(ctx)
	if err != nil {
		return err
	}
	if id = fold(id); !keySafe(id) {
		return fmt.Errorf("%w: owner %q", ErrInvalid, id)
	}
	ra := RoleAssignment{Name: NewGUID(), Scope: "/subscriptions/" + s.Subscription, Role: RoleOwner, PrincipalID: id,
		CreatedBy: id, CreatedOn: time.Now().UTC().Format(time.RFC3339)}
	key, err := resourceKey("ra", ra.ID())
	if err != nil {
		return err
	}
	_, err = c.s.Txn(ctx, []store.Cond{absent(key), absent(ra.grantKey())}, append([]store.Op{put(key, ra), put(ra.grantKey(), ra.ID()), grantsChanged()}, also...))
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return ErrExists
	}
	return err
}

// Site returns what Found made, or ErrNotFound.
func (c *Cloud) Site(ctx context.Context) (Site, error) {
	s, _, err := load[Site](ctx, c, "site")
	return s, err
}
