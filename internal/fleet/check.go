package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/hsm"
)

// Check examines the whole state of every HSM, soft-deleted ones included, and calls report with each in
// name order: nil means sound (see hsm.HSM.Check for what that covers). It returns an error only when it could
// not go on.
func (f *Fleet) Check(ctx context.Context, report func(Resource, error)) error {
	f.mu.RLock()
	members := make([]*member, 0, len(f.byName))
	for _, m := range f.byName {
		members = append(members, m)
	}
	f.mu.RUnlock()
	slices.SortFunc(members, func(a, b *member) int { return strings.Compare(f.lowerName(a), f.lowerName(b)) })
	for _, m := range members {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r, err := f.check(ctx, m); r.ID != "" {
			report(r, err)
		}
	}
	return nil
}

func (f *Fleet) lowerName(m *member) string {
	r, _, _ := f.state(m)
	return strings.ToLower(r.Name)
}

// check examines one HSM. The device of a deleted one is opened for as long as that takes.
func (f *Fleet) check(ctx context.Context, m *member) (r Resource, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, _, d := f.state(m)
	f.mu.RLock()
	fault := m.fault
	f.mu.RUnlock()
	switch {
	case fault != nil:
		return r, fmt.Errorf("%w: %w", hsm.ErrUnavailable, fault)
	case r.Purging:
		return r, ErrDeleting
	case r.ID == "":
		return r, nil
	case d == nil:
		if d, err = f.openDevice(ctx, &r); err != nil {
			return r, err
		}
		defer func() {
			if cerr := d.Close(); err == nil {
				err = cerr
			}
		}()
	}
	return r, d.Check(ctx)
}
