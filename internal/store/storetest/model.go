package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/store"
)

// model is the contract written down in the most naive way: the whole state after every commit.
type model struct {
	revs   []store.Rev // ascending, [0] is where it began
	states []map[string]store.KV
	floor  int // index of the lowest revision that can be read for sure
	pins   []store.Pin
}

func (m *model) now() map[string]store.KV { return m.states[len(m.states)-1] }
func (m *model) rev() store.Rev           { return m.revs[len(m.revs)-1] }

// commit applies ops as revision rev.
func (m *model) commit(rev store.Rev, ops []store.Op) {
	next := maps.Clone(m.now())
	for _, op := range ops {
		if op.Delete {
			delete(next, op.Key)
			continue
		}
		kv := store.KV{Key: op.Key, Val: op.Val, Create: rev, Mod: rev}
		if old, ok := next[op.Key]; ok {
			kv.Create = old.Create
		}
		next[op.Key] = kv
	}
	m.revs, m.states = append(m.revs, rev), append(m.states, next)
}

// changes tells whether ops would change anything.
func (m *model) changes(ops []store.Op) bool {
	return slices.ContainsFunc(ops, func(op store.Op) bool {
		_, exists := m.now()[op.Key]
		return !op.Delete || exists
	})
}

// list is what a Range of state i answers.
func (m *model) list(i int, q store.Query) (kvs []store.KV, more bool) {
	for _, key := range slices.Sorted(maps.Keys(m.states[i])) {
		if !strings.HasPrefix(key, q.Prefix) || (q.After != "" && key <= q.After) {
			continue
		}
		if len(kvs) == q.PageLimit() {
			return kvs, true
		}
		kv := m.states[i][key]
		if q.KeysOnly {
			kv.Val = nil
		}
		kvs = append(kvs, kv)
	}
	return kvs, false
}

// testModel runs random histories against the store and the model side by side. One store serves all of
// them, each under its own prefix: making one is what costs.
func testModel(t *testing.T, d Driver) {
	s := d.open(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		r := &modelRun{t: t, rt: rt, s: s, d: d, root: fmt.Sprintf("m%d/", n)}
		r.m = &model{revs: []store.Rev{newest(t, s)}, states: []map[string]store.KV{{}}}
		defer r.unpin()
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0, 1, 2, 3, 4:
				r.txn()
			case 5, 6:
				r.list()
			case 7:
				r.watch()
			case 8:
				r.pin()
			case 9:
				r.compact()
			}
		}
		r.list()
		r.watch()
	})
}

type modelRun struct {
	t    *testing.T
	rt   *rapid.T
	s    store.Store
	d    Driver
	m    *model
	root string
}

func (r *modelRun) key() string {
	return r.root + rapid.SampledFrom([]string{"a", "a/", "a/b", "ab", "b", "b\x01", "c"}).Draw(r.rt, "key")
}

func (r *modelRun) draw() (ifs []store.Cond, then []store.Op) {
	for range rapid.IntRange(0, 2).Draw(r.rt, "conditions") {
		key := r.key()
		switch rapid.IntRange(0, 3).Draw(r.rt, "condition") {
		case 0:
			ifs = append(ifs, store.Absent(key))
		case 1:
			ifs = append(ifs, store.Exists(key))
		case 2:
			ifs = append(ifs, store.Unchanged(key, r.m.now()[key].Mod))
		case 3:
			ifs = append(ifs, store.Unchanged(key, rapid.SampledFrom(r.m.revs).Draw(r.rt, "rev")))
		}
	}
	for range rapid.IntRange(0, 4).Draw(r.rt, "ops") {
		key := r.key()
		switch {
		case slices.ContainsFunc(then, func(op store.Op) bool { return op.Key == key }):
		case rapid.IntRange(0, 2).Draw(r.rt, "delete") == 0:
			then = append(then, store.Delete(key))
		default:
			then = append(then, store.Put(key, rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(r.rt, "val")))
		}
	}
	return ifs, then
}

func (r *modelRun) txn() {
	ifs, then := r.draw()
	var failed []store.Cond
	for _, c := range ifs {
		now, ok := r.m.now()[c.Key]
		holds := map[store.CondKind]bool{
			store.CondAbsent:    !ok,
			store.CondExists:    ok,
			store.CondUnchanged: ok && now.Mod == c.Rev,
		}
		if !holds[c.Kind] {
			failed = append(failed, c)
		}
	}
	rev, err := r.s.Txn(r.t.Context(), ifs, then)
	var conflict *store.Conflict
	switch {
	case failed != nil:
		if !errors.As(err, &conflict) || !slices.Equal(conflict.Failed, failed) {
			r.rt.Fatalf("txn %+v: %v, want conflict on %+v", ifs, err, failed)
		}
		for _, c := range failed {
			now, ok := r.m.now()[c.Key]
			got, gotOK := conflict.Now[c.Key]
			if ok != gotOK || (ok && !sameKVs([]store.KV{now}, []store.KV{got})) {
				r.rt.Fatalf("conflict shows %+v, want %+v", got, now)
			}
		}
	case err != nil:
		r.rt.Fatalf("txn: %v", err)
	case r.m.changes(then):
		if rev <= r.m.rev() {
			r.rt.Fatalf("revision %d after %d", rev, r.m.rev())
		}
		r.m.commit(rev, then)
	case rev != r.m.rev():
		r.rt.Fatalf("nothing changed, but revision %d became %d", r.m.rev(), rev)
	}
}

