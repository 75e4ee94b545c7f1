package backup

import (
	"context"
	"testing"

	"redoubt/internal/blob/blobtest"
)

const (
	benchRecords = 10_000
	benchSize    = 2500
)

// BenchmarkWrite writes an archive of 10,000 records of 2.5 KB into memory.
func BenchmarkWrite(b *testing.B) {
	records := testRecords(benchRecords, benchSize)
	b.SetBytes(benchRecords * benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(context.Background(), blobtest.NewMem(), testOrigin(), seq(records), newDomain("a")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead checks and reads such an archive.
func BenchmarkRead(b *testing.B) {
	c := blobtest.NewMem()
	m, err := Write(context.Background(), c, testOrigin(), seq(testRecords(benchRecords, benchSize)), newDomain("a"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchRecords * benchSize)
	b.ReportAllocs()
	for b.Loop() {
		m, err := ReadManifest(context.Background(), c, m.Folder, anchorA)
		if err != nil {
			b.Fatal(err)
		}
		if err := Verify(context.Background(), c, m, func(Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
