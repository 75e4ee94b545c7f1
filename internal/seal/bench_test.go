package seal

import "testing"

// The names of the benchmarks are read by "make bench" and must not change.

func BenchmarkSeal1KB(b *testing.B) {
	r, plain := NewRoot(1), make([]byte, 1024)
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		r.Seal(someContent, plain)
	}
}

func BenchmarkOpen1KB(b *testing.B) {
	r := NewRoot(1)
	sealed := r.Seal(someContent, make([]byte, 1024))
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open(someContent, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignManifest(b *testing.B) {
	r, msg := NewRoot(1), make([]byte, 1024)
	for b.Loop() {
		r.SignManifest(msg)
	}
}
