package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/hsm"
	"redoubt/internal/store"
)

// AcceptAuditLoss lets an HSM open again whose audit files are not those that it wrote (hsm.AcceptAuditLoss). No fleet may
// be open on the store. by is who accepts, reason is why; both stand in the entry.
func AcceptAuditLoss(ctx context.Context, cfg Config, name, by, reason string) error {
	id, _, err := cfg.Store.Get(ctx, namePrefix+strings.ToLower(name))
	var kv store.KV
	if err == nil {
		kv, _, err = cfg.Store.Get(ctx, resourcePrefix+string(id.Val))
	}
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	if err != nil {
		return err
	}
	var r Resource
	if err := json.Unmarshal(kv.Val, &r); err != nil {
		return fmt.Errorf("managed HSM record %s is damaged: %w", kv.Key, err)
	}
	device := (&Fleet{cfg: cfg}).deviceConfig(&r)
	if device.Audit, err = cfg.OpenAudit(r.ID); err != nil {
		return err
	}
	return errors.Join(hsm.AcceptAuditLoss(ctx, device, by, reason), device.Audit.Close())
}
