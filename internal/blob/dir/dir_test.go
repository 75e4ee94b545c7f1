package dir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Container {
		return open(t, t.TempDir())
	}, func(t *testing.T) blob.Container {
		root := filepath.Join(t.TempDir(), "gone")
		c, err := Create(root)
		if err = errors.Join(err, os.Remove(root)); err != nil {
			t.Fatal(err)
		}
		return c
	})
}

func open(t *testing.T, root string) *Container {
	t.Helper()
	c, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOpen(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(root, "absent"), file} {
		if _, err := Open(path); !errors.Is(err, blob.ErrNoContainer) {
			t.Errorf("Open(%s): %v", path, err)
		}
	}
	c, err := Create(filepath.Join(root, "a", "b c"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), "x/y", []byte("z")); err != nil {
		t.Fatal(err)
	}
	again := open(t, filepath.Join(root, "a", "b c"))
	if b, err := blobtest.ReadAll(t.Context(), again, "x/y"); err != nil || string(b) != "z" {
		t.Errorf("after reopening: %q, %v", b, err)
	}
}

// TestLeftovers: what a crash or a stranger leaves in the folder is no object.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := open(t, root)
	if err := c.Put(t.Context(), "f/a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"f/.tmp-123", ".hidden"} {
		if err := os.WriteFile(filepath.Join(root, path), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(root, "empty"), 0o700), os.Symlink("/etc/passwd", filepath.Join(root, "f", "link"))); err != nil {
		t.Fatal(err)
	}
	var names []string
	for info, err := range c.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, info.Name)
	}
	if len(names) != 1 || names[0] != "f/a" {
		t.Errorf("listed %q", names)
	}
}

// TestShrunk: a file cut short under a reader is an error, not a short object.
func TestShrunk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := open(t, root)
	if err := c.Put(t.Context(), "a", make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	r, _, err := c.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(root, "a"), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading the truncated file: %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for cause, want := range map[error]error{
		syscall.ENOSPC: blob.ErrFull, syscall.EDQUOT: blob.ErrFull, syscall.EACCES: blob.ErrDenied,
		syscall.EROFS: blob.ErrDenied, syscall.EEXIST: blob.ErrExists, syscall.ENOENT: blob.ErrNotFound, syscall.EIO: blob.ErrUnreachable,
	} {
		err := translate("put", "a", &fs.PathError{Op: "write", Path: "/x", Err: cause})
		if !errors.Is(err, want) {
			t.Errorf("%v became %v, want %v", cause, err, want)
		}
	}
	if err := translate("put", "a", nil); err != nil {
		t.Error(err)
	}
}

// TestFull is not parallel: it replaces the package's writer.
func TestFull(t *testing.T) {
	defer func(old func(string, []byte, fs.FileMode) error) { testOnlyCreate = old }(testOnlyCreate)
	testOnlyCreate = func(path string, _ []byte, _ fs.FileMode) error {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	c := open(t, t.TempDir())
	if err := c.Put(t.Context(), "f/a", []byte("x")); !errors.Is(err, blob.ErrFull) {
		t.Errorf("put on a full disk: %v", err)
	}
	if _, _, err := c.Get(t.Context(), "f/a"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get after the failed put: %v", err)
	}
}
