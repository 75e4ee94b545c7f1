package unlock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"redoubt/internal/durable"
	"redoubt/internal/secret"
)

var (
	// ErrBadID: an id is not made of lower-case hex digits and hyphens.
	ErrBadID = errors.New("unlock: bad id")
	// ErrRootExists: a sealed root is kept under that name already. It is also fs.ErrExist.
	ErrRootExists = fmt.Errorf("unlock: sealed root exists already: %w", fs.ErrExist)
)

// labelRoot begins the associated data of every sealed root.
const labelRoot = "redoubt/unlock/v1/root"

const (
	rootSuffix  = ".root"
	tmpPrefix   = ".tmp-"  // of package durable: left behind by a crash while writing
	maxRootFile = 64 << 10 // no driver's blob comes near this
)

// Roots keeps sealed roots, each in a file of its own: DIR/<HSM id>/<root id>.root, folders 0700, files 0600.
// The blob is bound to both ids, so a file moved to another name does not open.
//
// One Roots owns its folder: two processes must not share it (the store's lock sees to that). All methods
// may be called from any goroutine.
//
// What Destroy promises: when it returns nil, the file's content was overwritten with random bytes, that
// was synced, the name was removed, and that was synced. On a file system that writes in place, on a disk
// that does, nothing of the sealed root is left. It promises nothing about flash storage (wear levelling
// keeps old pages), copy-on-write or journalling file systems (btrfs, ZFS, data=journal), snapshots,
// backups of the folder, or swap: there the destruction rests on the driver's key (passphrase, TPM) never
// falling into the same hands as the old bytes. Put the folder on a medium fit for the purpose.
type Roots struct {
	dir string
	d   Driver

	mu sync.Mutex // held while files change
}

// NewRoots keeps roots below dir, sealed by d. It touches nothing; Put makes the folders.
func NewRoots(dir string, d Driver) *Roots { return &Roots{dir: dir, d: d} }

// Describe names the driver and its key for status pages, without secrets.
func (r *Roots) Describe() string { return r.d.Describe() }

// checkID keeps ids from being anything but plain file names. Upper case is refused because some file
// systems would take two ids for one.
func checkID(what, id string) error {
	if len(id) < 1 || len(id) > 64 || id[0] == '-' || strings.Trim(id, "0123456789abcdef-") != "" {
		return fmt.Errorf("%w: %s must be 1 to 64 lower-case hex digits and hyphens", ErrBadID, what)
	}
	return nil
}

func (r *Roots) folder(hsmID string) (string, error) {
	if err := checkID("HSM id", hsmID); err != nil {
		return "", err
	}
	return filepath.Join(r.dir, hsmID), nil
}

func (r *Roots) path(hsmID, rootID string) (string, error) {
	dir, err := r.folder(hsmID)
	if err != nil {
		return "", err
	}
	if err := checkID("root id", rootID); err != nil {
		return "", err
	}
	return filepath.Join(dir, rootID+rootSuffix), nil
}

func rootAAD(hsmID, rootID string) []byte {
	b := []byte(labelRoot)
	for _, s := range []string{hsmID, rootID} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// Put seals s and keeps it. It never overwrites: ErrRootExists. When it returns nil the root survives a
// power loss; after a crash within, it is kept whole or not at all.
func (r *Roots) Put(ctx context.Context, hsmID, rootID string, s secret.Bytes) error {
	path, err := r.path(hsmID, rootID)
	if err != nil {
		return err
	}
	blob, err := r.d.Seal(ctx, s, rootAAD(hsmID, rootID))
	if err != nil {
		return fmt.Errorf("seal root %s of HSM %s: %w", rootID, hsmID, err)
	}
	if len(blob) > maxRootFile {
		return fmt.Errorf("seal root %s of HSM %s: driver made %d bytes, more than is read back", rootID, hsmID, len(blob))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep root %s of HSM %s: %w", rootID, hsmID, err)
	}
	err = durable.CreateExclusive(path, blob, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep root %s of HSM %s: %w", rootID, hsmID, ErrRootExists)
	}
	if err != nil {
		return fmt.Errorf("keep root %s of HSM %s: %w", rootID, hsmID, err)
	}
	return nil
}

// Get opens a kept root. ErrNoRoot when there is none; ErrLocked when the driver cannot open it, which
// includes a file that a crash left half destroyed.
func (r *Roots) Get(ctx context.Context, hsmID, rootID string) (secret.Bytes, error) {
	path, err := r.path(hsmID, rootID)
	if err != nil {
		return secret.Bytes{}, err
	}
	blob, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Bytes{}, fmt.Errorf("root %s of HSM %s: %w", rootID, hsmID, ErrNoRoot)
	}
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("read root %s of HSM %s: %w", rootID, hsmID, err)
	}
	s, err := r.d.Open(ctx, blob, rootAAD(hsmID, rootID))
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("open root %s of HSM %s: %w", rootID, hsmID, err)
	}
	return s, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxRootFile+1))
	if err == nil && len(b) > maxRootFile {
		err = fmt.Errorf("%w: the file is larger than any sealed root", ErrLocked)
	}
	return b, err
}

// List returns the ids of the roots kept for an HSM, in order; none is not an error.
func (r *Roots) List(ctx context.Context, hsmID string) ([]string, error) {
	dir, err := r.folder(hsmID)
	if err != nil {
		return nil, err
	}
	var ids []string
	entries, err := readDir(dir)
	for _, e := range entries {
		id, ok := strings.CutSuffix(e, rootSuffix)
		if ok && checkID("root id", id) == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, err
}

// Destroy makes a kept root unreadable for good, as far as the medium allows (see Roots). It may be
// repeated: an absent root is not an error, and after a crash within, the next call finishes the work.
// Files that a crash left behind while writing are destroyed with it, since one of them may hold this root.
func (r *Roots) Destroy(ctx context.Context, hsmID, rootID string) error {
	path, err := r.path(hsmID, rootID)
	if err != nil {
		return err
	}
	return r.destroy(hsmID, func(name string) bool {
		return name == filepath.Base(path) || strings.HasPrefix(name, tmpPrefix)
	})
}

// DestroyAll destroys everything kept for an HSM, and its folder. It may be repeated.
func (r *Roots) DestroyAll(ctx context.Context, hsmID string) error {
	dir, err := r.folder(hsmID)
	if err != nil {
		return err
	}
	if err := r.destroy(hsmID, func(string) bool { return true }); err != nil {
		return err
	}
	if _, err := os.Lstat(r.dir); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever kept
	}
	if err := durable.Remove(dir); err != nil {
		return fmt.Errorf("destroy roots of HSM %s: %w", hsmID, err)
	}
	return nil
}

func (r *Roots) destroy(hsmID string, which func(name string) bool) error {
	dir, err := r.folder(hsmID)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	names, err := readDir(dir)
	if err != nil {
		return fmt.Errorf("destroy roots of HSM %s: %w", hsmID, err)
	}
	for _, name := range names {
		if !which(name) {
			continue
		}
		if err := shred(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("destroy root of HSM %s: %w", hsmID, err)
		}
	}
	return nil
}

// readDir lists names; an absent folder has none.
func readDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// shred overwrites a file, then removes it, each step on the medium before the next. A crash between
// leaves random bytes under the name, which no driver opens; the next call removes it.
func shred(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		if err := overwrite(path); err != nil {
			return err
		}
	} // a symbolic link or the like: only its name is ours to remove
	return durable.Remove(path)
}

func overwrite(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, rand.Reader, info.Size()); err != nil {
		return err
	}
	return f.Sync()
}
