package blobtest

import (
	"errors"
	"testing"

	"redoubt/internal/blob"
)

func TestMem(t *testing.T) {
	t.Parallel()
	shared := NewMem()
	Run(t, func(*testing.T) blob.Container { return shared }, func(*testing.T) blob.Container {
		m := NewMem()
		m.DeleteContainerAt(0)
		return m
	})
}

func TestMemFaults(t *testing.T) {
	t.Parallel()
	m := NewMem()
	m.FailAt(1, Lost)
	m.FailAt(2, Stored)
	ctx := t.Context()
	for i, name := range []string{"lost", "stored"} {
		if err := m.Put(ctx, name, []byte("x")); !errors.Is(err, ErrInjected) || !errors.Is(err, blob.ErrUnreachable) {
			t.Errorf("write %d: %v", i+1, err)
		}
	}
	if got := m.Objects(); len(got) != 1 || got["stored"] == nil || m.Writes() != 2 {
		t.Errorf("objects %v after %d writes", got, m.Writes())
	}
	m.CutAt("stored", 0)
	if _, err := ReadAll(ctx, m, "stored"); !errors.Is(err, ErrInjected) {
		t.Errorf("cut read: %v", err)
	}
	m.Deny(OpGet, blob.ErrExpired)
	if _, _, err := m.Get(ctx, "stored"); !errors.Is(err, blob.ErrExpired) {
		t.Errorf("denied read: %v", err)
	}
	m.DeleteContainerAt(m.Calls() + 2)
	if err := m.Put(ctx, "before", nil); err != nil {
		t.Error(err)
	}
	if err := m.Put(ctx, "after", nil); !errors.Is(err, blob.ErrNoContainer) {
		t.Errorf("put into a deleted container: %v", err)
	}
}
