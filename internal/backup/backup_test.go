package backup

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"redoubt/internal/blob/blobtest"
)

// testDomain is a security domain of the tests: package seal's scheme with labels of its own.
type testDomain struct{ key ed25519.PrivateKey }

func newDomain(name string) testDomain {
	seed := sha256.Sum256([]byte(name))
	return testDomain{ed25519.NewKeyFromSeed(seed[:])}
}

const signLabel = "backup test signature\x00"

func (d testDomain) PublicKey() ed25519.PublicKey { return d.key.Public().(ed25519.PublicKey) }
func (d testDomain) DomainID() string             { return testScheme.DomainID(d.PublicKey()) }
func (d testDomain) SignManifest(msg []byte) []byte {
	return ed25519.Sign(d.key, append([]byte(signLabel), msg...))
}

var testScheme = Scheme{
	Verify: func(pub ed25519.PublicKey, msg, sig []byte) bool {
		return ed25519.Verify(pub, append([]byte(signLabel), msg...), sig)
	},
	DomainID: func(pub []byte) string {
		sum := sha256.Sum256(append([]byte("backup test domain\x00"), pub...))
		return "sd-" + hex.EncodeToString(sum[:16])
	},
}

var testTime = time.Date(2025, 4, 14, 9, 8, 7, 123456789, time.UTC)

func testOrigin() Origin {
	return Origin{
		Folder: Folder("ContosoMHSM", testTime), HSMID: "6a7e2f4e-6d1d-4a52-9a0e-1f0a0a4a2b11", HSMName: "ContosoMHSM",
		Epoch: 3, Lineage: "0123456789abcdef", Revision: 42, Time: testTime, Sequence: 7, AuditHead: "c0ffee",
	}
}

// testRecords makes n records of about size bytes, the same for the same arguments.
func testRecords(n, size int) []Record {
	rng := rand.NewChaCha8([32]byte{1})
	out := make([]Record, n)
	for i := range out {
		b := make([]byte, 1+size+i%7)
		rng.Read(b)
		out[i] = Record{Name: fmt.Sprintf("key/%08d/v", i), Sealed: b}
	}
	return out
}

func seq(records []Record) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// archive makes an archive in a fresh container.
func archive(t *testing.T, records []Record) (*blobtest.Mem, Manifest) {
	t.Helper()
	c := blobtest.NewMem()
	m, err := Write(t.Context(), c, testOrigin(), seq(records), newDomain("a"))
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

// collect reads an archive to its end or first error.
func collect(records iter.Seq2[Record, error]) (out []Record, err error) {
	for r, err := range records {
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

func sameRecords(a, b []Record) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d records instead of %d", len(a), len(b))
	}
	for i := range a {
		if a[i].Name != b[i].Name || !bytes.Equal(a[i].Sealed, b[i].Sealed) {
			return fmt.Errorf("record %d differs", i)
		}
	}
	return nil
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ n, size, blocks int }{{0, 0, 1}, {1, 10, 1}, {1000, 100, 1}, {40, 800_000, 4}, {7, 4<<20 - 7, 7}} {
		records := testRecords(tc.n, tc.size)
		c, written := archive(t, records)
		if len(written.Blocks) < tc.blocks {
			t.Errorf("%d records of %d: %d blocks, expected %d or more", tc.n, tc.size, len(written.Blocks), tc.blocks)
		}
		m, err := ReadManifest(t.Context(), c, written.Folder, ByKey(testScheme, newDomain("a").PublicKey()))
		if err != nil {
			t.Fatal(err)
		}
		if err := Preflight(t.Context(), c, m); err != nil {
			t.Error(err)
		}
		got, err := collect(Read(t.Context(), c, m))
		if err = errors.Join(err, sameRecords(got, records)); err != nil {
			t.Error(err)
		}
		if err := Verify(t.Context(), c, m, nil); err != nil {
			t.Error(err)
		}
		if m.Trust() != OfDomain || m.Records != int64(tc.n) {
			t.Errorf("manifest says %v, %d records", m.Trust(), m.Records)
		}
	}
}
