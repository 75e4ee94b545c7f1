//go:build unix

package passfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openFile does not wait for a writer if path is a pipe; checkSafe then refuses it.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func checkOwner(info fs.FileInfo, path string, uid int) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%w: cannot tell who owns %s", ErrUnsafe, path)
	}
	if int(st.Uid) != uid {
		return fmt.Errorf("%w: %s belongs to user %d but the server runs as user %d; run: chown %d %s", ErrUnsafe, path, st.Uid, uid, uid, path)
	}
	return nil
}
