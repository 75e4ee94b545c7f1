package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stagingLife is how long uncommitted blocks are kept after the last one came in, as in Azure.
const stagingLife = 7 * 24 * time.Hour

// sweep removes what interrupted work left behind: folders on their way out, temporary files, segments
// that no record names, and blocks nobody committed for a week. It runs before the first request.
func (d *disk) sweep(now time.Time) error {
	accounts, err := os.ReadDir(d.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, a := range accounts {
		path := filepath.Join(d.root, a.Name())
		switch {
		case strings.HasPrefix(a.Name(), trashPrefix):
			err = errors.Join(err, os.RemoveAll(path))
		case a.IsDir() && validAccount(a.Name()):
			err = errors.Join(err, sweepAccount(path, now))
		}
	}
	return err
}

func sweepAccount(dir string, now time.Time) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), trashPrefix):
			err = errors.Join(err, os.RemoveAll(path))
		case e.IsDir() && validContainer(e.Name()):
			err = errors.Join(err, sweepContainer(path, now))
		}
	}
	return err
}

func sweepContainer(dir string, now time.Time) error {
	if _, err := os.Stat(filepath.Join(dir, "container.json")); errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(dir) // creation was interrupted before it was acknowledged
	}
	err := removeTemporary(dir)
	blobs := filepath.Join(dir, "blobs")
	err = errors.Join(err, removeTemporary(blobs))
	records, rerr := os.ReadDir(blobs)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	used := map[string]bool{}
	for _, r := range records {
		var info blobInfo
		if jerr := readJSON(filepath.Join(blobs, r.Name()), &info); jerr != nil {
			// A record that cannot be read may name any segment: leave them all.
			return errors.Join(err, jerr)
		}
		for _, s := range info.Segments {
			used[s.File] = true
		}
	}
	data := filepath.Join(dir, "data")
	segments, rerr := os.ReadDir(data)
	err = errors.Join(err, rerr)
	for _, s := range segments {
		if !used[s.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(data, s.Name())))
		}
	}
	return errors.Join(err, sweepStaging(filepath.Join(dir, "blocks"), now))
}

func sweepStaging(dir string, now time.Time) error {
	folders, err := os.ReadDir(dir)
	for _, f := range folders {
		path := filepath.Join(dir, f.Name())
		info, serr := f.Info()
		if serr == nil && now.Sub(info.ModTime()) > stagingLife {
			err = errors.Join(err, os.RemoveAll(path))
			continue
		}
		err = errors.Join(err, serr, removeTemporary(path))
	}
	return err
}

// removeTemporary deletes the temporary files of a folder.
func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".tmp-") {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
