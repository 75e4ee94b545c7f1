// Package blobtest is the contract of package blob in executable form: Run checks a driver, and Mem is a
// container in memory whose bad days are ordered by the test (a write lost, a write stored whose answer
// is lost, a container deleted halfway, a byte altered, a permission missing).
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"redoubt/internal/blob"
)

// Fault says what becomes of a write that is made to fail. Every write has the pair: a program that is
// right for only one of the two loses data on the other.
type Fault int

const (
	// Lost: the write has no effect and reports ErrInjected.
	Lost Fault = iota + 1
	// Stored: the write takes effect and still reports ErrInjected (the answer was lost).
	Stored
)

// ErrInjected is the error of a planned fault; it is also a blob.ErrUnreachable, as a lost connection would be.
var ErrInjected = fmt.Errorf("%w: injected fault", blob.ErrUnreachable)

// Op names a method of blob.Container, for Deny and DeleteContainerAt.
type Op string

// The methods of blob.Container.
const (
	OpPut    Op = "put"
	OpGet    Op = "get"
	OpList   Op = "list"
	OpDelete Op = "delete"
)

// Mem is a container in memory. Create it with NewMem; safe for concurrent use.
type Mem struct {
	mu      sync.Mutex
	objects map[string][]byte // guarded by mu; values are never modified in place
	gone    bool              // guarded by mu: the container was deleted
	writes  int               // guarded by mu: Put and Delete calls so far
	calls   int               // guarded by mu: calls of any kind so far
	faults  map[int]Fault     // guarded by mu: by number of the write
	goneAt  int               // guarded by mu: call before which the container goes; 0 = never
	deny    map[Op]error      // guarded by mu
	cut     map[string]int    // guarded by mu: Get of name breaks after so many bytes
}

var _ blob.Container = (*Mem)(nil)

// NewMem returns an empty container without faults.
func NewMem() *Mem {
	return &Mem{objects: map[string][]byte{}, faults: map[int]Fault{}, deny: map[Op]error{}, cut: map[string]int{}}
}

// FailAt makes the n-th write (Put or Delete, counted from 1 since NewMem) fail in the given way.
func (m *Mem) FailAt(n int, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[n] = f
}

// Writes is the number of Put and Delete calls so far: a first run without faults tells how many fault
// points there are.
func (m *Mem) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// Calls is the number of calls of any kind so far.
func (m *Mem) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// DeleteContainerAt lets the container vanish just before the n-th call of any kind (counted from 1
// since NewMem); 0 = right away.
func (m *Mem) DeleteContainerAt(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.goneAt, m.gone = n, n == 0
}

// Deny makes every call of one kind fail with err (blob.ErrDenied, blob.ErrExpired, …); nil lifts it.
func (m *Mem) Deny(op Op, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deny[op] = err
}

// CutAt makes every Get of name break off with ErrInjected after n bytes.
func (m *Mem) CutAt(name string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[name] = n
}

// Corrupt replaces an object by what change makes of a copy of it; nil removes it. It panics when there is
// no such object, because the test would prove nothing.
func (m *Mem) Corrupt(name string, change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.objects[name]
	if !ok {
		panic("blobtest: Corrupt of an object that is not there: " + name)
	}
	if b := change(bytes.Clone(old)); b != nil {
		m.objects[name] = b
	} else {
		delete(m.objects, name)
	}
}

// FlipByte is a change for Corrupt: the byte at i (from the end when negative) with one bit turned.
func FlipByte(i int) func([]byte) []byte {
	return func(b []byte) []byte {
		if i < 0 {
			i += len(b)
		}
		b[i] ^= 0x10
		return b
	}
}

// Objects returns a copy of the content: name to bytes.
func (m *Mem) Objects() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.objects)
}

// Clone returns a container with the same objects and no faults.
func (m *Mem) Clone() *Mem {
	c := NewMem()
	c.objects = m.Objects()
	return c
}

// begin counts the call and answers for everything that is decided before it does its work.
func (m *Mem) begin(ctx context.Context, op Op, name string) error {
	m.calls++
	if m.goneAt > 0 && m.calls >= m.goneAt {
		m.gone = true
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	if op != OpList {
		if err := blob.CheckName(name); err != nil {
			return err
		}
	}
	if err := m.deny[op]; err != nil {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	if m.gone {
		return fmt.Errorf("%s %s: %w", op, name, blob.ErrNoContainer)
	}
	return nil
}

// write runs do as the next write, with the fault planned for it.
func (m *Mem) write(ctx context.Context, op Op, name string, do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	fault := m.faults[m.writes]
	if err := m.begin(ctx, op, name); err != nil {
		return err
	}
	if fault == Lost {
		return fmt.Errorf("%s %s: %w", op, name, ErrInjected)
	}
	if err := do(); err != nil {
		return err
	}
	if fault == Stored {
		return fmt.Errorf("%s %s: %w", op, name, ErrInjected)
	}
	return nil
}

// URL implements blob.Container.
func (m *Mem) URL() string { return "https://memory.invalid/container" }

// Put implements blob.Container.
func (m *Mem) Put(ctx context.Context, name string, data []byte) error {
	return m.write(ctx, OpPut, name, func() error {
		if _, ok := m.objects[name]; ok {
			return fmt.Errorf("put %s: %w", name, blob.ErrExists)
		}
		m.objects[name] = append([]byte{}, data...)
		return nil
	})
}

// Delete implements blob.Container.
func (m *Mem) Delete(ctx context.Context, name string) error {
	return m.write(ctx, OpDelete, name, func() error {
		delete(m.objects, name)
		return nil
	})
}

// Get implements blob.Container.
func (m *Mem) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, OpGet, name); err != nil {
		return nil, blob.Info{}, err
	}
	b, ok := m.objects[name]
	if !ok {
		return nil, blob.Info{}, fmt.Errorf("get %s: %w", name, blob.ErrNotFound)
	}
	var r io.Reader = bytes.NewReader(b)
	if n, ok := m.cut[name]; ok && n < len(b) {
		r = io.MultiReader(bytes.NewReader(b[:n]), broken{})
	}
	return io.NopCloser(r), blob.Info{Name: name, Size: int64(len(b))}, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, ErrInjected }

// List implements blob.Container. The names are those of the moment the loop began.
func (m *Mem) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		infos, err := m.list(ctx, prefix)
		if err != nil {
			yield(blob.Info{}, err)
			return
		}
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (m *Mem) list(ctx context.Context, prefix string) ([]blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx, OpList, prefix); err != nil {
		return nil, err
	}
	var infos []blob.Info
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(name, prefix) {
			infos = append(infos, blob.Info{Name: name, Size: int64(len(m.objects[name]))})
		}
	}
	return infos, nil
}

// ReadAll gets an object whole. It is what most tests do with Get.
func ReadAll(ctx context.Context, c blob.Container, name string) ([]byte, error) {
	r, info, err := c.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	err = errors.Join(err, r.Close())
	if err == nil && int64(len(b)) != info.Size {
		err = fmt.Errorf("%s: got %d bytes, %d announced", name, len(b), info.Size)
	}
	return b, err
}
