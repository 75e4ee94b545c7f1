package main

import (
	"context"
	"fmt"
	"sync"

	"redoubt/internal/client"
)

// hsmLife is what happens to one HSM resource, in order: where it is after each step.
var hsmLife = []struct {
	next string
	do   func(ctx context.Context, w *world, name string) error
}{
	{"live", func(ctx context.Context, w *world, name string) error { _, err := w.create(ctx, name); return err }},
	{"changed", func(ctx context.Context, w *world, name string) error {
		_, err := w.arm.SetHSMNetwork(ctx, group, name, client.NetworkRules{Bypass: "None", DefaultAction: "Allow"}, "")
		return err
	}},
	{"deleted", func(ctx context.Context, w *world, name string) error { return w.arm.DeleteHSM(ctx, group, name) }},
	{"changed", func(ctx context.Context, w *world, name string) error {
		_, err := w.arm.RecoverHSM(ctx, group, region, name)
		return err
	}},
	{"deleted", func(ctx context.Context, w *world, name string) error { return w.arm.DeleteHSM(ctx, group, name) }},
	{"none", func(ctx context.Context, w *world, name string) error { return w.arm.PurgeHSM(ctx, region, name) }},
}

// resources is the life of an HSM as a resource: create, update, delete, recover, purge.
func resources() scenario {
	var mu sync.Mutex
	var name, done, doing string
	return scenario{
		name: "resources",
		prepare: func(_ context.Context, _ *world, n int) error {
			name, done, doing = fmt.Sprintf("resource-%d", n), "none", "none"
			return nil
		},
		step: func(ctx context.Context, w *world) error {
			for range 3 {
				for _, st := range hsmLife {
					mu.Lock()
					doing = st.next
					mu.Unlock()
					if err := st.do(ctx, w, name); err != nil {
						return err
					}
					mu.Lock()
					done = doing
					mu.Unlock()
				}
			}
			return nil
		},
		verify: func(ctx context.Context, w *world) (outcome, error) {
			now, err := whereIs(ctx, w, name)
			switch {
			case err != nil:
				return "", err
			case now == doing:
				return after, nil
			case now == done:
				return before, nil
			}
			return "", fmt.Errorf("HSM %s is %s; acknowledged was %s, under way %s", name, now, done, doing)
		},
	}
}

func whereIs(ctx context.Context, w *world, name string) (string, error) {
	if m, err := w.arm.FindHSM(ctx, name); err == nil {
		h, err := w.arm.HSMNamed(name)
		if err == nil {
			_, err = h.TransferKey(ctx) // a fresh HSM answers
		}
		if m.Network.Bypass == "None" {
			return "changed", err
		}
		return "live", err
	} else if !client.IsNotFound(err) {
		return "", err
	}
	if _, err := w.arm.FindDeletedHSM(ctx, name); err == nil {
		return "deleted", nil
	} else if !client.IsNotFound(err) {
		return "", err
	}
	return "none", nil
}
