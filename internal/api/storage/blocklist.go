package storage

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"hash/crc64"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"redoubt/internal/durable"
)

const (
	maxBlocks        = 50_000   // in one blob
	maxBlockIDLength = 64       // bytes, decoded
	maxBlockListBody = 16 << 20 // bytes; 50,000 of the longest entries need less than 8 MiB
)

// putBlock stages one block. It becomes part of the blob when a block list names it.
func (c *call) putBlock() error {
	id, err := parseBlockID(c.query.Get("blockid"))
	if err != nil {
		return err
	}
	body, n, err := c.body()
	if err != nil {
		return err
	}
	if n == 0 {
		return badHeader("Content-Length")
	}
	want, err := c.expectedDigest()
	if err != nil {
		return err
	}
	d, p := c.s.disk, c.place()
	con, err := d.container(c.account.Name, c.container)
	if err != nil {
		return err
	}
	file, sum, err := d.writeSegment(p, body)
	if err != nil {
		return err
	}
	if err = want.check(sum); err == nil {
		err = d.exclusive(c.account.Name, c.container, con.ID, p, func(*blobInfo) error {
			if err := durable.MkdirAll(p.staging(), 0o700); err != nil {
				return err
			}
			if err := os.Rename(p.segment(file), filepath.Join(p.staging(), id)); err != nil {
				return err
			}
			return durable.SyncDir(p.staging())
		})
	}
	if err != nil {
		_ = d.removeSegments(p, []string{file}) // else sweep
		return err
	}
	c.writeDigest(sum)
	c.w.Header().Set("x-ms-request-server-encrypted", "true")
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// parseBlockID checks a base64 block id and returns it in hex, the form used as a file name.
func parseBlockID(s string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) == 0 || len(raw) > maxBlockIDLength {
		return "", errInvalidBlockID
	}
	return hex.EncodeToString(raw), nil
}

// blockRef is one entry of a block list.
type blockRef struct {
	from string // Latest, Committed or Uncommitted
	id   string // hex
}

// parseBlockList reads the body of Put Block List. The order of the entries is the order of the bytes.
func parseBlockList(body []byte) ([]blockRef, error) {
	var in struct {
		XMLName xml.Name `xml:"BlockList"`
		Blocks  []struct {
			XMLName xml.Name
			ID      string `xml:",chardata"`
		} `xml:",any"`
	}
	if err := decodeXML(bytes.NewReader(body), &in); err != nil {
		return nil, err
	}
	if len(in.Blocks) > maxBlocks {
		return nil, refuse(400, "BlockListTooLong", "The block list may not contain more than 50,000 blocks.")
	}
	out := make([]blockRef, 0, len(in.Blocks))
	for _, b := range in.Blocks {
		id, err := parseBlockID(strings.TrimSpace(b.ID))
		if err != nil {
			return nil, err
		}
		switch b.XMLName.Local {
		case "Latest", "Committed", "Uncommitted":
		default:
			return nil, errBadXML
		}
		out = append(out, blockRef{from: b.XMLName.Local, id: id})
	}
	return out, nil
}

// putBlockList makes staged and earlier committed blocks the blob's content.
func (c *call) putBlockList() error {
	list, sum, err := c.readBlockList()
	if err != nil {
		return err
	}
	next, err := c.contentProperties()
	if err != nil {
		return err
	}
	con, cond, err := c.beginWrite()
	if err != nil {
		return err
	}
	d, p := c.s.disk, c.place()
	err = d.exclusive(c.account.Name, c.container, con.ID, p, func(old *blobInfo) error {
		if err := c.mayReplace(old, cond); err != nil {
			return err
		}
		segments, err := d.linkBlocks(p, old, list, c.s.cfg.MaxBlob)
		fresh := make([]string, len(segments))
		for i, s := range segments {
			fresh[i] = s.File
			next.Size += s.Size
		}
		if err != nil {
			return errors.Join(err, d.removeSegments(p, fresh))
		}
		next.Segments = segments
		c.stamp(&next, old)
		if err := d.put(p, old, next, fresh); err != nil {
			return err
		}
		return dropStaging(p)
	})
	if err != nil {
		return err
	}
	c.writeDigest(sum)
	c.written(http.StatusCreated, next)
	return nil
}

