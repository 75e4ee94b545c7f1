// Package dir keeps a blob container in a folder of the local file system: one file per object, with the
// object's "/" as folder separator. It is the target for a mounted share or a removable disk, and what the
// development cloud stores its accounts in. Such targets are named in configuration, never by a request.
//
// An object is written under a temporary name, synced, and given its name by a link that fails when the
// name is taken, so it is there whole or not at all after a power loss, and nothing is ever overwritten. The one
// difference from Azure Storage: "a" and "a/b" cannot both be objects.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"redoubt/internal/blob"
	"redoubt/internal/durable"
)

const (
	filePerm   = 0o600
	folderPerm = 0o700
)

// Container is a folder used as a container.
type Container struct{ root string }

var _ blob.Container = (*Container)(nil)

// Open uses the existing folder root; a missing one is blob.ErrNoContainer, never made, because a
// share that is not mounted looks like that.
func Open(root string) (*Container, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open container folder: %w", err)
	}
	c := &Container{root: root}
	if err := c.present(); err != nil {
		return nil, err
	}
	return c, nil
}

// Create makes the folder root (and its parents) when missing and opens it.
func Create(root string) (*Container, error) {
	if err := durable.MkdirAll(root, folderPerm); err != nil {
		return nil, translate("create container folder", root, err)
	}
	return Open(root)
}

// present tells whether the container is still there.
func (c *Container) present() error {
	info, err := os.Stat(c.root)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return fmt.Errorf("%w: there is no folder %s", blob.ErrNoContainer, c.root)
	}
	if err != nil {
		return translate("open", c.root, err)
	}
	return nil
}

// path maps an object's name to its file. CheckName keeps it below the root.
func (c *Container) path(name string) (string, error) {
	if err := blob.CheckName(name); err != nil {
		return "", err
	}
	return filepath.Join(c.root, filepath.FromSlash(name)), nil
}

// URL implements blob.Container: a file URL.
func (c *Container) URL() string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(c.root)}).String()
}

// Put implements blob.Container.
func (c *Container) Put(ctx context.Context, name string, data []byte) error {
	path, err := c.path(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	if err := c.present(); err != nil {
		return err
	}
	err = c.makeFolders(filepath.Dir(path))
	if err == nil {
		err = testOnlyCreate(path, data, filePerm)
	}
	return c.absent("put", name, err)
}

// testOnlyCreate is replaced by the test of a full disk.
var testOnlyCreate = durable.CreateExclusive

// makeFolders makes the folders between the root and folder one by one, each made durable in its parent.
func (c *Container) makeFolders(folder string) error {
	if folder == c.root {
		return nil
	}
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		return nil
	}
	if err := c.makeFolders(filepath.Dir(folder)); err != nil {
		return err
	}
	if err := os.Mkdir(folder, folderPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncDir(filepath.Dir(folder))
}

// Get implements blob.Container.
func (c *Container) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	path, err := c.path(name)
	if err != nil {
		return nil, blob.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return nil, blob.Info{}, fmt.Errorf("get %s: %w", name, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, blob.Info{}, c.absent("get", name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, blob.Info{}, c.absent("get", name, errors.Join(err, f.Close()))
	}
	return blob.Exactly(f, info.Size()), blob.Info{Name: name, Size: info.Size()}, nil
}

// Delete implements blob.Container. The folders around the object stay.
func (c *Container) Delete(ctx context.Context, name string) error {
	path, err := c.path(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil // a folder of objects, not an object
	}
	err = durable.Remove(path)
	if err = c.absent("delete", name, err); errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	return err
}

// absent translates err; a missing file in a missing container is the latter.
func (c *Container) absent(op, name string, err error) error {
	if missing(err) {
		if err := c.present(); err != nil {
			return err
		}
	}
	return translate(op, name, err)
}

// List implements blob.Container. Temporary files and other hidden ones are no objects.
func (c *Container) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		infos, err := c.list(ctx, prefix)
		if err != nil {
			yield(blob.Info{}, err)
			return
		}
		for _, info := range infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (c *Container) list(ctx context.Context, prefix string) ([]blob.Info, error) {
	if err := c.present(); err != nil {
		return nil, err
	}
	var infos []blob.Info
	// The walk starts at the root, whatever the prefix says: a prefix is compared with names, never made a path.
	err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if missing(err) && path != c.root {
			return nil // deleted while we walked
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(c.root, path)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if hidden(name) || !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
				return filepath.SkipDir
			}
			return nil
		}
		if hidden(name) || !strings.HasPrefix(name, prefix) || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if missing(err) {
			return nil
		}
		if err == nil {
			infos = append(infos, blob.Info{Name: name, Size: info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, c.absent("list", prefix, err)
	}
	slices.SortFunc(infos, func(a, b blob.Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

func hidden(name string) bool { return strings.HasPrefix(filepath.Base(name), ".") }

// missing is true for a name that is not there, also because something above it is a file.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// translate gives an error of the file system the sentinel of package blob.
func translate(op, name string, err error) error {
	if err == nil {
		return nil
	}
	for _, t := range []struct{ from, to error }{
		{fs.ErrExist, blob.ErrExists},
		{syscall.ENOSPC, blob.ErrFull},
		{syscall.EDQUOT, blob.ErrFull},
		{syscall.EFBIG, blob.ErrFull},
		{fs.ErrPermission, blob.ErrDenied},
		{syscall.EROFS, blob.ErrDenied},
		{fs.ErrNotExist, blob.ErrNotFound},
		{syscall.EIO, blob.ErrUnreachable},
		{syscall.ESTALE, blob.ErrUnreachable},
	} {
		if errors.Is(err, t.from) {
			return fmt.Errorf("%s %s: %w: %w", op, name, t.to, err)
		}
	}
	if errors.Is(err, syscall.ENOTDIR) && op != "put" {
		return fmt.Errorf("%s %s: %w: %w", op, name, blob.ErrNotFound, err)
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}
