package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bbolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"redoubt/internal/durable"
)

// Options of Open. The zero value opens an existing file.
type Options struct {
	// Create makes the file when there is none. Without it a missing file is an error, so that a wrong
	// path or an unmounted disk never looks like an empty HSM.
	Create bool
	// Retain is how long old revisions stay readable without a pin; 0 means 5 minutes.
	Retain time.Duration
	// RetainRevs bounds how many old revisions are kept without a pin; 0 means 50,000.
	RetainRevs int
	// MaxBytes limits the size of the file; beyond it writes answer ErrFull. 0 means no limit.
	MaxBytes int64
	// LockWait is how long to wait for another process to let go of the file; 0 means 250 ms.
	LockWait time.Duration

	// testOnlyCommit stands in for the engine's commit, so that tests can fail it.
	testOnlyCommit func(tx *bbolt.Tx) error
}

func (o Options) withDefaults() Options {
	if o.Retain <= 0 {
		o.Retain = 5 * time.Minute
	}
	if o.RetainRevs <= 0 {
		o.RetainRevs = 50_000
	}
	if o.LockWait <= 0 {
		o.LockWait = 250 * time.Millisecond
	}
	return o
}

var (
	// ErrInUse: another process (or another Open in this one) holds the file.
	ErrInUse = errors.New("store file is in use by another process; stop it first, two servers cannot share one store file")
	// ErrFormat: the file is not a store this program can read. The message says which of the causes it is.
	ErrFormat = errors.New("not a store this program can open")
)

// Open opens the store kept in the file at path and starts its writer; Close it to stop that.
// The folder must exist. Errors name the file.
func Open(path string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := prepare(path, o.Create); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	db, err := openEngine(path, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s, err := start(db, path, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	return s, nil
}

// prepare sees to it that a file is there.
func prepare(path string, create bool) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%w: not a regular file", ErrFormat)
	case err == nil && info.Size() == 0:
		return fmt.Errorf("%w: the file is empty; restore it from a copy, or remove it to begin anew", ErrFormat)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, derr := os.Stat(filepath.Dir(path)); derr != nil {
		return fmt.Errorf("the folder for it cannot be used: %w", derr)
	}
	if !create {
		return fmt.Errorf("there is no store file (is the right disk mounted?): %w", fs.ErrNotExist)
	}
	if err := createFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create: %w", err)
	}
	return nil
}

// createFile makes an empty store aside and gives it its name in one step, so that a crash leaves either
// no file or a whole one.
func createFile(path string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".tmp-store-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	aside := filepath.Join(dir, "new")
	db, err := bbolt.Open(aside, 0o600, engineOptions(Options{}))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketData, bucketHistory, bucketLog} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := tx.Bucket(bucketData).SetSequence(firstRev); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		return meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, format))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	image, err := os.ReadFile(aside)
	if err != nil {
		return err
	}
	return durable.CreateExclusive(path, image, 0o600)
}

// engineOptions keeps the freelist in the file: without it a cold open of a large file takes minutes.
func engineOptions(o Options) *bbolt.Options {
	return &bbolt.Options{
		Timeout:      o.LockWait,
		FreelistType: bbolt.FreelistMapType,
		MaxSize:      int(o.MaxBytes),
		NoStatistics: true,
	}
}

// openEngine opens an existing file. The engine trusts its pages, so a cut file makes it panic or fault:
// that becomes an error here.
func openEngine(path string, o Options) (db *bbolt.DB, err error) {
	var f *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			_ = f.Close() // and with it the lock
			db, err = nil, fmt.Errorf("%w: %v; restore the file from a copy", errDamaged, r)
		}
	}()
	eo := engineOptions(o)
	eo.OpenFile = func(name string, flag int, perm os.FileMode) (_ *os.File, err error) {
		f, err = os.OpenFile(name, flag&^os.O_CREATE, perm)
		return f, err
	}
	db, err = bbolt.Open(path, 0o600, eo)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, ErrInUse
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	case err != nil:
		return nil, err
	}
	if err := checkFile(db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	// What a killed process wrote but had not synced yet is visible now: make it as durable as the rest
	// before anyone reads it.
	if err := db.Sync(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkFile tells whether this is a whole file of our format.
func checkFile(db *bbolt.DB, path string) error {
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: %d bytes where %d belong, the end is missing; restore the file from a copy", errDamaged, info.Size(), tx.Size())
		}
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return fmt.Errorf("%w: a database of another program", ErrFormat)
		}
		b := meta.Get(keyFormat)
		if len(b) != 4 {
			return fmt.Errorf("%w: no format number", ErrFormat)
		}
		if n := binary.BigEndian.Uint32(b); n != format {
			return fmt.Errorf("%w: format %d, this program reads format %d; use the version that wrote it, or a newer one", ErrFormat, n, format)
		}
		if v := viewOf(tx); v.data == nil || v.history() == nil || v.log() == nil {
			return fmt.Errorf("%w: a part is missing; restore the file from a copy", errDamaged)
		}
		return nil
	})
}
