package fleet

import (
	"context"
	"encoding/json"
	"fmt"

	"redoubt/internal/hsm"
	"redoubt/internal/store"
)

// OutsideEntries are the writes that tell every HSM's audit log, of soft-deleted ones too, what an operator did to the
// server (hsm.OutsideEntry). No fleet may be open on the store.
func OutsideEntries(ctx context.Context, cfg Config, operation string, details map[string]string) (ops []store.Op, err error) {
	f := &Fleet{cfg: cfg}
	err = f.each(ctx, resourcePrefix, func(kv store.KV) error {
		var r Resource
		if err := json.Unmarshal(kv.Val, &r); err != nil {
			return fmt.Errorf("managed HSM record %s is damaged: %w", kv.Key, err)
		}
		if !r.Purging {
			ops = append(ops, hsm.OutsideEntry(f.deviceConfig(&r), operation, details))
		}
		return nil
	})
	return ops, err
}
