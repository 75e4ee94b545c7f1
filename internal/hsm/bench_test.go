package hsm

import (
	"path/filepath"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/store/bolt"
)

// The benchmarks go through the whole device: guard, roles, records on bbolt, audit entry. What they cost
// beyond the algorithm itself is the difference to package material's.

func benchmarkDevice(b *testing.B, spec key.Spec, ops []string, do func(r *testHSM) error) {
	s, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"), bolt.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	r := newTestHSMOn(b, s)
	r.testOnlyActivate()
	r.createWith("k", key.CreateParams{Spec: spec, Ops: ops})
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(r); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchmarkSign(b *testing.B, spec key.Spec, alg key.Algorithm) {
	digest := make([]byte, 32)
	benchmarkDevice(b, spec, nil, func(r *testHSM) error { return second(r.Sign(b.Context(), user, "k", "", alg, digest)) })
}

func BenchmarkSignRSA2048(b *testing.B) { benchmarkSign(b, rsaSpec, "RS256") }

func BenchmarkSignP256(b *testing.B) { benchmarkSign(b, ecSpec, "ES256") }

func BenchmarkWrapAES256(b *testing.B) {
	in := key.CipherInput{Value: make([]byte, 32)}
	benchmarkDevice(b, octSpec, nil, func(r *testHSM) error { return second(r.Wrap(b.Context(), user, "k", "", "A256KW", in)) })
}

func BenchmarkGetKey(b *testing.B) {
	benchmarkDevice(b, ecSpec, nil, func(r *testHSM) error { return second(r.GetKey(b.Context(), user, "k", "")) })
}

func BenchmarkCreateAES256(b *testing.B) {
	benchmarkDevice(b, octSpec, nil, func(r *testHSM) error {
		name := key.Name(newID())
		if err := second(r.CreateKey(b.Context(), user, name, key.CreateParams{Spec: octSpec})); err != nil {
			return err
		}
		if err := second(r.DeleteKey(b.Context(), user, name)); err != nil {
			return err
		}
		return r.PurgeKey(b.Context(), officer, name)
	})
}
