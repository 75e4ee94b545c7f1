package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/blob"
)

// Run checks a driver against the contract of blob.Container. open gives a container that may be read,
// written, listed and deleted from; it may be the same one every time and need not be empty, because every
// test works under a fresh prefix and removes what it made. gone gives a container that does not exist
// (its account may); nil when the driver cannot open such a one.
func Run(t *testing.T, open, gone func(t *testing.T) blob.Container) {
	for _, c := range []struct {
		name string
		test func(*testing.T, bench)
	}{
		{"RoundTrip", testRoundTrip},
		{"NeverOverwrites", testNeverOverwrites},
		{"OneWinner", testOneWinner},
		{"NotFound", testNotFound},
		{"Delete", testDelete},
		{"List", testList},
		{"ListStops", testListStops},
		{"Names", testNames},
		{"CallerKeepsBuffer", testCallerKeepsBuffer},
		{"PartialRead", testPartialRead},
		{"Cancelled", testCancelled},
		{"URL", testURL},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newBench(t, open(t)))
		})
	}
	if gone != nil {
		t.Run("NoContainer", func(t *testing.T) {
			t.Parallel()
			testNoContainer(t, gone(t))
		})
	}
}

// bench is one test's place: a container and a prefix of its own.
type bench struct {
	blob.Container
	prefix string // ends in "/"
}

func newBench(t *testing.T, c blob.Container) bench {
	var b [8]byte
	rand.Read(b[:])
	w := bench{c, "blobtest-" + hex.EncodeToString(b[:]) + "/"}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		infos, err := collect(w.List(ctx, w.prefix))
		for _, info := range infos {
			err = errors.Join(err, w.Delete(ctx, info.Name))
		}
		if err != nil {
			t.Error("clean up:", err)
		}
	})
	return w
}

func (w bench) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := w.Put(t.Context(), w.prefix+name, data); err != nil {
		t.Fatal(err)
	}
}

func (w bench) expect(t *testing.T, name string, want []byte) {
	t.Helper()
	got, err := ReadAll(t.Context(), w, w.prefix+name)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not the %d that were put", name, len(got), len(want))
	}
}

