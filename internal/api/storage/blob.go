package storage

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// putBlob stores a whole block blob. The body goes to a fresh segment first; the blob changes in one
// step when all of it is on the medium.
func (c *call) putBlob() error {
	switch t := c.r.Header.Get("x-ms-blob-type"); t {
	case "BlockBlob":
	case "":
		return missingHeader("x-ms-blob-type")
	case "PageBlob", "AppendBlob":
		return notImplemented(t)
	default:
		return badHeader("x-ms-blob-type")
	}
	body, _, err := c.body()
	if err != nil {
		return err
	}
	want, err := c.expectedDigest()
	if err != nil {
		return err
	}
	next, err := c.contentProperties("Content-Type", "Content-Encoding", "Content-Language", "Cache-Control")
	if err != nil {
		return err
	}
	con, cond, err := c.beginWrite()
	if err != nil {
		return err
	}
	d, p := c.s.disk, c.place()
	file, sum, err := d.writeSegment(p, body)
	if err != nil {
		return err
	}
	fresh := []string{file}
	stored := false
	err = want.check(sum)
	if err == nil {
		err = d.exclusive(c.account.Name, c.container, con.ID, p, func(old *blobInfo) error {
			if err := c.mayReplace(old, cond); err != nil {
				return err
			}
			if next.ContentMD5 == nil {
				next.ContentMD5 = sum.md5
			}
			next.Size = sum.size
			next.Segments = []segment{{File: file, Size: sum.size}}
			c.stamp(&next, old)
			stored = true // from here on put looks after the segment
			if err := d.put(p, old, next, fresh); err != nil {
				return err
			}
			return dropStaging(p)
		})
	}
	if err != nil {
		if !stored {
			_ = d.removeSegments(p, fresh) // else sweep
		}
		return err
	}
	c.writeDigest(sum)
	c.written(http.StatusCreated, next)
	return nil
}

func (c *call) place() place { return c.s.disk.place(c.account.Name, c.container, c.blob) }

// beginWrite finds the container and refuses early what the commit would refuse later, before the body
// is read.
func (c *call) beginWrite() (containerInfo, conditions, error) {
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return containerInfo{}, cond, err
	}
	con, err := c.s.disk.container(c.account.Name, c.container)
	if err != nil {
		return con, cond, err
	}
	info, err := c.s.disk.stat(c.account.Name, c.container, c.blob)
	switch {
	case err == nil:
		return con, cond, c.mayReplace(&info, cond)
	case errors.Is(err, errBlobNotFound):
		return con, cond, c.mayReplace(nil, cond)
	}
	return con, cond, err
}

// mayReplace checks the request's conditions and the create-only permission against what is there.
func (c *call) mayReplace(old *blobInfo, cond conditions) error {
	if err := cond.forWrite(old); err != nil {
		return err
	}
	if old != nil && c.createOnly() {
		return errBlobOverwrite
	}
	return nil
}

// stamp fills in what every new record has.
func (c *call) stamp(next, old *blobInfo) {
	next.Name, next.ETag, next.Modified, next.Created = c.blob, newETag(), c.now, c.now
	if old != nil {
		next.Created = old.Created
	}
}

// expected are the digests a client announced for its body; nil ones were not.
type expected struct{ md5, crc64 []byte }

func (c *call) expectedDigest() (expected, error) {
	var e expected
	var err error
	if v := c.r.Header.Get("Content-MD5"); v != "" {
		if e.md5, err = base64.StdEncoding.DecodeString(v); err != nil || len(e.md5) != 16 {
			return e, errInvalidMD5
		}
	}
	if v := c.r.Header.Get("x-ms-content-crc64"); v != "" {
		if e.crc64, err = base64.StdEncoding.DecodeString(v); err != nil || len(e.crc64) != 8 {
			return e, badHeader("x-ms-content-crc64")
		}
	}
	return e, nil
}

func (e expected) check(got digest) error {
	if e.md5 != nil && !bytes.Equal(e.md5, got.md5) {
		return errMD5Mismatch
	}
	if e.crc64 != nil && !bytes.Equal(e.crc64, got.crc64) {
		return errCRC64Mismatch
	}
	return nil
}

func (c *call) writeDigest(sum digest) {
	h := c.w.Header()
	h.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum.md5))
	h.Set("x-ms-content-crc64", base64.StdEncoding.EncodeToString(sum.crc64))
}

