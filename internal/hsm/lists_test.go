package hsm

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"redoubt/internal/key"
)

type listFunc func(ctx context.Context, who Caller, after string, max int) ([]Bundle, string, error)

// pages reads a list to its end and returns the names (or versions) of all pages and the page sizes.
func pages(t *testing.T, list listFunc, max int, show func(Bundle) string) (all []string, sizes []int) {
	t.Helper()
	after := ""
	for {
		items, next, err := list(t.Context(), auditor, after, max)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range items {
			all = append(all, show(b))
		}
		sizes = append(sizes, len(items))
		if next == "" {
			return all, sizes
		}
		after = next
	}
}

func nameOf(b Bundle) string    { return string(b.Meta.Name) }
func versionOf(b Bundle) string { return string(b.Meta.Version) }

func TestListPages(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	if items, next, err := r.ListKeys(ctx, user, "", 0); err != nil || len(items) != 0 || next != "" {
		t.Errorf("empty list: %v, %q, %v", items, next, err)
	}
	var live, gone, versions []string
	for i := range 30 {
		name := fmt.Sprintf("Key-%02d", i)
		b := r.create(key.Name(name), octSpec)
		live = append(live, name)
		if i == 0 {
			versions = append(versions, string(b.Meta.Version))
		}
	}
	for range 9 {
		versions = append(versions, string(r.create("key-00", octSpec).Meta.Version))
	}
	slices.Sort(versions)
	for i := range 12 {
		name := key.Name(fmt.Sprintf("gone-%02d", i))
		r.create(name, octSpec)
		noErr(t, second(r.DeleteKey(ctx, user, name)))
		gone = append(gone, string(name))
	}
	versionsOf := func(ctx context.Context, who Caller, after string, max int) ([]Bundle, string, error) {
		return r.ListVersions(ctx, who, "KEY-00", after, max)
	}
	for _, tc := range []struct {
		what  string
		list  listFunc
		show  func(Bundle) string
		want  []string
		max   int
		sizes []int
	}{
		{"keys", r.ListKeys, nameOf, live, 0, []int{25, 5}},
		{"keys by ten", r.ListKeys, nameOf, live, 10, []int{10, 10, 10}},
		{"keys one by one", r.ListKeys, nameOf, live, 1, slices.Repeat([]int{1}, 30)},
		{"deleted", r.ListDeleted, nameOf, gone, 5, []int{5, 5, 2}},
		{"versions", versionsOf, versionOf, versions, 4, []int{4, 4, 2}},
		{"all versions", versionsOf, versionOf, versions, 25, []int{10}},
	} {
		got, sizes := pages(t, tc.list, tc.max, tc.show)
		if !slices.Equal(got, tc.want) || !slices.Equal(sizes, tc.sizes) {
			t.Errorf("%s: %v in pages of %v", tc.what, got, sizes)
		}
	}
	items, _, err := r.ListDeleted(ctx, auditor, "", 1)
	if err != nil || items[0].Deletion == nil {
		t.Errorf("a deleted key is listed without its dates: %+v, %v", items, err)
	}
}

// A page goes on after the last item shown, also when that item is gone by then.
func TestListGoesOnWhileKeysChange(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	for _, n := range []key.Name{"a", "b", "d", "e"} {
		r.create(n, octSpec)
	}
	items, next, err := r.ListKeys(ctx, user, "", 2)
	if err != nil || len(items) != 2 || next == "" {
		t.Fatalf("first page: %v, %q, %v", items, next, err)
	}
	noErr(t, second(r.DeleteKey(ctx, user, "b")))
	noErr(t, r.PurgeKey(ctx, officer, "b"))
	r.create("c", octSpec)
	r.create("aa", octSpec)
	items, next, err = r.ListKeys(ctx, user, next, 25)
	if err != nil || next != "" || len(items) != 3 || items[0].Meta.Name != "c" || items[2].Meta.Name != "e" {
		t.Errorf("second page: %v, %q, %v", items, next, err)
	}
}

func TestListRefusals(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("k", octSpec)
	for _, max := range []int{-1, 26, 1 << 30} {
		_, _, err := r.ListKeys(ctx, user, "", max)
		wantErr(t, fmt.Sprint("page of ", max), err, key.ErrBadParameter)
	}
	for _, after := range []string{"../d/x", "a/b", "\x00", "é"} {
		_, _, err := r.ListKeys(ctx, user, after, 0)
		wantErr(t, "keys after "+after, err, key.ErrBadParameter)
		_, _, err = r.ListDeleted(ctx, auditor, after, 0)
		wantErr(t, "deleted keys after "+after, err, key.ErrBadParameter)
		_, _, err = r.ListVersions(ctx, user, "k", after, 0)
		wantErr(t, "versions after "+after, err, key.ErrBadParameter)
	}
	_, _, err := r.ListVersions(ctx, user, "none", "", 0)
	wantErr(t, "versions of no key", err, key.ErrNotFound)
}
