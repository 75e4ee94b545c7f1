package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"redoubt/internal/audit"
	"redoubt/internal/unlock"
	"redoubt/internal/unlock/passfile"
)

// place is where a server keeps what must last: store.db, roots/ and audit/ in data, and the passphrase that
// seals the roots.
type place struct{ data, passphrase string }

// devPlace is that of a dev cloud, which has everything in one folder.
func devPlace(dir string) place {
	return place{data: filepath.Join(dir, "data"), passphrase: filepath.Join(dir, "passphrase")}
}

func (p place) store() string { return filepath.Join(p.data, "store.db") }

func (p place) auditDir() string { return filepath.Join(p.data, "audit") }

func (p place) audit(id string) string { return filepath.Join(p.auditDir(), id+".jsonl") }

// roots opens the place of the sealed roots. The passphrase file need not be there yet; see passphraseThere.
func (p place) roots() (*unlock.Roots, error) {
	driver, err := passfile.New(p.passphrase, p.data)
	if err != nil {
		return nil, err
	}
	return unlock.NewRoots(filepath.Join(p.data, "roots"), driver), nil
}

// passphraseThere tells whether the passphrase file exists. One that has gone missing is an error: with a new
// one, every HSM would stay sealed.
func (p place) passphraseThere() (bool, error) {
	_, err := os.Stat(p.passphrase)
	if !errors.Is(err, fs.ErrNotExist) {
		return err == nil, err
	}
	kept, err := os.ReadDir(filepath.Join(p.data, "roots"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if len(kept) > 0 {
		return false, fmt.Errorf("the passphrase file %s is missing, and without it the HSMs' roots in %s cannot be opened: put it back", p.passphrase, p.data)
	}
	return false, nil
}

// devRoots opens the roots, and makes the passphrase that seals them when there is none yet.
func devRoots(p place) (*unlock.Roots, error) {
	if there, err := p.passphraseThere(); err != nil {
		return nil, err
	} else if !there {
		if err := passfile.Create(p.passphrase); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return p.roots()
}

// openAudit opens the audit log of one HSM, or of the control plane, which is not rotated.
func openAudit(p place) func(id string) (*audit.Log, error) {
	return func(id string) (*audit.Log, error) { return openedAudit(id)(audit.Open(p.audit(id))) }
}

// openCut is openAudit for whoever accepts that entries were lost.
func openCut(p place) func(id string) (*audit.Log, error) {
	return func(id string) (*audit.Log, error) { return audit.OpenCut(p.audit(id), audit.Options{}) }
}

// openedAudit adds to the error of a damaged file what to do.
func openedAudit(id string) func(*audit.Log, error) (*audit.Log, error) {
	return func(l *audit.Log, err error) (*audit.Log, error) {
		if errors.Is(err, audit.ErrBroken) {
			whose := "--hsm NAME"
			if id == trailName {
				whose = "--control"
			}
			err = fmt.Errorf("%w. Put the right file back; or, when it is lost, accept that with redoubtd audit accept-loss %s", err, whose)
		}
		return l, err
	}
}
