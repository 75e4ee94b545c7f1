package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"redoubt/internal/durable"
)

const maxFile = 4 << 20 // far above any certificate, key or security domain

// readFile reads a small regular file.
func readFile(what, path string) ([]byte, error) { return readFileUpTo(what, path, maxFile) }

func readFileUpTo(what, path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || st.IsDir() {
		return nil, errors.Join(fmt.Errorf("read the %s: %s is a folder, not a file", what, path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read the %s: %s is larger than %d bytes", what, path, limit)
	}
	return b, nil
}

// createPublic is create for what everybody may read.
func createPublic(what, path string, data []byte) error {
	if err := create(what, path, data); err != nil {
		return err
	}
	return os.Chmod(path, 0o644) //nolint:gosec // public
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checkAbsent refuses, before any work is done, an output file that exists.
func checkAbsent(what, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return exists(what, path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write the %s: %w", what, err)
	}
	return nil
}

func exists(what, path string) error { return takenError{what, path} }

// takenError is the fs.ErrExist of an output file.
type takenError struct{ what, path string }

func (e takenError) Error() string {
	return fmt.Sprintf("the %s cannot be written: %s exists already", e.what, e.path)
}

// Is makes the error an fs.ErrExist.
func (e takenError) Is(target error) bool { return target == fs.ErrExist }

// create writes an output file, whole or not at all, readable by its owner only.
func create(what, path string, data []byte) error {
	err := durable.CreateExclusive(path, data, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return exists(what, path)
	}
	if err != nil {
		return fmt.Errorf("write the %s: %w", what, err)
	}
	return nil
}
