package blob

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrBadName: the object name is not one that every driver can keep.
var ErrBadName = errors.New("blob: object name refused")

// MaxName is the longest object name in bytes (Azure's limit, and within every file system's for our names).
const MaxName = 1024

// CheckName accepts the names every driver can keep: segments separated by "/", each of 1 to 255 ASCII
// letters, digits, "-", "_" and ".", none beginning with a dot. So a name can never climb out of a
// folder, hide, or be spelled in two ways on the wire. Put, Get and Delete refuse every other name with
// ErrBadName; List may yield foreign names, because a container may be shared with others.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: a name has 1 to %d characters, this one %d", ErrBadName, MaxName, len(name))
	}
	for seg := range strings.SplitSeq(name, "/") {
		if seg == "" || len(seg) > 255 || seg[0] == '.' {
			return fmt.Errorf("%w: %.80q has a segment that is empty, too long or begins with a dot", ErrBadName, name)
		}
		for _, c := range []byte(seg) {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_' || c == '.') {
				return fmt.Errorf("%w: %.80q has characters other than letters, digits, '-', '_' and '.'", ErrBadName, name)
			}
		}
	}
	return nil
}

// Exactly wraps r so that it delivers size bytes or an error: a source that ends early or goes on too
// long shows as an error of Read (io.ErrUnexpectedEOF or a description), which is what Container.Get promises.
func Exactly(r io.ReadCloser, size int64) io.ReadCloser { return &exactly{ReadCloser: r, left: size} }

type exactly struct {
	io.ReadCloser
	left int64 // bytes still owed; owned by the reading goroutine
}

func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	e.left -= int64(n)
	switch {
	case e.left < 0:
		return n, errors.New("blob: object is longer than announced")
	case err == io.EOF && e.left > 0:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
