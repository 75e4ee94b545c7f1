package hsm

import (
	"context"
	"fmt"
)

// Destroy removes everything of a device that is not open: first its roots, which makes all its content
// unreadable at once, then its records. It may be repeated until it returns nil; after a crash the next call
// goes on. The audit file stays: it belongs to whoever runs the server.
func Destroy(ctx context.Context, cfg Config) error {
	if err := cfg.Roots.DestroyAll(ctx, cfg.ID); err != nil {
		return fmt.Errorf("%w: destroy the HSM's roots: %w", ErrUnavailable, err)
	}
	h := &HSM{cfg: cfg, store: cfg.Store}
	return h.deleteAll(ctx, h.at(""))
}
