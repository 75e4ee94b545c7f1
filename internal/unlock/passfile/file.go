package passfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"redoubt/internal/secret"
)

const (
	minPassphrase = 12
	maxPassphrase = 4096
)

// readPassphrase reads and judges the file. What is judged is the opened file, not the name, so that it
// cannot be exchanged in between.
func readPassphrase(path string) (secret.Bytes, error) {
	f, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Bytes{}, fmt.Errorf("passphrase file %s is missing; put the passphrase there, mode 0600", path)
	}
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("passphrase file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if err := checkSafe(f, path); err != nil {
		return secret.Bytes{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPassphrase+3))
	if err != nil {
		clear(b)
		return secret.Bytes{}, fmt.Errorf("passphrase file: %w", err)
	}
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
		if n > 0 && b[n-1] == '\r' {
			n--
		}
	}
	if n < minPassphrase || n > maxPassphrase {
		clear(b)
		return secret.Bytes{}, fmt.Errorf("%w: %s holds a passphrase of %d bytes; use %d to %d, best from a random generator",
			ErrUnsafe, path, n, minPassphrase, maxPassphrase)
	}
	return secret.New(b[:n:n]), nil
}

func checkSafe(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("passphrase file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrUnsafe, path)
	}
	if perm := info.Mode().Perm(); perm&0o177 != 0 {
		return fmt.Errorf("%w: %s has mode %04o, so that others may read or change it; run: chmod 600 %s", ErrUnsafe, path, perm, path)
	}
	return checkOwner(info, path, os.Geteuid())
}
