package hsm

import (
	"context"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/material"
)

// TestMakeKey: material comes from the function of the configuration, for created and rotated keys alike, and
// a caller who leaves while waiting for it has made nothing.
func TestMakeKey(t *testing.T) {
	t.Parallel()
	made := 0
	r := newTestHSM(t)
	r.cfg.MakeKey = func(_ context.Context, spec key.Spec) (material.Key, error) {
		made++
		return material.Generate(spec)
	}
	r.restart()
	r.create("k", ecSpec)
	r.policy("k", monthly)
	noErr(t, second(r.RotateKey(t.Context(), user, "k")))
	if made != 2 {
		t.Errorf("%d keys made, want 2", made)
	}
	ctx, leave := context.WithCancel(t.Context())
	r.cfg.MakeKey = func(ctx context.Context, _ key.Spec) (material.Key, error) {
		leave()
		return material.Key{}, ctx.Err()
	}
	r.restart()
	_, err := r.CreateKey(ctx, user, "gone", key.CreateParams{Spec: rsaSpec})
	wantErr(t, "who left", err, context.Canceled)
	_, err = r.GetKey(t.Context(), user, "gone", "")
	wantErr(t, "its key", err, key.ErrNotFound)
	r.check()
}