// list compares a page, and each record by Get, at the newest or at an older revision.
func (r *modelRun) list() {
	newest := len(r.m.revs) - 1
	i := rapid.IntRange(r.m.floor, newest).Draw(r.rt, "state")
	q := store.Query{
		Prefix:   r.root + rapid.SampledFrom([]string{"", "a", "a/", "b"}).Draw(r.rt, "prefix"),
		Limit:    rapid.IntRange(1, 8).Draw(r.rt, "limit"),
		KeysOnly: rapid.Bool().Draw(r.rt, "keysonly"),
	}
	if rapid.Bool().Draw(r.rt, "page") {
		q.After = r.key()
	}
	if i < newest || rapid.Bool().Draw(r.rt, "explicit") {
		q.At = r.m.revs[i]
	}
	want, more := r.m.list(i, q)
	p, err := r.s.Range(r.t.Context(), q)
	if err != nil || p.Rev != r.m.revs[i] || p.More != more || !sameKVs(p.KVs, want) {
		r.rt.Fatalf("range %+v: %+v, %v; want %+v, more %v", q, p, err, want, more)
	}
	key := r.key()
	kv, _, err := r.s.Get(r.t.Context(), key)
	now, ok := r.m.now()[key]
	if ok != (err == nil) || (ok && !sameKVs([]store.KV{kv}, []store.KV{now})) {
		r.rt.Fatalf("get %q: %+v, %v; want %+v", key, kv, err, now)
	}
}

// watch replays the history from some revision onto the state there.
func (r *modelRun) watch() {
	i := rapid.IntRange(r.m.floor, len(r.m.revs)-1).Draw(r.rt, "from")
	state := maps.Clone(r.m.states[i])
	for b, err := range r.s.Watch(soon(r.t), r.root, r.m.revs[i]) {
		if err != nil {
			r.rt.Fatalf("watch from %d: %v", r.m.revs[i], err)
		}
		if len(b.Events) > 0 {
			if i++; i == len(r.m.revs) || b.Rev != r.m.revs[i] {
				r.rt.Fatalf("unexpected %+v", see(b))
			}
		}
		for _, e := range b.Events {
			if delete(state, e.KV.Key); !e.Deleted {
				state[e.KV.Key] = e.KV
			}
		}
		if !maps.EqualFunc(state, r.m.states[i], func(a, b store.KV) bool { return sameKVs([]store.KV{a}, []store.KV{b}) }) {
			r.rt.Fatalf("at %d the watch shows %+v, want %+v", b.Rev, state, r.m.states[i])
		}
		if b.Rev >= r.m.rev() {
			return
		}
	}
}

func (r *modelRun) pin() {
	if len(r.m.pins) > 0 && rapid.Bool().Draw(r.rt, "unpin") {
		r.unpin()
		return
	}
	p, err := r.s.Pin(r.t.Context(), time.Hour)
	if err != nil || p.Rev() != r.m.rev() {
		r.rt.Fatalf("pin: %v", err)
	}
	r.m.pins = append(r.m.pins, p)
}

func (r *modelRun) unpin() {
	for _, p := range r.m.pins {
		if err := p.Close(); err != nil {
			r.rt.Fatalf("unpin: %v", err)
		}
	}
	r.m.pins = nil
}

// compact forgets up to some revision; what is pinned must stay.
func (r *modelRun) compact() {
	i := rapid.IntRange(0, len(r.m.revs)-1).Draw(r.rt, "compact")
	r.d.Compact(r.t, r.s, r.m.revs[i])
	for _, p := range r.m.pins {
		i = min(i, slices.Index(r.m.revs, p.Rev()))
	}
	if r.m.floor = max(r.m.floor, i); r.m.floor > 0 {
		_, err := r.s.Range(r.t.Context(), store.Query{At: r.m.revs[r.m.floor] - 1})
		if !errors.Is(err, store.ErrCompacted) {
			r.rt.Fatalf("a compacted revision reads as %v", err)
		}
	}
}
