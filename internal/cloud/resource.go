package cloud

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"redoubt/internal/store"
)

// ResourceGroup is a folder of resources.
type ResourceGroup struct {
	Subscription string            `json:"subscription"`
	Name         string            `json:"name"`
	Location     string            `json:"location"`
	Tags         map[string]string `json:"tags,omitempty"`
}

// StorageKey is one shared key of a storage account: 64 random bytes in base64.
type StorageKey struct {
	Name  string `json:"keyName"` // "key1", "key2"
	Value string `json:"value"`
}

// StorageAccount is an account whose blobs this server keeps. Names are unique over the whole cloud.
type StorageAccount struct {
	Subscription  string            `json:"subscription"`
	ResourceGroup string            `json:"resourceGroup"`
	Name          string            `json:"name"`
	Location      string            `json:"location"`
	Kind          string            `json:"kind"` // "StorageV2"
	SKU           string            `json:"sku"`  // "Standard_LRS"
	Tags          map[string]string `json:"tags,omitempty"`
	Keys          [2]StorageKey     `json:"keys"`
}

// ID is the ARM resource id.
func (a StorageAccount) ID() string {
	return "/subscriptions/" + a.Subscription + "/resourceGroups/" + a.ResourceGroup +
		"/providers/Microsoft.Storage/storageAccounts/" + a.Name
}

// ID is the ARM resource id.
func (g ResourceGroup) ID() string {
	return "/subscriptions/" + g.Subscription + "/resourceGroups/" + g.Name
}

func groupKey(subscription, name string) string { return "rg/" + fold(subscription) + "/" + fold(name) }

// PutResourceGroup creates a group, or updates location and tags of the one that is there (which keeps the
// letter case of its name).
func (c *Cloud) PutResourceGroup(ctx context.Context, g ResourceGroup) (out ResourceGroup, created bool, err error) {
	if !keySafe(g.Name) || len(g.Name) > 90 || !keySafe(g.Subscription) {
		return ResourceGroup{}, false, fmt.Errorf("%w: resource group name", ErrInvalid)
	}
	key := groupKey(g.Subscription, g.Name)
	err = c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		old, rev, lerr := load[ResourceGroup](ctx, c, key)
		created = isNotFound(lerr)
		if lerr != nil && !created {
			return nil, nil, lerr
		}
		out = g
		if !created {
			out.Name, out.Subscription = old.Name, old.Subscription
		}
		return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, out)}, nil
	})
	return out, created, err
}

// ResourceGroup returns one group.
func (c *Cloud) ResourceGroup(ctx context.Context, subscription, name string) (ResourceGroup, error) {
	if !keySafe(subscription) || !keySafe(name) {
		return ResourceGroup{}, ErrNotFound
	}
	g, _, err := load[ResourceGroup](ctx, c, groupKey(subscription, name))
	return g, err
}

// ResourceGroups returns all groups of a subscription.
func (c *Cloud) ResourceGroups(ctx context.Context, subscription string) ([]ResourceGroup, error) {
	return loadAll[ResourceGroup](ctx, c, groupKey(subscription, ""))
}

// DeleteResourceGroup removes a group with the storage accounts and managed identities in it. HSMs are the
// caller's to delete first. The group goes last, so that after a crash the deletion can be repeated.
func (c *Cloud) DeleteResourceGroup(ctx context.Context, subscription, name string) error {
	g, err := c.ResourceGroup(ctx, subscription, name)
	if err != nil {
		return err
	}
	accounts, err := c.StorageAccounts(ctx, subscription, name)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if err := c.DeleteStorageAccount(ctx, a.Name); err != nil && !isNotFound(err) {
			return err
		}
	}
	ids, err := c.ManagedIdentities(ctx, g.ID())
	if err != nil {
		return err
	}
	for _, mi := range ids {
		if err := c.DeleteManagedIdentity(ctx, mi.ResourceID); err != nil && !isNotFound(err) {
			return err
		}
	}
	if _, err := c.s.Txn(ctx, nil, []store.Op{remove(groupKey(subscription, name))}); err != nil {
		return fmt.Errorf("write dev cloud: %w", err)
	}
	return nil
}

