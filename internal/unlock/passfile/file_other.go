//go:build !unix

package passfile

import (
	"fmt"
	"io/fs"
	"os"
)

func openFile(path string) (*os.File, error) { return os.Open(path) }

// checkOwner refuses: without owners and modes it cannot be told who may read the file.
func checkOwner(_ fs.FileInfo, path string, _ int) error {
	return fmt.Errorf("%w: this system has no file owners and modes to protect %s", ErrUnsafe, path)
}