// written answers a change of a blob.
func (c *call) written(status int, info blobInfo) {
	h := c.w.Header()
	h.Set("ETag", info.ETag)
	h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	h.Set("x-ms-request-server-encrypted", "true")
	h.Set("Content-Length", "0")
	c.w.WriteHeader(status)
}

// getBlob sends a blob or a range of it.
func (c *call) getBlob() error {
	b, err := c.s.disk.open(c.account.Name, c.container, c.blob)
	if err != nil {
		return err
	}
	defer b.Close()
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return err
	}
	c.blobHeaders(b.info) // an answer 304 or 412 carries them too
	if err := cond.forRead(b.info.ETag, b.info.Modified); err != nil {
		c.unsetContentHeaders()
		return err
	}
	value := c.r.Header.Get("x-ms-range")
	if value == "" {
		value = c.r.Header.Get("Range")
	}
	h := c.w.Header()
	off, n, status := int64(0), b.info.Size, http.StatusOK
	if value != "" {
		if off, n, err = parseRange(value, b.info.Size); err != nil {
			c.unsetContentHeaders()
			if errors.Is(err, errInvalidRange) {
				h.Set("Content-Range", "bytes */"+strconv.FormatInt(b.info.Size, 10))
			}
			return err
		}
		status = http.StatusPartialContent
		h.Set("Content-Range", "bytes "+strconv.FormatInt(off, 10)+"-"+strconv.FormatInt(off+n-1, 10)+"/"+strconv.FormatInt(b.info.Size, 10))
		if md5 := h.Get("Content-MD5"); md5 != "" {
			h.Set("x-ms-blob-content-md5", md5)
			h.Del("Content-MD5")
		}
	}
	if err := c.rangeDigest(b, off, n, value != ""); err != nil {
		c.unsetContentHeaders()
		return err
	}
	body, err := b.section(off, n)
	if err != nil {
		c.unsetContentHeaders()
		return err
	}
	defer body.Close()
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	c.w.WriteHeader(status)
	if _, err := io.CopyBuffer(struct{ io.Writer }{c.w}, body, make([]byte, 256<<10)); err != nil {
		if c.r.Context().Err() == nil {
			c.s.cfg.Log.Error("storage: sending a blob", "account", c.account.Name, "container", c.container, "blob", c.blob, "error", err)
		}
		panic(http.ErrAbortHandler) // a broken connection, never a short blob that looks whole
	}
	return nil
}

// maxRangeDigest is the longest range whose MD5 or CRC-64 a client may ask for.
const maxRangeDigest = 4 << 20

// rangeDigest adds the digest of the range when the request asks for it.
func (c *call) rangeDigest(b *openBlob, off, n int64, ranged bool) error {
	wantMD5 := strings.EqualFold(c.r.Header.Get("x-ms-range-get-content-md5"), "true")
	wantCRC := strings.EqualFold(c.r.Header.Get("x-ms-range-get-content-crc64"), "true")
	if !wantMD5 && !wantCRC {
		return nil
	}
	if !ranged || n > maxRangeDigest {
		return refuse(400, "InvalidHeaderValue", "A digest can be asked for only together with a range of at most 4 MiB.")
	}
	s, err := b.section(off, n)
	if err != nil {
		return err
	}
	defer s.Close()
	sum, err := copyHashed(io.Discard, s)
	if err != nil {
		return err
	}
	if wantMD5 {
		c.w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum.md5))
	}
	if wantCRC {
		c.w.Header().Set("x-ms-content-crc64", base64.StdEncoding.EncodeToString(sum.crc64))
	}
	return nil
}

// deleteBlob removes a blob.
func (c *call) deleteBlob() error {
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return err
	}
	con, err := c.s.disk.container(c.account.Name, c.container)
	if err != nil {
		return err
	}
	if strings.EqualFold(c.r.Header.Get("x-ms-delete-snapshots"), "only") {
		return notImplemented("snapshots")
	}
	d, p := c.s.disk, c.place()
	err = d.exclusive(c.account.Name, c.container, con.ID, p, func(old *blobInfo) error {
		if old == nil {
			return errBlobNotFound
		}
		if err := cond.forWrite(old); err != nil {
			return err
		}
		return d.delete(p, *old)
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("x-ms-delete-type-permanent", "true")
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