// accountName is Azure's rule for storage account names, with upper-case letters allowed on input because
// published commands contain them and host names do not tell them apart.
var accountName = regexp.MustCompile(`^[a-zA-Z0-9]{3,24}$`)

// ValidStorageAccountName tells whether a storage account can have this name.
func ValidStorageAccountName(name string) bool { return accountName.MatchString(name) }

// PutStorageAccount creates an account with fresh keys, or updates location, kind, SKU and tags of the one
// that is there. ErrExists when the name is taken in another subscription or group.
func (c *Cloud) PutStorageAccount(ctx context.Context, a StorageAccount) (out StorageAccount, created bool, err error) {
	if !ValidStorageAccountName(a.Name) || !keySafe(a.ResourceGroup) || !keySafe(a.Subscription) {
		return StorageAccount{}, false, fmt.Errorf("%w: a storage account's name has 3 to 24 letters and digits", ErrInvalid)
	}
	key := "sa/" + fold(a.Name)
	err = c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		old, rev, lerr := load[StorageAccount](ctx, c, key)
		created = isNotFound(lerr)
		if lerr != nil && !created {
			return nil, nil, lerr
		}
		out = a
		if created {
			out.Keys = [2]StorageKey{{"key1", newStorageKey()}, {"key2", newStorageKey()}}
		} else {
			if !SameName(old.Subscription, a.Subscription) || !SameName(old.ResourceGroup, a.ResourceGroup) {
				return nil, nil, fmt.Errorf("storage account %q: %w in another resource group", a.Name, ErrExists)
			}
			out.Subscription, out.ResourceGroup, out.Name, out.Keys = old.Subscription, old.ResourceGroup, old.Name, old.Keys
		}
		return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, out)}, nil
	})
	if err != nil {
		return StorageAccount{}, false, err
	}
	return out, created, nil
}

// StorageAccount returns an account by name alone.
func (c *Cloud) StorageAccount(ctx context.Context, name string) (StorageAccount, error) {
	if !keySafe(name) {
		return StorageAccount{}, ErrNotFound
	}
	a, _, err := load[StorageAccount](ctx, c, "sa/"+fold(name))
	return a, err
}

// StorageAccounts returns the accounts of a subscription, or of one group of it when group is not empty.
// An empty subscription means all.
func (c *Cloud) StorageAccounts(ctx context.Context, subscription, group string) ([]StorageAccount, error) {
	all, err := loadAll[StorageAccount](ctx, c, "sa/")
	if err != nil {
		return nil, err
	}
	kept := all[:0]
	for _, a := range all {
		if (subscription == "" || SameName(a.Subscription, subscription)) &&
			(group == "" || SameName(a.ResourceGroup, group)) {
			kept = append(kept, a)
		}
	}
	return kept, nil
}

// RegenerateStorageKey replaces one key ("key1" or "key2") of an account.
func (c *Cloud) RegenerateStorageKey(ctx context.Context, name, keyName string) (out StorageAccount, err error) {
	key := "sa/" + fold(name)
	err = c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		a, rev, err := load[StorageAccount](ctx, c, key)
		if err != nil {
			return nil, nil, err
		}
		found := false
		for i := range a.Keys {
			if strings.EqualFold(a.Keys[i].Name, keyName) {
				a.Keys[i].Value, found = newStorageKey(), true
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("%w: a storage account has key1 and key2", ErrInvalid)
		}
		out = a
		return []store.Cond{unchanged(key, rev)}, []store.Op{put(key, a)}, nil
	})
	return out, err
}

// DeleteStorageAccount forgets an account. Its blobs are the caller's matter.
func (c *Cloud) DeleteStorageAccount(ctx context.Context, name string) error {
	key := "sa/" + fold(name)
	return c.update(ctx, func() ([]store.Cond, []store.Op, error) {
		_, rev, err := load[StorageAccount](ctx, c, key)
		if err != nil {
			return nil, nil, err
		}
		return []store.Cond{unchanged(key, rev)}, []store.Op{remove(key)}, nil
	})
}

func newStorageKey() string {
	b := make([]byte, 64)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
