package backup

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/blob/dir"
)

var newGolden = flag.Bool("new-golden", false, "write testdata/golden-v1 when it is missing (only for a new format version)")

// TestGolden opens an archive as version 1 wrote it. It must open for ever: when this test fails, the
// change is wrong, not the files.
func TestGolden(t *testing.T) {
	t.Parallel()
	root := filepath.Join("testdata", "golden-v1")
	records := testRecords(9, 500)
	if *newGolden {
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		c, err := dir.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writeSmall(t.Context(), c, records); err != nil {
			t.Fatal(err)
		}
	}
	c, err := dir.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	o := testOrigin()
	m, err := ReadManifest(t.Context(), c, o.Folder, ByDomainID(testScheme, "sd-99ef7ebe3a369f5b1ef0b8174b3b95d1"))
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
	if len(m.Blocks) != 3 || m.Sequence != 7 || m.Epoch != 3 || m.Revision != 42 || m.HSMName != "ContosoMHSM" || m.AuditHead != "c0ffee" ||
		!m.Time.Equal(o.Time.Truncate(1e6)) || m.End != goldenEnd {
		t.Errorf("%+v", m)
	}
	if b, err := m.encode(); err != nil || !bytes.Equal(b, readGolden(t, root, m.Object(ManifestName))) {
		t.Errorf("encoding the manifest again gives other bytes (%v)", err)
	}
}

const goldenEnd = "d2cdaa124a42b62ce6270aa3c22b517a1937981634767cf74f5eb7423cc109b6"

func readGolden(t *testing.T, root, object string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(object)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
