package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
)

var anchorA = ByKey(testScheme, newDomain("a").PublicKey())

// write1 makes an archive of several small blocks.
func write1(t *testing.T) (*blobtest.Mem, Manifest) {
	t.Helper()
	c := blobtest.NewMem()
	m, err := writeSmall(t.Context(), c, testRecords(12, 400))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Blocks) < 3 {
		t.Fatalf("only %d blocks", len(m.Blocks))
	}
	return c, m
}

// open reads the manifest under the anchor, then all records.
func open(t *testing.T, c blob.Container, folder string, a Anchor) (int, error) {
	m, err := ReadManifest(t.Context(), c, folder, a)
	if err != nil {
		return 0, err
	}
	n := 0
	err = Verify(t.Context(), c, m, func(Record) error { n++; return nil })
	return n, err
}

// TestEveryByte alters each byte of each object of an archive in turn: no alteration passes, and no
// record of an altered block comes out.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	before := int64(0)
	for _, b := range append(m.Blocks, Block{Name: ManifestName}) {
		object := m.Object(b.Name)
		for i := range c.Objects()[object] {
			bad := c.Clone()
			bad.Corrupt(object, blobtest.FlipByte(i))
			n, err := open(t, bad, m.Folder, anchorA)
			var where *TamperedError
			if !errors.Is(err, ErrTampered) || !errors.As(err, &where) || where.Object != object {
				t.Fatalf("%s, byte %d: %v", object, i, err)
			}
			if b.Name != ManifestName && int64(n) != before {
				t.Fatalf("%s, byte %d: %d records came out, %d are before this block", object, i, n, before)
			}
		}
		before += b.Records
	}
}

