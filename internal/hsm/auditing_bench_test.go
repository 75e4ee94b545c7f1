package hsm

import (
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/material"
)

// BenchmarkSignGuarded measures what guard and audit add to a signature: the device's Sign, with entries queued and with
// entries synced by 64 callers at once, against the material alone, all on every core.
func BenchmarkSignGuarded(b *testing.B) {
	digest := make([]byte, 32)
	b.Run("material", func(b *testing.B) {
		k, err := material.Generate(ecSpec)
		noErr(b, err)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := second(k.Sign("ES256", digest)); err != nil {
					b.Error(err)
				}
			}
		})
	})
	for name, sync := range map[string]bool{"queued": false, "synced": true} {
		b.Run(name, func(b *testing.B) {
			r := newTestHSM(b)
			r.stop()
			r.cfg.SyncAudit = sync
			r.open()
			noErr(b, second(r.CreateKey(b.Context(), user, "k", key.CreateParams{Spec: ecSpec})))
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := second(r.Sign(b.Context(), user, "k", "", "ES256", digest)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
