package storage

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"redoubt/internal/durable"
)

// disk keeps containers and blobs in a folder:
//
//	ACCOUNT/CONTAINER/container.json       the container's record
//	ACCOUNT/CONTAINER/blobs/NAME.json      one record per blob; NAME is encodeName of the blob's name
//	ACCOUNT/CONTAINER/data/RANDOM          segments: the bytes records refer to
//	ACCOUNT/CONTAINER/blocks/NAME/ID       uncommitted blocks of a blob; ID is the block id in hex
//
// A blob exists when its record does. Segments are written and synced first, then the record takes its
// name in one atomic step, so a reader sees the old blob or the new one and a crash leaves at most
// segments that no record names, which sweep removes. Segments are never changed. Committing a block
// list links the blocks into data/ and copies nothing.
type disk struct {
	root string

	mu         sync.Mutex
	containers map[string]*sync.RWMutex // by "account/container": held to write its existence, read to change its blobs
	readers    map[string]*readers      // by place.content: what somebody is reading
	blobs      [64]sync.RWMutex         // by hash of the blob: held to replace its record
}

// readers counts who reads one version of a blob; its segments go when the last one has finished.
type readers struct {
	count   int
	retired []string
}

func newDisk(root string) *disk {
	return &disk{root: root, containers: map[string]*sync.RWMutex{}, readers: map[string]*readers{}}
}

// containerInfo is the content of container.json.
type containerInfo struct {
	ID       string            `json:"id"` // tells a container from a later one of the same name
	ETag     string            `json:"etag"`
	Modified time.Time         `json:"modified"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// blobInfo is the record of one blob.
type blobInfo struct {
	Name               string            `json:"name"`
	ETag               string            `json:"etag"`
	Created            time.Time         `json:"created"`
	Modified           time.Time         `json:"modified"`
	Size               int64             `json:"size"`
	ContentType        string            `json:"contentType,omitempty"`
	ContentEncoding    string            `json:"contentEncoding,omitempty"`
	ContentLanguage    string            `json:"contentLanguage,omitempty"`
	ContentDisposition string            `json:"contentDisposition,omitempty"`
	CacheControl       string            `json:"cacheControl,omitempty"`
	ContentMD5         []byte            `json:"contentMD5,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"`
	Segments           []segment         `json:"segments,omitempty"`
}

// segment is a run of a blob's bytes. Block is the base64 block id, "" for Put Blob.
type segment struct {
	File  string `json:"file"`
	Size  int64  `json:"size"`
	Block string `json:"block,omitempty"`
}

func (d *disk) accountDir(account string) string { return filepath.Join(d.root, account) }
func (d *disk) containerDir(account, container string) string {
	return filepath.Join(d.root, account, container)
}

func (d *disk) containerLock(account, container string) *sync.RWMutex {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := account + "/" + container
	l := d.containers[key]
	if l == nil {
		l = new(sync.RWMutex)
		d.containers[key] = l
	}
	return l
}

// place is where one blob lives.
type place struct {
	dir  string // of the container
	name string
	key  string // encoded name
}

func (d *disk) place(account, container, blob string) place {
	return place{dir: d.containerDir(account, container), name: blob, key: encodeName(blob)}
}

func (p place) record() string          { return filepath.Join(p.dir, "blobs", p.key+".json") }
func (p place) segment(f string) string { return filepath.Join(p.dir, "data", f) }
func (p place) staging() string         { return filepath.Join(p.dir, "blocks", p.key) }

// content identifies the bytes of a version: every commit gives its segments fresh names, a change of
// properties keeps them.
func (p place) content(info blobInfo) string {
	if len(info.Segments) == 0 {
		return ""
	}
	return p.segment(info.Segments[0].File)
}

func (d *disk) blobLock(p place) *sync.RWMutex {
	h := fnv.New32a()
	h.Write([]byte(p.dir + "\x00" + p.key))
	return &d.blobs[h.Sum32()%uint32(len(d.blobs))]
}

// container reads a container's record; errContainerNotFound when there is none.
func (d *disk) container(account, container string) (containerInfo, error) {
	var info containerInfo
	err := readJSON(filepath.Join(d.containerDir(account, container), "container.json"), &info)
	if errors.Is(err, fs.ErrNotExist) {
		return info, errContainerNotFound
	}
	return info, err
}

// createContainer makes an empty container; errContainerExists.
func (d *disk) createContainer(account, container string, info containerInfo) error {
	l := d.containerLock(account, container)
	l.Lock()
	defer l.Unlock()
	if _, err := d.container(account, container); !errors.Is(err, errContainerNotFound) {
		if err == nil {
			return errContainerExists
		}
		return err
	}
	dir := d.containerDir(account, container)
	if err := os.RemoveAll(dir); err != nil { // what a crash left of an earlier attempt
		return err
	}
	for _, sub := range []string{"blobs", "data", "blocks"} {
		if err := durable.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	for _, parent := range []string{dir, d.accountDir(account), d.root} {
		if err := durable.SyncDir(parent); err != nil {
			return err
		}
	}
	info.ID = randomHex()
	return writeJSON(filepath.Join(dir, "container.json"), info)
}

// updateContainer changes a container's record.
func (d *disk) updateContainer(account, container string, change func(*containerInfo) error) (containerInfo, error) {
	l := d.containerLock(account, container)
	l.Lock()
	defer l.Unlock()
	info, err := d.container(account, container)
	if err != nil {
		return info, err
	}
	if err := change(&info); err != nil {
		return info, err
	}
	return info, writeJSON(filepath.Join(d.containerDir(account, container), "container.json"), info)
}

// deleteContainer removes a container with everything in it. It is gone as soon as it has lost its
// name; a crash while its files are removed leaves a folder for sweep.
func (d *disk) deleteContainer(account, container string, check func(containerInfo) error) error {
	l := d.containerLock(account, container)
	l.Lock()
	defer l.Unlock()
	info, err := d.container(account, container)
	if err != nil {
		return err
	}
	if err := check(info); err != nil {
		return err
	}
	return removeTree(d.containerDir(account, container))
}

// containerNames lists an account's containers in name order.
func (d *disk) containerNames(account string) ([]string, error) {
	entries, err := os.ReadDir(d.accountDir(account))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validContainer(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// RemoveAccount deletes what dir holds of an account that no longer exists. The caller has taken the
// account away from Accounts before.
func RemoveAccount(dir, account string) error {
	if !validAccount(account) {
		return fmt.Errorf("storage: remove account: %q is not an account name", account)
	}
	err := removeTree(filepath.Join(dir, account))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeTree takes a folder's name away, durably, and then its content.
func removeTree(dir string) error {
	gone := filepath.Join(filepath.Dir(dir), trashPrefix+randomHex())
	if err := os.Rename(dir, gone); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// trashPrefix marks folders that are being removed; no account or container name begins so.
const trashPrefix = ".deleted-"

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, b, 0o600)
}

func randomHex() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// newETag is a fresh validator in Azure's form, quotes included.
func newETag() string { return `"0x8` + strings.ToUpper(randomHex()[:15]) + `"` }