func TestCutAndGrown(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	for _, name := range []string{ManifestName, m.Blocks[0].Name, m.Blocks[len(m.Blocks)-1].Name} {
		for what, change := range map[string]func([]byte) []byte{
			"empty": func([]byte) []byte { return []byte{} }, "shorter": func(b []byte) []byte { return b[:len(b)-1] },
			"longer": func(b []byte) []byte { return append(b, '\n') }, "twice": func(b []byte) []byte { return append(b, b...) },
		} {
			bad := c.Clone()
			bad.Corrupt(m.Object(name), change)
			if _, err := open(t, bad, m.Folder, anchorA); !errors.Is(err, ErrTampered) {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if err := Preflight(t.Context(), bad, m); name != ManifestName && !errors.Is(err, ErrTampered) {
				t.Errorf("preflight with %s %s: %v", name, what, err)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	for _, b := range m.Blocks {
		bad := c.Clone()
		bad.Corrupt(m.Object(b.Name), func([]byte) []byte { return nil })
		var missing *MissingBlockError
		if err := Verify(t.Context(), bad, m, nil); !errors.Is(err, ErrMissingBlock) || !errors.As(err, &missing) || missing.Objects[0] != m.Object(b.Name) {
			t.Errorf("verify without %s: %v", b.Name, err)
		}
		if err := Preflight(t.Context(), bad, m); !errors.Is(err, ErrMissingBlock) || !strings.Contains(err.Error(), b.Name) {
			t.Errorf("preflight without %s: %v", b.Name, err)
		}
	}
	c.Corrupt(m.Object(ManifestName), func([]byte) []byte { return nil })
	for _, folder := range []string{m.Folder, "mhsm-other-2020083120161860"} {
		if _, err := ReadManifest(t.Context(), c, folder, anchorA); !errors.Is(err, ErrNoManifest) || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%s: %v", folder, err)
		}
	}
	if _, err := ReadManifest(t.Context(), c, "a/../b", anchorA); !errors.Is(err, ErrBadFolder) {
		t.Error(err)
	}
}

// TestCredentials: what the credential lacks comes through as it is, and reading needs no listing.
func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, want := range []error{blob.ErrDenied, blob.ErrExpired, blob.ErrBadCredential, blob.ErrUnreachable} {
		c, m := write1(t)
		c.Deny(blobtest.OpList, want)
		if _, err := open(t, c, m.Folder, anchorA); err != nil {
			t.Errorf("reading without list permission: %v", err)
		}
		if err := Preflight(t.Context(), c, m); !errors.Is(err, want) {
			t.Errorf("preflight: %v, want %v", err, want)
		}
		c.Deny(blobtest.OpGet, want)
		if _, err := ReadManifest(t.Context(), c, m.Folder, anchorA); !errors.Is(err, want) {
			t.Errorf("manifest: %v, want %v", err, want)
		}
		if err := Verify(t.Context(), c, m, nil); !errors.Is(err, want) {
			t.Errorf("verify: %v, want %v", err, want)
		}
		c.Deny(blobtest.OpPut, want)
		if _, err := writeSmall(t.Context(), c, nil); !errors.Is(err, want) {
			t.Errorf("write: %v, want %v", err, want)
		}
	}
	c, m := write1(t)
	c.CutAt(m.Object(m.Blocks[1].Name), 100)
	if err := Verify(t.Context(), c, m, nil); !errors.Is(err, blobtest.ErrInjected) || errors.Is(err, ErrTampered) {
		t.Errorf("connection cut: %v", err)
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	a, b := newDomain("a"), newDomain("b")
	for name, tc := range map[string]struct {
		anchor Anchor
		trust  Trust
		want   error
	}{
		"key": {ByKey(testScheme, a.PublicKey()), OfDomain, nil}, "id": {ByDomainID(testScheme, a.DomainID()), OfDomain, nil},
		"none": {Unanchored(testScheme), IntegrityOnly, nil}, "other key": {ByKey(testScheme, b.PublicKey()), 0, ErrOtherDomain},
		"other id": {ByDomainID(testScheme, b.DomainID()), 0, ErrOtherDomain},
	} {
		got, err := ReadManifest(t.Context(), c, m.Folder, tc.anchor)
		if !errors.Is(err, tc.want) || got.Trust() != tc.trust {
			t.Errorf("%s: %v, %v", name, got.Trust(), err)
		}
		var other *OtherDomainError
		if tc.want != nil && (!errors.As(err, &other) || other.Want != b.DomainID() || other.Got != a.DomainID()) {
			t.Errorf("%s: %+v", name, other)
		}
	}
	if _, err := ReadManifest(t.Context(), c, m.Folder, Anchor{}); err == nil {
		t.Error("the zero anchor accepts an archive")
	}
}

// TestForger: whoever makes up an archive with a key of their own passes without an anchor, as
// "integrity only", and with no anchor besides.
func TestForger(t *testing.T) {
	t.Parallel()
	c := blobtest.NewMem()
	m, err := Write(t.Context(), c, testOrigin(), seq(testRecords(1, 1)), newDomain("forger"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadManifest(t.Context(), c, m.Folder, Unanchored(testScheme)); err != nil || got.Trust() != IntegrityOnly {
		t.Errorf("%v, %v", got.Trust(), err)
	}
	if _, err := ReadManifest(t.Context(), c, m.Folder, anchorA); !errors.Is(err, ErrOtherDomain) {
		t.Error(err)
	}
	// claiming the domain's id beside the forger's key
	forged := m
	forged.DomainID = newDomain("a").DomainID()
	replaceManifest(t, c, resign(t, forged, newDomain("forger")))
	for _, a := range []Anchor{anchorA, Unanchored(testScheme), ByDomainID(testScheme, forged.DomainID)} {
		if _, err := ReadManifest(t.Context(), c, m.Folder, a); !errors.Is(err, ErrTampered) {
			t.Errorf("false domain id: %v", err)
		}
	}
}

func TestWrongFolder(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	other := "mhsm-ContosoMHSM-2030010100000000"
	for name, data := range c.Objects() {
		if err := c.Put(t.Context(), strings.Replace(name, m.Folder, other, 1), data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadManifest(t.Context(), c, other, anchorA); !errors.Is(err, ErrWrongFolder) || !strings.Contains(err.Error(), m.Folder) {
		t.Error(err)
	}
}

// resign makes the manifest consistent in itself again and signs it.
func resign(t *testing.T, m Manifest, d testDomain) Manifest {
	t.Helper()
	m.Records, m.Bytes = 0, 0
	for _, b := range m.Blocks {
		m.Records += b.Records
		m.Bytes += b.Size
	}
	m.End = m.endMark()
	msg, err := m.signed()
	if err != nil {
		t.Fatal(err)
	}
	m.Signature = base64.StdEncoding.EncodeToString(d.SignManifest(msg))
	return m
}

func replaceManifest(t *testing.T, c *blobtest.Mem, m Manifest) {
	t.Helper()
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	c.Corrupt(m.Object(ManifestName), func([]byte) []byte { return b })
}

// replaceBlock puts data in place of block i and makes its entry agree.
func replaceBlock(c *blobtest.Mem, m *Manifest, i int, data []byte) {
	c.Corrupt(m.Object(m.Blocks[i].Name), func([]byte) []byte { return data })
	sum := sha256.Sum256(data)
	m.Blocks = slices.Clone(m.Blocks)
	m.Blocks[i].SHA256, m.Blocks[i].Size = hex.EncodeToString(sum[:]), int64(len(data))
}

// TestLyingSigner: even under a good signature a block is taken only in its own archive, in its place,
// with its records.
func TestLyingSigner(t *testing.T) {
	t.Parallel()
	donor, dm := write1(t)
	other := donor.Objects()[dm.Object(dm.Blocks[1].Name)]
	for name, change := range map[string]func(c *blobtest.Mem, m *Manifest){
		"block of another archive": func(c *blobtest.Mem, m *Manifest) { replaceBlock(c, m, 1, other) },
		"wrong index":              func(c *blobtest.Mem, m *Manifest) { alter(c, m, 1, func(b []byte) { b[headerSize-1] = 9 }) },
		"end mark too early":       func(c *blobtest.Mem, m *Manifest) { alter(c, m, 0, func(b []byte) { b[len(b)-9] = markEnd }) },
		"no end mark": func(c *blobtest.Mem, m *Manifest) {
			alter(c, m, len(m.Blocks)-1, func(b []byte) { b[len(b)-9] = markMore })
		},
		"wrong running count": func(c *blobtest.Mem, m *Manifest) { alter(c, m, 1, func(b []byte) { b[len(b)-1]++ }) },
		"last block left out": func(_ *blobtest.Mem, m *Manifest) { m.Blocks = slices.Clone(m.Blocks)[:len(m.Blocks)-1] },
		"wrong record count":  func(_ *blobtest.Mem, m *Manifest) { m.Blocks = slices.Clone(m.Blocks); m.Blocks[0].Records++ },
		"wrong first name":    func(_ *blobtest.Mem, m *Manifest) { m.Blocks = slices.Clone(m.Blocks); m.Blocks[0].First = "a" },
		"names out of order": func(c *blobtest.Mem, m *Manifest) {
			alter(c, m, 0, func(b []byte) { // the last record of block 0 gets a name after all of block 1
				last := bytes.Index(b, []byte(fmt.Sprintf("key/%08d/v", m.Blocks[0].Records-1)))
				copy(b[last:], "key/99999999/v")
			})
		},
	} {
		c := donor.Clone()
		m := dm
		if name == "block of another archive" {
			c, m = write1(t)
		}
		change(c, &m)
		m = resign(t, m, newDomain("a"))
		replaceManifest(t, c, m)
		if _, err := open(t, c, m.Folder, anchorA); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLyingTotals: totals and end mark are checked, not only signed.
func TestLyingTotals(t *testing.T) {
	t.Parallel()
	c, good := write1(t)
	for name, change := range map[string]func(m *Manifest){
		"records": func(m *Manifest) { m.Records++ }, "bytes": func(m *Manifest) { m.Bytes-- }, "end mark": func(m *Manifest) { m.End = m.Blocks[0].SHA256 },
		"archive id": func(m *Manifest) { m.ArchiveID = strings.Repeat("0", 32); m.End = m.endMark() }, "no blocks": func(m *Manifest) { m.Blocks = nil },
		"block name": func(m *Manifest) { m.Blocks = slices.Clone(m.Blocks); m.Blocks[0].Name = "../x" },
		"same first": func(m *Manifest) { m.Blocks = slices.Clone(m.Blocks); m.Blocks[1].First = m.Blocks[0].First },
		"format":     func(m *Manifest) { m.Format = "redoubt-archive/2" },
	} {
		m := good
		change(&m)
		msg, err := m.signed()
		if err != nil {
			t.Fatal(err)
		}
		m.Signature = base64.StdEncoding.EncodeToString(newDomain("a").SignManifest(msg))
		replaceManifest(t, c, m)
		if _, err := open(t, c, m.Folder, anchorA); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func alter(c *blobtest.Mem, m *Manifest, i int, change func([]byte)) {
	b := bytes.Clone(c.Objects()[m.Object(m.Blocks[i].Name)])
	change(b)
	replaceBlock(c, m, i, b)
}

func TestReadPrefix(t *testing.T) {
	t.Parallel()
	var records []Record
	for i := range 100 {
		for v := range 3 {
			records = append(records, Record{Name: fmt.Sprintf("key/%03d/%d", i, v), Sealed: bytes.Repeat([]byte{byte(i)}, 150)})
		}
	}
	c := blobtest.NewMem()
	m, err := writeSmall(t.Context(), c, records)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"", "key/", "key/000", "key/042", "key/099", "key/042/1", "key/042/1x", "a", "z", "key/1"} {
		var want []Record
		for _, r := range records {
			if strings.HasPrefix(r.Name, prefix) {
				want = append(want, r)
			}
		}
		calls := c.Calls()
		got, err := collect(ReadPrefix(t.Context(), c, m, prefix))
		if err = errors.Join(err, sameRecords(got, want)); err != nil {
			t.Errorf("%q: %v", prefix, err)
		}
		if n := c.Calls() - calls; len(prefix) >= 7 && n > 2 {
			t.Errorf("%q: %d blocks fetched", prefix, n)
		}
	}
	for _, r := range records {
		got, err := collect(ReadPrefix(t.Context(), c, m, r.Name))
		if err = errors.Join(err, sameRecords(got, []Record{r})); err != nil {
			t.Errorf("%q: %v", r.Name, err)
		}
	}
}

// TestStopEarly leaves the loop at each record; no fetch may outlive it (goleak looks).
func TestStopEarly(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	for stop := range 12 {
		n := 0
		for _, err := range Read(t.Context(), c, m) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > stop {
				break
			}
		}
	}
	want := errors.New("enough")
	if err := Verify(t.Context(), c, m, func(Record) error { return want }); !errors.Is(err, want) {
		t.Error(err)
	}
	if err := Verify(t.Context(), c, Manifest{}, nil); err == nil {
		t.Error("the zero manifest verifies")
	}
}
