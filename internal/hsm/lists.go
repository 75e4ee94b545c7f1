package hsm

import (
	"context"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// MaxPage is the most items of one page of a key list, and how many there are when the caller does not say.
const MaxPage = 25

// Lists are paged. `next` is where the following page begins and is empty at the end; clients hand it
// back unread. It is the last name (or version) shown, so a page goes on at the right place whatever was
// created, deleted or restored between two calls.

func pageSize(max int) (int, error) {
	if max == 0 {
		return MaxPage, nil
	}
	if max < 0 || max > MaxPage {
		return 0, answerf(key.ErrBadParameter, "maxresults is %d; it must be 1 to %d", max, MaxPage)
	}
	return max, nil
}

// page opens the records under prefix that follow after, at most max of them.
func page[T any](ctx context.Context, v *view, prefix, after string, max int) (items []T, next string, err error) {
	base := v.contentKey(prefix)
	q := store.Query{Prefix: base, Limit: max}
	if after != "" {
		q.After = base + after
	}
	p, err := v.h.store.Range(ctx, q)
	if err != nil {
		return nil, "", storeError("list "+prefix, err)
	}
	for _, kv := range p.KVs {
		r, _, err := open[T](v, prefix+kv.Key[len(base):], kv)
		if err != nil {
			return nil, "", err
		}
		items = append(items, r)
	}
	if p.More && len(p.KVs) > 0 {
		next = p.KVs[len(p.KVs)-1].Key[len(base):]
	}
	return items, next, nil
}

// pageOfHeads is one page of live or deleted keys, each shown by its current version.
func (c *call) pageOfHeads(ctx context.Context, prefix, after string, max int) (items []Bundle, next string, err error) {
	if max, err = pageSize(max); err != nil {
		return nil, "", err
	}
	if after != "" {
		n, err := key.ParseName(after)
		if err != nil {
			return nil, "", badContinuation(err)
		}
		after = n.Fold()
	}
	err = c.readSet(ctx, func() error {
		heads, more, err := page[head](ctx, &c.v, prefix, after, max)
		items, next = make([]Bundle, len(heads)), more
		for i, hd := range heads {
			items[i] = c.h.bundle(hd.Meta, hd.Deletion)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return items, next, nil
}

func badContinuation(err error) error {
	return answerf(key.ErrBadParameter, "the continuation token is not one this list gave out: %v; start the list again", err)
}

// ListKeys shows live keys in name order, each by its current version.
func (h *HSM) ListKeys(ctx context.Context, who Caller, after string, max int) (items []Bundle, next string, err error) {
	c, err := h.begin(ctx, who, OpKeyList, rbac.ScopeKeys)
	if err != nil {
		return nil, "", err
	}
	defer c.end(&err)
	return c.pageOfHeads(ctx, "h/", after, max)
}

// ListDeleted shows soft-deleted keys in name order.
func (h *HSM) ListDeleted(ctx context.Context, who Caller, after string, max int) (items []Bundle, next string, err error) {
	c, err := h.begin(ctx, who, OpKeyListDeleted, rbac.ScopeKeys)
	if err != nil {
		return nil, "", err
	}
	defer c.end(&err)
	return c.pageOfHeads(ctx, "d/", after, max)
}

// ListVersions shows all versions of a live key, in the order of their (random) version numbers.
func (h *HSM) ListVersions(ctx context.Context, who Caller, name key.Name, after string, max int) (items []Bundle, next string, err error) {
	c, err := h.begin(ctx, who, OpKeyListVersions, rbac.KeyScope(name))
	if err != nil {
		return nil, "", err
	}
	defer c.end(&err)
	return c.pageOfVersions(ctx, name, after, max)
}

// pageOfVersions is one page of the versions of a live key.
func (c *call) pageOfVersions(ctx context.Context, name key.Name, after string, max int) (items []Bundle, next string, err error) {
	if max, err = pageSize(max); err != nil {
		return nil, "", err
	}
	from, err := key.ParseVersion(after)
	if err != nil {
		return nil, "", badContinuation(err)
	}
	err = c.readSet(ctx, func() error {
		hd, _, err := c.v.loadHead(ctx, name)
		if err != nil {
			return err
		}
		metas, more, err := page[key.Meta](ctx, &c.v, versionsPrefix(hd.Incarnation), string(from), max)
		if err != nil {
			return err
		}
		items, next = make([]Bundle, len(metas)), more
		for i, m := range metas {
			items[i] = c.h.bundle(m, nil)
		}
		_, _, err = c.v.loadHead(ctx, name) // a key purged meanwhile must not show half its versions
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return items, next, nil
}
