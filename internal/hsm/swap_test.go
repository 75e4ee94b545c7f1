package hsm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
	"redoubt/internal/store/mem"
)

// swappingStore replaces the generation, as a restore does, just before the read or write it was armed for.
type swappingStore struct {
	store.Store
	mu    sync.Mutex
	armed func(what string) bool // asked before each access to content; fires once
	swap  func()
}

func (s *swappingStore) arm(when func(what string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = when
}

func (s *swappingStore) maybe(what string) {
	s.mu.Lock()
	fire := s.armed != nil && s.armed(what)
	if fire {
		s.armed = nil
	}
	s.mu.Unlock()
	if fire {
		s.swap()
	}
}

func (s *swappingStore) Get(ctx context.Context, k string) (store.KV, store.Rev, error) {
	if strings.Contains(k, "/g/") {
		s.maybe("get")
	}
	return s.Store.Get(ctx, k)
}

func (s *swappingStore) Range(ctx context.Context, q store.Query) (store.Page, error) {
	if strings.Contains(q.Prefix, "/g/") {
		s.maybe("range")
	}
	return s.Store.Range(ctx, q)
}

func (s *swappingStore) Txn(ctx context.Context, ifs []store.Cond, ops []store.Op) (store.Rev, error) {
	for _, op := range ops {
		if strings.Contains(op.Key, "/g/") {
			s.maybe("txn")
			break
		}
	}
	return s.Store.Txn(ctx, ifs, ops)
}

// replaceGeneration moves the content to a new generation: a copy, one swap, and the old one is gone.
func (r *testHSM) replaceGeneration(below store.Store) {
	r.t.Helper()
	ctx := context.WithoutCancel(r.t.Context())
	kv, _, err := below.Get(ctx, r.deviceKey())
	noErr(r.t, err)
	d, err := parseDevice(kv.Val)
	noErr(r.t, err)
	old := r.generationPrefix(d.Generation)
	d = d.restored(newID())
	page, err := below.Range(ctx, store.Query{Prefix: old})
	noErr(r.t, err)
	notes, err := below.Range(ctx, store.Query{Prefix: r.sweepKeyKey("")})
	noErr(r.t, err)
	var put, drop []store.Op
	for _, kv := range page.KVs {
		drop = append(drop, store.Delete(kv.Key))
		purged := func(note store.KV) bool {
			return strings.Contains(kv.Key, "/"+strings.TrimPrefix(note.Key, r.sweepKeyKey(""))+"/")
		}
		if !slices.ContainsFunc(notes.KVs, purged) { // as a restore, which takes keys and not leftovers
			put = append(put, store.Put(r.generationPrefix(d.Generation)+strings.TrimPrefix(kv.Key, old), kv.Val))
		}
	}
	for _, ops := range [][]store.Op{put, {store.Put(r.deviceKey(), d.encode())}, drop} {
		_, err := below.Txn(ctx, nil, ops)
		noErr(r.t, err)
	}
}

// No operation may fail or answer wrongly because a restore replaced the content under it.
func TestContentReplacedUnderneath(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	count := func(n, want int) error {
		if n != want {
			return errWrongCount
		}
		return nil
	}
	ops := map[string]func(r *testHSM, old key.Version) error{
		"get":         func(r *testHSM, _ key.Version) error { return second(r.GetKey(ctx, user, "k", "")) },
		"get version": func(r *testHSM, old key.Version) error { return second(r.GetKey(ctx, user, "k", old)) },
		"sign": func(r *testHSM, old key.Version) error {
			return second(r.Sign(ctx, user, "k", old, "ES256", make([]byte, 32)))
		},
		"list": func(r *testHSM, _ key.Version) error {
			items, _, err := r.ListKeys(ctx, user, "", 0)
			if err != nil {
				return err
			}
			return count(len(items), 2)
		},
		"list versions": func(r *testHSM, _ key.Version) error {
			items, _, err := r.ListVersions(ctx, user, "k", "", 0)
			if err != nil {
				return err
			}
			return count(len(items), 2)
		},
		"get deleted": func(r *testHSM, _ key.Version) error { return second(r.GetDeletedKey(ctx, auditor, "gone")) },
		"create": func(r *testHSM, _ key.Version) error {
			return second(r.CreateKey(ctx, user, "new", key.CreateParams{Spec: octSpec}))
		},
		"new version": func(r *testHSM, _ key.Version) error {
			return second(r.CreateKey(ctx, user, "k", key.CreateParams{Spec: octSpec}))
		},
		"update":  func(r *testHSM, _ key.Version) error { return second(r.UpdateKey(ctx, user, "k", "", key.Change{})) },
		"delete":  func(r *testHSM, _ key.Version) error { return second(r.DeleteKey(ctx, user, "k")) },
		"recover": func(r *testHSM, _ key.Version) error { return second(r.RecoverKey(ctx, officer, "gone")) },
		"purge":   func(r *testHSM, _ key.Version) error { return r.PurgeKey(ctx, officer, "gone") },
		"assign": func(r *testHSM, _ key.Version) error {
			return second(r.PutAssignment(ctx, admin, rbac.ScopeRoot, newGUID(), strangerID, rbac.CryptoUser))
		},
		"list assignments": func(r *testHSM, _ key.Version) error {
			as, err := r.ListAssignments(ctx, admin, rbac.ScopeRoot, AssignmentFilter{})
			if err != nil {
				return err
			}
			return count(len(as), 6)
		},
		"settings": func(r *testHSM, _ key.Version) error {
			st, err := r.GetSetting(ctx, admin, SettingARMKeys)
			if err == nil && st.Value != "true" {
				return errWrongCount
			}
			return err
		},
	}
	for name, do := range ops {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				below := &swappingStore{Store: mem.New()}
				r := newTestHSMOn(t, below)
				r.testOnlyActivate()
				old := r.create("k", ecSpec).Meta.Version
				r.create("k", ecSpec)
				r.create("other", octSpec)
				r.create("gone", octSpec)
				noErr(t, second(r.DeleteKey(ctx, user, "gone")))
				noErr(t, second(r.UpdateSetting(ctx, admin, SettingARMKeys, "true")))
				r.restart() // with empty caches, everything is read
				fired, n := false, 0
				below.swap = func() { fired = true; r.replaceGeneration(below.Store) }
				below.arm(func(string) bool { n++; return n == at })
				if err := do(r, old); err != nil {
					t.Errorf("content replaced before access %d: %v", at, err)
				}
				below.arm(nil)
				r.check()
				r.stop()
				if !fired {
					if at < 3 {
						t.Errorf("only %d accesses to content", at-1)
					}
					return
				}
			}
		})
	}
}

var errWrongCount = errors.New("not what was there")