// readBlockList reads and checks the whole body; the digests are of the body, as Azure returns them.
func (c *call) readBlockList() ([]blockRef, digest, error) {
	want, err := c.expectedDigest()
	if err != nil {
		return nil, digest{}, err
	}
	r, n, err := c.body()
	if err != nil {
		return nil, digest{}, err
	}
	if n > maxBlockListBody {
		return nil, digest{}, errBodyTooLarge
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, digest{}, err
	}
	m, crc := md5.Sum(body), crc64.New(crcTable)
	crc.Write(body)
	sum := digest{size: n, md5: m[:], crc64: wireCRC(crc)}
	if err := want.check(sum); err != nil {
		return nil, sum, err
	}
	list, err := parseBlockList(body)
	return list, sum, err
}

// linkBlocks gives every listed block a fresh name in data/, without copying. On an error the links
// made so far are returned, to be removed.
func (d *disk) linkBlocks(p place, old *blobInfo, list []blockRef, limit int64) ([]segment, error) {
	committed := map[string]string{} // hex id -> path
	if old != nil {
		for _, s := range old.Segments {
			if id, err := parseBlockID(s.Block); err == nil {
				committed[id] = p.segment(s.File)
			}
		}
	}
	var out []segment
	var total int64
	for _, ref := range list {
		path, err := findBlock(p, ref, committed)
		if err != nil {
			return out, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return out, err
		}
		if total += info.Size(); total > limit {
			return out, refuse(413, "RequestBodyTooLarge", "The blocks together are larger than a blob may be on this server.")
		}
		file := randomHex()
		if err := os.Link(path, p.segment(file)); err != nil {
			return out, err
		}
		raw, _ := hex.DecodeString(ref.id) // parseBlockID made it
		out = append(out, segment{File: file, Size: info.Size(), Block: base64.StdEncoding.EncodeToString(raw)})
	}
	return out, durable.SyncDir(filepath.Join(p.dir, "data"))
}

func findBlock(p place, ref blockRef, committed map[string]string) (string, error) {
	if ref.from != "Committed" {
		path := filepath.Join(p.staging(), ref.id)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if ref.from != "Uncommitted" {
		if path, ok := committed[ref.id]; ok {
			return path, nil
		}
	}
	return "", errInvalidBlockList
}

type blockXML struct {
	Name string
	Size int64
}

type blockListXML struct {
	XMLName     xml.Name   `xml:"BlockList"`
	Committed   []blockXML `xml:"CommittedBlocks>Block"`
	Uncommitted []blockXML `xml:"UncommittedBlocks>Block"`
}

// getBlockList tells which blocks a blob is made of and which are waiting.
func (c *call) getBlockList() error {
	kind := strings.ToLower(c.query.Get("blocklisttype"))
	if kind == "" {
		kind = "committed"
	}
	if kind != "committed" && kind != "uncommitted" && kind != "all" {
		return badQuery("blocklisttype")
	}
	d, p := c.s.disk, c.place()
	info, err := d.stat(c.account.Name, c.container, c.blob)
	absent := errors.Is(err, errBlobNotFound)
	if err != nil && !absent {
		return err
	}
	staged, err := d.stagedBlocks(p)
	if err != nil {
		return err
	}
	if absent && len(staged) == 0 {
		return errBlobNotFound
	}
	if cond, err := parseConditions(c.r.Header); err != nil {
		return err
	} else if !absent {
		if err := cond.forRead(info.ETag, info.Modified); err != nil {
			return err
		}
	}
	var out blockListXML
	if kind != "uncommitted" {
		for _, s := range info.Segments {
			if s.Block != "" {
				out.Committed = append(out.Committed, blockXML{Name: s.Block, Size: s.Size})
			}
		}
	}
	if kind != "committed" {
		out.Uncommitted = staged
	}
	h := c.w.Header()
	if !absent {
		h.Set("ETag", info.ETag)
		h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	}
	h.Set("x-ms-blob-content-length", strconv.FormatInt(info.Size, 10))
	writeXML(c.w, http.StatusOK, out)
	return nil
}

// stagedBlocks lists the uncommitted blocks of a blob, by id.
func (d *disk) stagedBlocks(p place) ([]blockXML, error) {
	l := d.blobLock(p)
	l.RLock()
	defer l.RUnlock()
	var out []blockXML
	entries, err := os.ReadDir(p.staging())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		raw, err := hex.DecodeString(e.Name())
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		out = append(out, blockXML{Name: base64.StdEncoding.EncodeToString(raw), Size: info.Size()})
	}
	return out, nil
}
