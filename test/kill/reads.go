package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// reads is four clients that read a key each, of a server that has every audit entry on the disk before the answer: as
// many entries as there were answers must be in the file, whenever the server is killed.
func reads() scenario {
	const lanes, each = 4, 60
	var answered [lanes]atomic.Int64
	var finished atomic.Bool
	name := func(i int) string { return fmt.Sprintf("read-%d", i) }
	return scenario{
		name: "reads",
		prepare: func(ctx context.Context, w *world, n int) error {
			finished.Store(false)
			if n > 0 {
				return nil
			}
			if err := w.server.terminate(); err != nil {
				return err
			}
			w.server.more = []string{"--sync-audit"}
			if err := w.restart(ctx); err != nil {
				return err
			}
			h, err := w.arm.HSMNamed(w.main)
			for i := 0; err == nil && i < lanes; i++ {
				_, err = h.CreateKey(ctx, name(i), client.CreateKey{Kty: "EC-HSM", Crv: "P-256"})
			}
			return err
		},
		step: func(ctx context.Context, w *world) error {
			h, err := w.arm.HSMNamed(w.main)
			if err == nil {
				err = parallel(lanes, lanes, func(i int) error {
					for range each {
						if _, err := h.GetKey(ctx, name(i), ""); err != nil {
							return err
						}
						answered[i].Add(1)
					}
					return nil
				})
			}
			finished.Store(err == nil)
			return err
		},
		verify: func(_ context.Context, w *world) (outcome, error) {
			recorded, err := readsRecorded(filepath.Join(w.server.dir, "data", "audit"))
			for i := range lanes {
				if n := recorded["/keys/"+name(i)]; err == nil && n < answered[i].Load() {
					err = fmt.Errorf("%d reads of %s were answered, and %d are in the audit log", answered[i].Load(), name(i), n)
				}
			}
			if finished.Load() {
				return after, err
			}
			return before, err
		},
	}
}

// readsRecorded counts the successful reads in all audit files, by target.
func readsRecorded(dir string) (map[string]int64, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	out := make(map[string]int64)
	for _, f := range files {
		b, rerr := os.ReadFile(f)
		if rerr != nil {
			return nil, rerr
		}
		_, verr := audit.Verify(bytes.NewReader(b[:bytes.LastIndexByte(b, '\n')+1]), "", func(e audit.Entry) error {
			if e.Operation == "KeyGet" && e.Result == "Success" {
				out[e.Target]++
			}
			return nil
		})
		if verr != nil {
			return nil, fmt.Errorf("%s: %w", f, verr)
		}
	}
	return out, err
}
