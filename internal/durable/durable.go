// Package durable writes files that are there, whole, after a power loss, or not there at all.
//
// The order is always: write a temporary file in the same folder, fsync it, give it its name (rename or
// link), fsync the folder. What a crash (SIGKILL or power loss) leaves behind:
//
//   - before the name is given: what was there before, and perhaps a ".tmp-" file of any content, which
//     readers never look at. Nobody sweeps these: an owner of a folder who cares, because the content was
//     meant to be destroyable, sweeps it himself (see unlock.Roots).
//   - after the name is given, before the folder is synced: the old state or the new, each whole. The
//     caller has not been told that it succeeded.
//   - after CreateExclusive has linked, before the temporary name is removed: the new file, and a ".tmp-"
//     name that is the same file, not a copy.
//   - after the call has returned nil: the new state.
//
// An error from the last step (folder sync) means that the outcome is unknown until the next crash: the
// file may be there now and gone then. Callers repeat the call or stop; they do not assume either.
//
// Files are complete but not locked: two writers of one path each succeed, and the later rename wins.
// CreateExclusive needs a file system with hard links, and reports an error where there are none.
package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// WriteFile puts data at path, replacing what is there.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return place(path, bytes.NewReader(data), perm, os.Rename)
}

// CreateExclusive puts data at path and fails with an error that is fs.ErrExist when something is there.
func CreateExclusive(path string, data []byte, perm fs.FileMode) error {
	return CreateFrom(path, bytes.NewReader(data), perm)
}

// CreateFrom is CreateExclusive for all that r has.
func CreateFrom(path string, r io.Reader, perm fs.FileMode) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return place(path, r, perm, os.Link)
}

func place(path string, r io.Reader, perm fs.FileMode, name func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) && err == nil {
			err = rerr
		}
	}()
	if err := fill(f, r, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := name(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

func fill(f *os.File, r io.Reader, perm fs.FileMode) error {
	_, err := io.Copy(f, r)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Remove deletes path and makes the deletion durable. An absent file is not an error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// MkdirAll makes path and its missing parents and makes their names durable, outermost first. It syncs
// the parent of path even when nothing was missing: an earlier call may have crashed before doing so.
func MkdirAll(path string, perm fs.FileMode) error {
	var parents []string // to sync, innermost first
	for dir := filepath.Clean(path); ; {
		parent := filepath.Dir(dir)
		parents = append(parents, parent)
		if _, err := os.Stat(parent); err == nil || parent == dir {
			break
		}
		dir = parent
	}
	if err := os.MkdirAll(path, perm); err != nil {
		return err
	}
	for _, dir := range slices.Backward(parents) {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
