package fleet

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
)

// Get returns the live HSM of that name.
func (f *Fleet) Get(name string) (Resource, error) {
	r := f.current(strings.ToLower(name))
	if r.ID == "" || r.Deletion != nil {
		return Resource{}, ErrNotFound
	}
	return r, nil
}

// GetDeleted returns the soft-deleted HSM of that name.
func (f *Fleet) GetDeleted(name string) (Resource, error) {
	r := f.current(strings.ToLower(name))
	if r.ID == "" || r.Deletion == nil {
		return Resource{}, ErrNotFound
	}
	return r, nil
}

// Taken tells whether the name belongs to an HSM: a live or a deleted one, or one that is just being created.
func (f *Fleet) Taken(name string) bool {
	_, err := f.member(name)
	return err == nil
}

// List returns the live HSMs, or with deleted the soft-deleted ones, in name order.
func (f *Fleet) List(deleted bool) []Resource {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []Resource
	for _, m := range f.byName {
		if m.res.ID != "" && (m.res.Deletion != nil) == deleted {
			out = append(out, *m.res)
		}
	}
	slices.SortFunc(out, func(a, b Resource) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return out
}

func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
