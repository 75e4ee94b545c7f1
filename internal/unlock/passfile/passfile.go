// Package passfile is the unlock driver that needs nothing but a file: the sealing key is derived with
// Argon2id from a passphrase kept in a file outside the data directory.
//
// It protects backups, snapshots and discarded disks of the data directory. It protects nothing from
// someone who can read the passphrase file as well, so a passphrase on the same disk is a convenience for
// development and no more. Better places are a tmpfs filled at boot, systemd's LoadCredentialEncrypted=
// (which binds it to the machine's TPM), or a secret mounted by the orchestrator.
//
// The file must be a regular file owned by the user the server runs as, mode 0600 or stricter. One line
// end at its end is not part of the passphrase. It is read when a key must be derived, never kept.
package passfile

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"redoubt/internal/durable"
	"redoubt/internal/secret"
	"redoubt/internal/unlock"
)

// ErrUnsafe: the passphrase file is kept in a way that would not protect it. The message says what to change.
var ErrUnsafe = errors.New("passfile: unsafe passphrase file")

// Driver is an unlock.Driver. It may be used from any goroutine.
//
// Deriving takes some 100 ms and 64 MiB on purpose, so it is done once for each salt and cost, and the
// derived keys stay in memory while the process lives (the roots they protect do as well). All blobs of
// an installation share a salt: Seal takes that of the newest blob opened or sealed.
type Driver struct {
	path string
	cost cost

	mu   sync.Mutex // held while deriving, so that many HSMs opened at once cost one derivation
	keys map[params]secret.Bytes
	last *params // what Seal uses next; nil: draw a salt
}

// New makes a driver that reads its passphrase from path. dataDir, when not empty, is the data directory,
// and a passphrase file below it is refused with ErrUnsafe. The file itself is first looked at when
// something is sealed or opened, so that a server can start locked; Check looks at once.
func New(path, dataDir string) (*Driver, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("passphrase file %s: %w", path, err)
	}
	if dataDir != "" {
		inside, err := within(abs, dataDir)
		if err != nil {
			return nil, fmt.Errorf("passphrase file %s: %w", path, err)
		}
		if inside {
			return nil, fmt.Errorf("%w: %s is inside the data directory %s, so that every copy of the data carries its key; move it elsewhere",
				ErrUnsafe, abs, dataDir)
		}
	}
	return &Driver{path: abs, cost: defaultCost, keys: map[params]secret.Bytes{}}, nil
}

// within tells whether path lies below dir, symbolic links resolved as far as the names exist.
func within(path, dir string) (bool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	rel, err := filepath.Rel(resolve(dir), resolve(path))
	if err != nil {
		return false, err
	}
	return rel == "." || rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), nil
}

func resolve(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolve(parent), filepath.Base(path))
}

// Create writes a fresh random passphrase (256 bits, base64) to path, mode 0600. It never overwrites: the
// error is then fs.ErrExist.
func Create(path string) error {
	b := make([]byte, 32)
	rand.Read(b)
	line := append(base64.RawURLEncoding.AppendEncode(nil, b), '\n')
	defer clear(line)
	if err := durable.CreateExclusive(path, line, 0o600); err != nil {
		return fmt.Errorf("create passphrase file: %w", err)
	}
	return nil
}

// Check reads the passphrase file and reports what is wrong with it.
func (d *Driver) Check() error {
	p, err := readPassphrase(d.path)
	p.Wipe()
	return err
}

// Describe names the driver and its file.
func (d *Driver) Describe() string {
	return fmt.Sprintf("passphrase file %s (Argon2id, AES-256-GCM); protects copies of the data directory only while the file is kept elsewhere", d.path)
}

// Seal implements unlock.Driver.
func (d *Driver) Seal(ctx context.Context, s secret.Bytes, aad []byte) ([]byte, error) {
	p, k, err := d.sealingKey(ctx)
	if err != nil {
		return nil, err
	}
	gcm, err := newGCM(k)
	if err != nil {
		return nil, fmt.Errorf("passfile: %w", err)
	}
	h := p.header()
	return gcm.Seal(h, nil, s.Expose(), boundTo(h, aad)), nil
}

// Open implements unlock.Driver. Every failure is unlock.ErrLocked.
func (d *Driver) Open(ctx context.Context, sealed, aad []byte) (secret.Bytes, error) {
	p, body, err := parse(sealed)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: %w", unlock.ErrLocked, err)
	}
	k, err := d.key(ctx, p)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: %w", unlock.ErrLocked, err)
	}
	gcm, err := newGCM(k)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("%w: %w", unlock.ErrLocked, err)
	}
	plain, err := gcm.Open(nil, nil, body, boundTo(sealed[:headerSize], aad))
	if err != nil {
		d.forget(p)
		return secret.Bytes{}, fmt.Errorf("%w: the passphrase in %s is not the one it was sealed with, or the sealed file was changed or moved; "+
			"put the original passphrase back", unlock.ErrLocked, d.path)
	}
	d.mu.Lock()
	d.last = &p // only now is it known that the passphrase goes with this salt
	d.mu.Unlock()
	return secret.New(plain), nil
}

// key derives, or takes from memory, the key for p.
func (d *Driver) key(ctx context.Context, p params) (secret.Bytes, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keyLocked(ctx, p)
}

func (d *Driver) keyLocked(ctx context.Context, p params) (secret.Bytes, error) {
	if k, ok := d.keys[p]; ok {
		return k, nil
	}
	if err := ctx.Err(); err != nil { // the wait for the lock may have been long
		return secret.Bytes{}, err
	}
	pass, err := readPassphrase(d.path)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer pass.Wipe()
	k := secret.New(argon2.IDKey(pass.Expose(), p.salt[:], p.time, p.memory, p.threads, keySize))
	d.keys[p] = k
	return k, nil
}

// sealingKey picks the salt for the next blob.
func (d *Driver) sealingKey(ctx context.Context) (params, secret.Bytes, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := params{cost: d.cost}
	if d.last != nil {
		p = *d.last
	} else {
		rand.Read(p.salt[:])
	}
	k, err := d.keyLocked(ctx, p)
	if err == nil {
		d.last = &p
	}
	return p, k, err
}

// forget drops a key that did not open what it should have, so that a corrected passphrase file is tried
// without a restart. The key that Seal uses stays: it is known to be good.
func (d *Driver) forget(p params) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || *d.last != p {
		delete(d.keys, p) // not wiped: another goroutine may be using it
	}
}

func newGCM(k secret.Bytes) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.Expose())
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