func collect(list iter.Seq2[blob.Info, error]) (infos []blob.Info, err error) {
	for info, err := range list {
		if err != nil {
			return infos, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func wantIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func testRoundTrip(t *testing.T, w bench) {
	for _, size := range []int{0, 1, 4096, 1<<20 + 1, 8 << 20} {
		name, data := fmt.Sprintf("size-%d.bin", size), random(size)
		w.put(t, name, data)
		w.expect(t, name, data)
		w.expect(t, name, data)
	}
}

func testNeverOverwrites(t *testing.T, w bench) {
	w.put(t, "a", []byte("first"))
	wantIs(t, "second put", w.Put(t.Context(), w.prefix+"a", []byte("second")), blob.ErrExists)
	wantIs(t, "second put of the same bytes", w.Put(t.Context(), w.prefix+"a", []byte("first")), blob.ErrExists)
	w.expect(t, "a", []byte("first"))
}

func testOneWinner(t *testing.T, w bench) {
	const n = 8
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = w.Put(t.Context(), w.prefix+"race", bytes.Repeat([]byte{byte(i)}, 100_000)) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err != nil:
			wantIs(t, "loser", err, blob.ErrExists)
		case winner >= 0:
			t.Errorf("both %d and %d won", winner, i)
		default:
			winner = i
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	w.expect(t, "race", bytes.Repeat([]byte{byte(winner)}, 100_000))
}

func testNotFound(t *testing.T, w bench) {
	_, _, err := w.Get(t.Context(), w.prefix+"absent")
	wantIs(t, "get", err, blob.ErrNotFound)
	w.put(t, "folder/a", []byte("x"))
	_, _, err = w.Get(t.Context(), w.prefix+"folder")
	wantIs(t, "get of a folder", err, blob.ErrNotFound)
	_, _, err = w.Get(t.Context(), w.prefix+"folder/a/below")
	wantIs(t, "get below an object", err, blob.ErrNotFound)
}

func testDelete(t *testing.T, w bench) {
	w.put(t, "a", []byte("x"))
	for range 2 {
		if err := w.Delete(t.Context(), w.prefix+"a"); err != nil {
			t.Error(err)
		}
	}
	_, _, err := w.Get(t.Context(), w.prefix+"a")
	wantIs(t, "get after delete", err, blob.ErrNotFound)
	if err := w.Delete(t.Context(), w.prefix+"never/was"); err != nil {
		t.Error(err)
	}
	w.put(t, "a", []byte("again"))
	w.expect(t, "a", []byte("again"))
}

func testList(t *testing.T, w bench) {
	names := []string{"b/2", "a", "b-x", "b/10", "c/d/e", "b/1", "ab", "B"}
	for i, name := range names {
		w.put(t, name, random(i))
	}
	slices.Sort(names)
	infos, err := collect(w.List(t.Context(), w.prefix))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, info := range infos {
		got = append(got, strings.TrimPrefix(info.Name, w.prefix))
	}
	if !slices.Equal(got, names) {
		t.Errorf("listed %q, want %q", got, names)
	}
	for _, info := range infos {
		if b, err := ReadAll(t.Context(), w, info.Name); err != nil || int64(len(b)) != info.Size {
			t.Errorf("%s: listed with %d bytes, has %d (%v)", info.Name, info.Size, len(b), err)
		}
	}
	for prefix, want := range map[string]int{"b": 4, "b/": 3, "b/1": 2, "b/1/": 0, "c/d/e": 1, "none": 0} {
		if infos, err := collect(w.List(t.Context(), w.prefix+prefix)); err != nil || len(infos) != want {
			t.Errorf("prefix %q: %d objects (%v), want %d", prefix, len(infos), err, want)
		}
	}
}

// testListStops leaves the loop early; a driver that pages must not go on or panic.
func testListStops(t *testing.T, w bench) {
	for i := range 5 {
		w.put(t, fmt.Sprint("n", i), nil)
	}
	seen := 0
	for _, err := range w.List(t.Context(), w.prefix) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 2 {
			break
		}
	}
}

func testNames(t *testing.T, w bench) {
	for _, name := range []string{"mhsm-ContosoMHSM-2020083120161860/block-000000.rdb", "A_b.c-D/0", strings.Repeat("x", 200)} {
		w.put(t, name, []byte(name))
		w.expect(t, name, []byte(name))
	}
	for _, name := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", ".hidden", "a/.tmp-1",
		"a b", "a%2fb", "a?b", "a#b", "a\\b", "a\x00b", "ü", strings.Repeat("y", 1025), strings.Repeat("z", 256)} {
		wantIs(t, fmt.Sprintf("put %.20q", name), w.Put(t.Context(), name, []byte("x")), blob.ErrBadName)
		_, _, err := w.Get(t.Context(), name)
		wantIs(t, fmt.Sprintf("get %.20q", name), err, blob.ErrBadName)
		wantIs(t, fmt.Sprintf("delete %.20q", name), w.Delete(t.Context(), name), blob.ErrBadName)
	}
}

func testCallerKeepsBuffer(t *testing.T, w bench) {
	data := random(70_000)
	want := bytes.Clone(data)
	w.put(t, "a", data)
	if !bytes.Equal(data, want) {
		t.Error("Put changed the caller's bytes")
	}
	clear(data)
	w.expect(t, "a", want)
}

// testPartialRead closes a large object after its first bytes, then reads others: nothing may be stuck.
func testPartialRead(t *testing.T, w bench) {
	data := random(2 << 20)
	w.put(t, "a", data)
	for range 3 {
		r, info, err := w.Get(t.Context(), w.prefix+"a")
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 10)
		if _, err := io.ReadFull(r, head); err != nil || !bytes.Equal(head, data[:10]) || info.Size != int64(len(data)) {
			t.Errorf("head %x of %d bytes, %v", head, info.Size, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	w.expect(t, "a", data)
}

func testCancelled(t *testing.T, w bench) {
	w.put(t, "a", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, "put", w.Put(ctx, w.prefix+"b", []byte("x")), context.Canceled)
	_, _, err := w.Get(ctx, w.prefix+"a")
	wantIs(t, "get", err, context.Canceled)
	_, err = collect(w.List(ctx, w.prefix))
	wantIs(t, "list", err, context.Canceled)
	wantIs(t, "delete", w.Delete(ctx, w.prefix+"a"), context.Canceled)
	w.expect(t, "a", []byte("x"))
	_, _, err = w.Get(t.Context(), w.prefix+"b")
	wantIs(t, "get of what was not put", err, blob.ErrNotFound)
}

func testURL(t *testing.T, w bench) {
	if u := w.URL(); u == "" || strings.ContainsAny(u, "?#@ ") || strings.HasSuffix(u, "/") {
		t.Errorf("URL %q", u)
	}
}

func testNoContainer(t *testing.T, c blob.Container) {
	wantIs(t, "put", c.Put(t.Context(), "a/b", []byte("x")), blob.ErrNoContainer)
	_, _, err := c.Get(t.Context(), "a/b")
	wantIs(t, "get", err, blob.ErrNoContainer)
	_, err = collect(c.List(t.Context(), "a"))
	wantIs(t, "list", err, blob.ErrNoContainer)
	wantIs(t, "delete", c.Delete(t.Context(), "a/b"), blob.ErrNoContainer)
}
