package cloud

import (
	"context"
	"fmt"
	"slices"

	"redoubt/internal/store"
)

// AddServicePrincipal creates a service principal, with a secret unless that is empty. Empty ids are filled in.
func (c *Cloud) AddServicePrincipal(ctx context.Context, sp ServicePrincipal, secret string) (ServicePrincipal, error) {
	ifs, then, sp := c.newServicePrincipal(sp, secret)
	return sp, c.create(ctx, ifs, then)
}

func (c *Cloud) newServicePrincipal(sp ServicePrincipal, secret string) ([]store.Cond, []store.Op, ServicePrincipal) {
	var hashes []string
	if secret != "" {
		hashes = append(hashes, c.secrets.hash(secret))
	}
	if sp.ObjectID == "" {
		sp.ObjectID = NewGUID()
	}
	if sp.AppID == "" {
		sp.AppID = NewGUID()
	}
	sp.ObjectID, sp.AppID = fold(sp.ObjectID), fold(sp.AppID)
	key, app, oid := "sp/"+sp.ObjectID, "app/"+sp.AppID, "oid/"+sp.ObjectID
	return []store.Cond{absent(key), absent(app), absent(oid)},
		[]store.Op{
			put(key, spRecord{ServicePrincipal: sp, SecretHashes: hashes}),
			put(app, sp.ObjectID),
			put(oid, pointer{Kind: KindServicePrincipal, Key: key}),
		}, sp
}

// ServicePrincipal returns one by object id or application id.
func (c *Cloud) ServicePrincipal(ctx context.Context, id string) (ServicePrincipal, error) {
	r, _, err := c.servicePrincipal(ctx, id)
	return r.ServicePrincipal, err
}

func (c *Cloud) servicePrincipal(ctx context.Context, id string) (spRecord, store.Rev, error) {
	if !keySafe(id) {
		return spRecord{}, 0, ErrNotFound
	}
	r, rev, err := load[spRecord](ctx, c, "sp/"+fold(id))
	if !isNotFound(err) {
		return r, rev, err
	}
	oid, _, err := load[string](ctx, c, "app/"+fold(id))
	if err != nil {
		return spRecord{}, 0, err
	}
	return load[spRecord](ctx, c, "sp/"+oid)
}

// ServicePrincipals returns all of them, without managed identities.
func (c *Cloud) ServicePrincipals(ctx context.Context) ([]ServicePrincipal, error) {
	return loadAll[ServicePrincipal](ctx, c, "sp/")
}

// maxSecrets is how many secrets a service principal can have at a time.
const maxSecrets = 2

// SetSecret replaces all secrets of a service principal. With keep, the latest one so far goes on working beside
// the new one until the next call, so that programs can be given the new one in turn.
func (c *Cloud) SetSecret(ctx context.Context, id, secret string, keep bool) error {
	if secret == "" {
		return fmt.Errorf("%w: empty secret", ErrInvalid)
	}
	hash := c.secrets.hash(secret)
	return c.updateServicePrincipal(ctx, id, func(r *spRecord) error {
		var kept []string
		if n := len(r.SecretHashes); keep && n > 0 {
			kept = r.SecretHashes[max(0, n-maxSecrets+1):]
		}
		r.SecretHashes = append(slices.Clone(kept), hash)
		return nil
	})
}

// updateServicePrincipal changes one record.
func (c *Cloud) updateServicePrincipal(ctx context.Context, id string, change func(*spRecord) error) error {
	return c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		r, rev, err := c.servicePrincipal(ctx, id)
		if err == nil {
			err = change(&r)
		}
		if err != nil {
			return nil, nil, err
		}
		key := "sp/" + r.ObjectID
		return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, r)}, nil
	})
}

// CheckSecret returns the service principal with this application id: ErrNotFound when there is none,
// ErrBadCredentials when the secret is wrong, ErrDisabled when it is right but does not count.
func (c *Cloud) CheckSecret(ctx context.Context, appID, secret string) (ServicePrincipal, error) {
	r, _, err := c.servicePrincipal(ctx, appID)
	if err != nil {
		return ServicePrincipal{}, err
	}
	ok := slices.ContainsFunc(r.SecretHashes, func(h string) bool { return c.secrets.check(h, secret) })
	if !ok || r.AppID != fold(appID) {
		return ServicePrincipal{}, ErrBadCredentials
	}
	if r.Disabled {
		return ServicePrincipal{}, ErrDisabled
	}
	return r.ServicePrincipal, nil
}
