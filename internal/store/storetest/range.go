package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"redoubt/internal/store"
)

func testRange(t *testing.T, d Driver) {
	s := d.open(t)
	if p := rng(t, s, store.Query{}); len(p.KVs) != 0 || p.More || p.Rev != newest(t, s) {
		t.Errorf("empty store: %+v", p)
	}
	for _, k := range []string{"b", "a/2", "a/10", "a", "a/1", "c", "a0", "a/1/x"} {
		put(t, s, k, "v")
	}
	for _, c := range []struct {
		q    store.Query
		want []string
	}{
		{store.Query{}, []string{"a", "a/1", "a/1/x", "a/10", "a/2", "a0", "b", "c"}},
		{store.Query{Prefix: "a/"}, []string{"a/1", "a/1/x", "a/10", "a/2"}},
		{store.Query{Prefix: "a/1"}, []string{"a/1", "a/1/x", "a/10"}},
		{store.Query{Prefix: "a/", After: "a/1"}, []string{"a/1/x", "a/10", "a/2"}},
		{store.Query{Prefix: "a/", After: "a/11"}, []string{"a/2"}},
		{store.Query{Prefix: "a/", After: "a/2"}, nil},
		{store.Query{Prefix: "a/", After: "b"}, nil},
		{store.Query{Prefix: "b", After: "a/1"}, []string{"b"}},
		{store.Query{After: "a0"}, []string{"b", "c"}},
		{store.Query{Prefix: "nothing"}, nil},
	} {
		p := rng(t, s, c.q)
		var got []string
		for _, kv := range p.KVs {
			got = append(got, kv.Key)
		}
		if !slices.Equal(got, c.want) || p.More {
			t.Errorf("%+v: %v, more %v; want %v", c.q, got, p.More, c.want)
		}
	}
}

func testRangePaging(t *testing.T, d Driver) {
	s := d.open(t)
	const n = 25
	for i := range n {
		put(t, s, fmt.Sprintf("k/%03d", i), fmt.Sprint(i))
	}
	put(t, s, "l", "outside")
	for _, limit := range []int{1, 5, 7, 24, 25, 26} {
		var all []string
		for after, more := "", true; more; {
			p := rng(t, s, store.Query{Prefix: "k/", After: after, Limit: limit})
			if len(p.KVs) > limit || (p.More && len(p.KVs) == 0) {
				t.Fatalf("limit %d: page of %d, more %v", limit, len(p.KVs), p.More)
			}
			all, more = append(all, keys(p)...), p.More
			if more {
				after = p.KVs[len(p.KVs)-1].Key
			}
		}
		if len(all) != n || all[n-1] != "k/024=24" {
			t.Errorf("limit %d: %v", limit, all)
		}
	}
	p := rng(t, s, store.Query{Prefix: "k/", KeysOnly: true, Limit: 2})
	if len(p.KVs) != 2 || p.KVs[0].Val != nil || p.KVs[1].Key != "k/001" || p.KVs[1].Mod == 0 || !p.More {
		t.Errorf("keys only: %+v", p)
	}
	// A page says More only for a key that is there: not for a deleted one.
	txn(t, s, nil, store.Delete("k/024"))
	if p := rng(t, s, store.Query{Prefix: "k/", Limit: n - 1}); p.More {
		t.Error("more after the last key")
	}
}

// testRangeAt: every revision reads as it was, page by page, while nothing is compacted.
func testRangeAt(t *testing.T, d Driver) {
	s := d.open(t)
	type state struct {
		rev  store.Rev
		want []store.KV
	}
	var states []state
	remember := func(rev store.Rev) {
		states = append(states, state{rev, rng(t, s, store.Query{}).KVs})
	}
	remember(put(t, s, "b", "1"))
	remember(put(t, s, "a", "1"))
	remember(put(t, s, "b", "2"))
	remember(txn(t, s, nil, store.Delete("a"), store.Put("ab", []byte("1")), store.Put("c", []byte("1"))))
	remember(txn(t, s, nil, store.Delete("b")))
	remember(put(t, s, "a", "again"))
	remember(txn(t, s, nil, store.Delete("a"), store.Delete("ab"), store.Delete("c")))
	remember(put(t, s, "b", "last"))
	for _, st := range states {
		p := rng(t, s, store.Query{At: st.rev})
		if p.Rev != st.rev || p.More || !sameKVs(p.KVs, st.want) {
			t.Errorf("at %d: %v, want %v", st.rev, keys(p), keys(store.Page{KVs: st.want}))
		}
		for i := range st.want {
			q := store.Query{At: st.rev, Limit: 1}
			if i > 0 {
				q.After = st.want[i-1].Key
			}
			p := rng(t, s, q)
			if len(p.KVs) != 1 || p.KVs[0].Key != st.want[i].Key || p.More != (i < len(st.want)-1) {
				t.Errorf("%+v: %v, more %v", q, keys(p), p.More)
			}
		}
	}
	last := states[len(states)-1].rev
	_, err := s.Range(t.Context(), store.Query{At: last + 1})
	wantErr(t, err, store.ErrCompacted)
	_, err = s.Range(t.Context(), store.Query{At: -1})
	wantErr(t, err, store.ErrCompacted)

	d.Compact(t, s, states[3].rev)
	_, err = s.Range(t.Context(), store.Query{At: states[2].rev})
	wantErr(t, err, store.ErrCompacted)
	for _, st := range states[3:] {
		if p := rng(t, s, store.Query{At: st.rev}); !sameKVs(p.KVs, st.want) {
			t.Errorf("compacted, at %d: %v", st.rev, keys(p))
		}
	}
}

// testRangeOddKeys: keys are bytes, in byte order, at any revision.
func testRangeOddKeys(t *testing.T, d Driver) {
	s := d.open(t)
	odd := []string{"\x01", "a", "a\x01", "a\x01\x01", "a\x02", "aa", "a\xff", "b", "\xff", "\xff\xff", "é", "a/\xfe"}
	for round := range 3 {
		for _, k := range odd {
			put(t, s, k, fmt.Sprint(round))
		}
	}
	at := put(t, s, "zz", "")
	before := rng(t, s, store.Query{})
	for _, k := range odd {
		put(t, s, k, "later")
		txn(t, s, nil, store.Delete(k))
	}
	slices.Sort(odd)
	for _, prefix := range []string{"", "a", "a\x01", "\xff", "é"} {
		p := rng(t, s, store.Query{Prefix: prefix, At: at})
		want := slices.DeleteFunc(slices.Clone(before.KVs), func(kv store.KV) bool {
			return len(kv.Key) < len(prefix) || kv.Key[:len(prefix)] != prefix
		})
		if !sameKVs(p.KVs, want) {
			t.Errorf("prefix %q: %q, want %q", prefix, keys(p), keys(store.Page{KVs: want}))
		}
	}
	for i, k := range odd {
		p := rng(t, s, store.Query{After: k, At: at, Limit: 1})
		if i+1 < len(odd) && odd[i+1] < "zz" && p.KVs[0].Key != odd[i+1] {
			t.Errorf("after %q comes %q, want %q", k, p.KVs[0].Key, odd[i+1])
		}
	}
}

// sameKVs compares records; a nil value is an empty one.
func sameKVs(a, b []store.KV) bool {
	return slices.EqualFunc(a, b, func(a, b store.KV) bool {
		if len(a.Val) == 0 && len(b.Val) == 0 {
			a.Val, b.Val = nil, nil
		}
		return reflect.DeepEqual(a, b)
	})
}
