package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"redoubt/internal/store"
)

func testGet(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	_, rev, err := s.Get(t.Context(), "a")
	wantErr(t, err, store.ErrNotFound)
	if rev != base {
		t.Errorf("revision of the empty store is %d, want %d", rev, base)
	}
	r1 := put(t, s, "a", "1")
	r2 := put(t, s, "b", "2")
	kv, rev, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := store.KV{Key: "a", Val: []byte("1"), Create: r1, Mod: r1}
	if !reflect.DeepEqual(kv, want) || rev != r2 {
		t.Errorf("got %+v at %d, want %+v at %d", kv, rev, want, r2)
	}
	_, rev, err = s.Get(t.Context(), "ab")
	wantErr(t, err, store.ErrNotFound)
	if rev != r2 {
		t.Errorf("not found at %d, want %d", rev, r2)
	}
	put(t, s, "empty", "")
	if kv, _, err := s.Get(t.Context(), "empty"); err != nil || len(kv.Val) != 0 {
		t.Errorf("empty value: %+v, %v", kv, err)
	}
}

func testRevisions(t *testing.T, d Driver) {
	s := d.open(t)
	r1 := put(t, s, "a", "1")
	r2 := put(t, s, "a", "2")
	r3 := txn(t, s, nil, store.Put("a", []byte("3")), store.Put("b", []byte("3")))
	if !(0 < r1 && r1 < r2 && r2 < r3) {
		t.Fatalf("revisions do not grow: %d, %d, %d", r1, r2, r3)
	}
	a, _, _ := s.Get(t.Context(), "a")
	b, _, _ := s.Get(t.Context(), "b")
	if a.Create != r1 || a.Mod != r3 || b.Create != r3 || b.Mod != r3 {
		t.Errorf("a %d/%d, b %d/%d", a.Create, a.Mod, b.Create, b.Mod)
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Rev != r3 || st.Driver == "" {
		t.Errorf("status %+v, %v", st, err)
	}
}

func testDelete(t *testing.T, d Driver) {
	s := d.open(t)
	put(t, s, "a", "1")
	gone := txn(t, s, nil, store.Delete("a"))
	_, rev, err := s.Get(t.Context(), "a")
	wantErr(t, err, store.ErrNotFound)
	if rev != gone {
		t.Errorf("revision %d, want %d", rev, gone)
	}
	again := put(t, s, "a", "2")
	if kv, _, _ := s.Get(t.Context(), "a"); kv.Create != again {
		t.Errorf("a record made again has Create %d, want %d", kv.Create, again)
	}
}

// testNoOperation: what changes nothing makes no revision.
func testNoOperation(t *testing.T, d Driver) {
	s := d.open(t)
	r := put(t, s, "a", "1")
	if got := txn(t, s, nil, store.Delete("absent")); got != r {
		t.Errorf("deleting an absent key made revision %d, want %d", got, r)
	}
	if got := txn(t, s, []store.Cond{store.Exists("a")}); got != r {
		t.Errorf("conditions alone made revision %d, want %d", got, r)
	}
	_, err := s.Txn(t.Context(), []store.Cond{store.Absent("a")}, nil)
	if c := (*store.Conflict)(nil); !errors.As(err, &c) {
		t.Errorf("a failed condition without operations: %v", err)
	}
	if got := txn(t, s, nil, store.Delete("absent"), store.Put("b", nil)); got <= r {
		t.Errorf("revision %d, want more than %d", got, r)
	}
}

func testConditions(t *testing.T, d Driver) {
	s := d.open(t)
	old := put(t, s, "here", "1")
	now := put(t, s, "here", "2")
	put(t, s, "deleted", "1")
	txn(t, s, nil, store.Delete("deleted"))
	for i, c := range []struct {
		cond store.Cond
		ok   bool
	}{
		{store.Absent("nowhere"), true},
		{store.Absent("deleted"), true},
		{store.Absent("here"), false},
		{store.Exists("here"), true},
		{store.Exists("nowhere"), false},
		{store.Exists("deleted"), false},
		{store.Unchanged("here", now), true},
		{store.Unchanged("here", old), false},
		{store.Unchanged("here", now+1), false},
		{store.Unchanged("here", 0), false},
		{store.Unchanged("nowhere", 0), false},
		{store.Unchanged("nowhere", now), false},
	} {
		mark := fmt.Sprintf("mark/%d", i)
		_, err := s.Txn(t.Context(), []store.Cond{c.cond}, []store.Op{store.Put(mark, nil)})
		if c.ok != (err == nil) {
			t.Errorf("%+v: %v", c.cond, err)
		}
		if conflict := (*store.Conflict)(nil); !c.ok && !errors.As(err, &conflict) {
			t.Errorf("%+v: error %v is no conflict", c.cond, err)
		}
		if _, _, err := s.Get(t.Context(), mark); c.ok != (err == nil) {
			t.Errorf("%+v: written is %v", c.cond, err == nil)
		}
	}
}

func testConflict(t *testing.T, d Driver) {
	s := d.open(t)
	ra := put(t, s, "a", "1")
	rb := put(t, s, "b", "2")
	conds := []store.Cond{store.Exists("a"), store.Absent("a"), store.Unchanged("b", ra), store.Exists("c")}
	_, err := s.Txn(t.Context(), conds, []store.Op{store.Put("d", nil)})
	var c *store.Conflict
	if !errors.As(err, &c) {
		t.Fatalf("got %v", err)
	}
	if !reflect.DeepEqual(c.Failed, conds[1:]) {
		t.Errorf("failed %+v", c.Failed)
	}
	want := map[string]store.KV{
		"a": {Key: "a", Val: []byte("1"), Create: ra, Mod: ra},
		"b": {Key: "b", Val: []byte("2"), Create: rb, Mod: rb},
	}
	if !reflect.DeepEqual(c.Now, want) {
		t.Errorf("now %+v", c.Now)
	}
	if st, _ := s.Status(t.Context()); st.Rev != rb {
		t.Errorf("a conflict made revision %d", st.Rev)
	}
}

func testAtomic(t *testing.T, d Driver) {
	s := d.open(t)
	put(t, s, "x", "1")
	var ops []store.Op
	for i := range store.MaxOps - 1 {
		ops = append(ops, store.Put(fmt.Sprintf("k/%02d", i), []byte("v")))
	}
	ops = append(ops, store.Delete("x"))
	if _, err := s.Txn(t.Context(), []store.Cond{store.Absent("x")}, ops); err == nil {
		t.Fatal("condition ignored")
	}
	if p := rng(t, s, store.Query{}); len(p.KVs) != 1 {
		t.Fatalf("a refused transaction left %v", keys(p))
	}
	rev := txn(t, s, []store.Cond{store.Exists("x")}, ops...)
	p := rng(t, s, store.Query{})
	if len(p.KVs) != store.MaxOps-1 || p.Rev != rev {
		t.Fatalf("%d records at %d", len(p.KVs), p.Rev)
	}
	for _, kv := range p.KVs {
		if kv.Mod != rev || kv.Create != rev {
			t.Fatalf("%+v, want revision %d", kv, rev)
		}
	}
}

func testLimits(t *testing.T, d Driver) {
	s := d.open(t)
	var ops []store.Op
	var conds []store.Cond
	for i := range store.MaxOps + 1 {
		ops = append(ops, store.Put(fmt.Sprint("k", i), nil))
		conds = append(conds, store.Absent(fmt.Sprint("k", i)))
	}
	_, err := s.Txn(t.Context(), nil, ops)
	wantErr(t, err, store.ErrTooLarge)
	_, err = s.Txn(t.Context(), conds, nil)
	wantErr(t, err, store.ErrTooLarge)
	txn(t, s, conds[1:], ops[1:]...)

	big := bytes.Repeat([]byte{7}, store.MaxTxnBytes/2)
	_, err = s.Txn(t.Context(), nil, []store.Op{store.Put("a", big), store.Put("b", big)})
	wantErr(t, err, store.ErrTooLarge)
	txn(t, s, nil, store.Put("a", big), store.Put("b", big[2:]))
	if kv, _, err := s.Get(t.Context(), "a"); err != nil || !bytes.Equal(kv.Val, big) {
		t.Fatalf("a large value came back as %d bytes, %v", len(kv.Val), err)
	}
	_, _, err = s.Get(t.Context(), "k0")
	wantErr(t, err, store.ErrNotFound)
}

func testMalformed(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	long := strings.Repeat("k", store.MaxKey+1)
	for name, c := range map[string]struct {
		ifs  []store.Cond
		then []store.Op
	}{
		"duplicate key":    {then: []store.Op{store.Put("a", nil), store.Put("b", nil), store.Delete("a")}},
		"empty key":        {then: []store.Op{store.Put("", nil)}},
		"NUL in key":       {then: []store.Op{store.Put("a\x00b", nil)}},
		"long key":         {then: []store.Op{store.Put(long, nil)}},
		"empty condition":  {ifs: []store.Cond{{}}},
		"kindless":         {ifs: []store.Cond{{Key: "a"}}},
		"unknown kind":     {ifs: []store.Cond{{Key: "a", Kind: store.CondUnchanged + 1}}},
		"long in conditon": {ifs: []store.Cond{store.Absent(long)}},
	} {
		_, err := s.Txn(t.Context(), c.ifs, c.then)
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := s.Pin(t.Context(), 0)
	wantErr(t, err, store.ErrInvalid)
	if p := rng(t, s, store.Query{}); len(p.KVs) != 0 || p.Rev != base {
		t.Errorf("something was written: %+v", p)
	}
	txn(t, s, nil, store.Put(long[1:], nil))
}

// testAlias: neither side can change what the other holds.
func testAlias(t *testing.T, d Driver) {
	s := d.open(t)
	base := newest(t, s)
	in := []byte("value")
	rev := txn(t, s, nil, store.Put("a", in))
	copy(in, "XXXXX")
	read := func() []byte {
		kv, _, err := s.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return kv.Val
	}
	copy(read(), "YYYYY")
	copy(rng(t, s, store.Query{}).KVs[0].Val, "ZZZZZ")
	copy(rng(t, s, store.Query{At: rev}).KVs[0].Val, "ZZZZZ")
	_, err := s.Txn(t.Context(), []store.Cond{store.Absent("a")}, nil)
	var c *store.Conflict
	if !errors.As(err, &c) {
		t.Fatal(err)
	}
	copy(c.Now["a"].Val, "WWWWW")
	for b, err := range s.Watch(soon(t), "", base) {
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Events) == 0 {
			continue
		}
		copy(b.Events[0].KV.Val, "VVVVV")
		break
	}
	for range 3 { // the engine's pages move
		put(t, s, "b", "x")
	}
	if got := read(); string(got) != "value" {
		t.Errorf("value became %q", got)
	}
}

func testCancelled(t *testing.T, d Driver) {
	s := d.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Txn(ctx, nil, []store.Op{store.Put("a", nil)})
	wantErr(t, err, context.Canceled)
	_, _, err = s.Get(ctx, "a")
	wantErr(t, err, context.Canceled)
	_, err = s.Range(ctx, store.Query{})
	wantErr(t, err, context.Canceled)
	_, err = s.Pin(ctx, time.Minute)
	wantErr(t, err, context.Canceled)
	if p := rng(t, s, store.Query{}); len(p.KVs) != 0 {
		t.Errorf("a cancelled write was stored: %v", keys(p))
	}
}
