package passfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/secret"
	"redoubt/internal/unlock"
)

// cheap keeps the tests quick; the golden blob has the real cost.
var cheap = cost{time: 1, memory: 8, threads: 1}

// testOnlyCheap is a driver over a fresh passphrase file, with that path.
func testOnlyCheap(t testing.TB) (*Driver, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passphrase")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	return again(t, path), path
}

func again(t testing.TB, path string) *Driver {
	t.Helper()
	d, err := New(path, "")
	if err != nil {
		t.Fatal(err)
	}
	d.cost = cheap
	return d
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func seal(t testing.TB, d *Driver, s, aad string) []byte {
	t.Helper()
	b, err := d.Seal(context.Background(), secret.New([]byte(s)), []byte(aad))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var _ unlock.Driver = (*Driver)(nil)

func TestSealOpen(t *testing.T) {
	t.Parallel()
	d, path := testOnlyCheap(t)
	for _, s := range []string{"", "root", strings.Repeat("x", 1000)} {
		b := seal(t, d, s, "aad")
		for _, opener := range []*Driver{d, again(t, path)} {
			got, err := opener.Open(t.Context(), b, []byte("aad"))
			if err != nil || string(got.Expose()) != s {
				t.Errorf("%q, %v; want %q", got.Expose(), err, s)
			}
			if _, err := opener.Open(t.Context(), b, []byte("aae")); !errors.Is(err, unlock.ErrLocked) {
				t.Errorf("other associated data: %v", err)
			}
		}
		if bytes.Contains(b, []byte("root")) {
			t.Error("readable")
		}
	}
}

func TestEveryBitCounts(t *testing.T) {
	t.Parallel()
	d, _ := testOnlyCheap(t)
	b := seal(t, d, "root", "aad")
	for i := range len(b) * 8 {
		if pos := i / 8; pos >= 6 && pos < 15 && i%8 > 1 {
			continue // a larger cost would only take time; small ones are tried
		}
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := d.Open(t.Context(), bad, []byte("aad")); !errors.Is(err, unlock.ErrLocked) {
			t.Errorf("bit %d changed: %v", i, err)
		}
	}
	for i := range b {
		if _, err := d.Open(t.Context(), b[:i], []byte("aad")); !errors.Is(err, unlock.ErrLocked) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := d.Open(t.Context(), b, []byte("aad")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	d, path := testOnlyCheap(t)
	b := seal(t, d, "root", "")
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "quite another passphrase\n")
	later := again(t, path)
	_, err = later.Open(t.Context(), b, nil)
	if !errors.Is(err, unlock.ErrLocked) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "another passphrase") {
		t.Errorf("wrong passphrase: %v", err)
	}
	write(t, path, string(right)) // put right: no restart needed
	if _, err := later.Open(t.Context(), b, nil); err != nil {
		t.Errorf("right again: %v", err)
	}
	if err := os.Remove(path); err != nil { // the key is in memory, the file no longer needed
		t.Fatal(err)
	}
	if _, err := later.Open(t.Context(), b, nil); err != nil {
		t.Errorf("file removed: %v", err)
	}
	_, err = again(t, path).Open(t.Context(), b, nil)
	if !errors.Is(err, unlock.ErrLocked) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("missing file: %v", err)
	}
}

// One derivation serves all HSMs: every blob has the salt of the first, also after a restart.
func TestOneDerivationForAll(t *testing.T) {
	t.Parallel()
	d, path := testOnlyCheap(t)
	var blobs [][]byte
	for i := range 5 {
		blobs = append(blobs, seal(t, d, fmt.Sprint("root ", i), ""))
	}
	later := again(t, path)
	var wg sync.WaitGroup
	for i, b := range blobs {
		wg.Go(func() {
			if got, err := later.Open(t.Context(), b, nil); err != nil || string(got.Expose()) != fmt.Sprint("root ", i) {
				t.Errorf("root %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	blobs = append(blobs, seal(t, later, "new", ""))
	for _, b := range blobs {
		if !bytes.Equal(b[:headerSize], blobs[0][:headerSize]) {
			t.Errorf("salt or cost differs: %x", b[:headerSize])
		}
	}
	if len(d.keys) != 1 || len(later.keys) != 1 {
		t.Errorf("%d and %d derivations", len(d.keys), len(later.keys))
	}
	if bytes.Equal(blobs[0][headerSize:headerSize+12], blobs[1][headerSize:headerSize+12]) {
		t.Error("the same nonce twice")
	}
}

// A blob that does not open must not decide the salt of later ones, nor leave its key behind.
func TestForeignBlobLeavesNoTrace(t *testing.T) {
	t.Parallel()
	d, _ := testOnlyCheap(t)
	other, _ := testOnlyCheap(t)
	foreign := seal(t, other, "x", "")
	mine := seal(t, d, "root", "")
	if _, err := d.Open(t.Context(), foreign, nil); !errors.Is(err, unlock.ErrLocked) {
		t.Fatal(err)
	}
	if len(d.keys) != 1 || !bytes.Equal(seal(t, d, "y", "")[:headerSize], mine[:headerSize]) {
		t.Error("the foreign blob's salt stayed")
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	d, _ := testOnlyCheap(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Seal(ctx, secret.Bytes{}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUnsafeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := strings.Repeat("p", 20)
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		path := filepath.Join(dir, fmt.Sprintf("good%o", mode))
		write(t, path, good)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := again(t, path).Check(); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o700, 0o644, 0o666, 0o601} {
		path := filepath.Join(dir, fmt.Sprintf("mode%o", mode))
		write(t, path, good)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		err := again(t, path).Check()
		if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for name, content := range map[string]string{
		"empty": "", "line end only": "\n", "short": "elevenchars\n", "long": strings.Repeat("x", 4097), "very long": strings.Repeat("x", 100000),
	} {
		path := filepath.Join(dir, name)
		write(t, path, content)
		err := again(t, path).Check()
		if !errors.Is(err, ErrUnsafe) || strings.Contains(err.Error(), "eleven") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := again(t, path).Seal(t.Context(), secret.Bytes{}, nil); !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: sealed: %v", name, err)
		}
	}
	if err := again(t, dir).Check(); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a folder: %v", err)
	}
	if err := again(t, filepath.Join(dir, "absent")).Check(); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("absent: %v", err)
	}
}

func TestLineEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p")
	const pass = "correct horse battery"
	write(t, path, pass)
	b := seal(t, again(t, path), "root", "")
	for content, same := range map[string]bool{
		pass + "\n": true, pass + "\r\n": true, pass + "\n\n": false, pass + " ": false, pass + "\r": false, " " + pass: false,
	} {
		write(t, path, content)
		if _, err := again(t, path).Open(t.Context(), b, nil); (err == nil) != same {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestOutsideDataDirectory(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	data := filepath.Join(base, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	for path, inside := range map[string]bool{
		filepath.Join(data, "p"): true, filepath.Join(data, "not", "yet", "there"): true, data: true, filepath.Join(link, "p"): true,
		filepath.Join(base, "other", "..", "data", "p"): true,
		filepath.Join(base, "p"):                        false, filepath.Join(base, "data2"): false, filepath.Join(data, "..", "p"): false, filepath.Join(base, "..data"): false,
	} {
		_, err := New(path, data)
		if errors.Is(err, ErrUnsafe) != inside || !inside && err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := New(path, link); errors.Is(err, ErrUnsafe) != inside {
			t.Errorf("%s, data directory by its link: %v", path, err)
		}
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b} {
		if err := Create(path); err != nil {
			t.Fatal(err)
		}
		if err := again(t, path).Check(); err != nil {
			t.Error(err)
		}
	}
	first, _ := os.ReadFile(a)
	second, _ := os.ReadFile(b)
	if len(first) != 44 || bytes.Equal(first, second) {
		t.Errorf("passphrases of %d bytes, equal: %v", len(first), bytes.Equal(first, second))
	}
	if err := Create(a); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	if kept, _ := os.ReadFile(a); !bytes.Equal(kept, first) {
		t.Error("overwritten")
	}
}

func TestDescribeAndPrint(t *testing.T) {
	t.Parallel()
	d, path := testOnlyCheap(t)
	seal(t, d, "root", "")
	if s := d.Describe(); !strings.Contains(s, path) || !strings.Contains(s, "Argon2id") {
		t.Error(s)
	}
	for _, k := range d.keys {
		if strings.Contains(fmt.Sprintf("%+v", d), strings.Trim(fmt.Sprint(k.Expose()[:8]), "[]")) {
			t.Error("printing the driver shows the key")
		}
	}
}

// The driver under Roots, as the server uses it.
func TestUnderRoots(t *testing.T) {
	t.Parallel()
	d, path := testOnlyCheap(t)
	dir := t.TempDir()
	if err := unlock.NewRoots(dir, d).Put(t.Context(), "aa", "1", secret.New([]byte("root"))); err != nil {
		t.Fatal(err)
	}
	r := unlock.NewRoots(dir, again(t, path))
	if s, err := r.Get(t.Context(), "aa", "1"); err != nil || string(s.Expose()) != "root" {
		t.Errorf("%v", err)
	}
	if err := os.Rename(filepath.Join(dir, "aa", "1.root"), filepath.Join(dir, "aa", "2.root")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), "aa", "2"); !errors.Is(err, unlock.ErrLocked) {
		t.Errorf("moved: %v", err)
	}
}
