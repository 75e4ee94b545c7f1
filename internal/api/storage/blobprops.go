package storage

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// contentProperties reads the x-ms-blob-* headers of a request into a fresh record. fallback names
// plain headers that count where the x-ms-blob- one is absent.
func (c *call) contentProperties(fallback ...string) (blobInfo, error) {
	h := c.r.Header
	value := func(name string) string {
		if v := h.Get("x-ms-blob-" + name); v != "" {
			return v
		}
		for _, f := range fallback {
			if strings.EqualFold(f, name) {
				return h.Get(f)
			}
		}
		return ""
	}
	info := blobInfo{
		ContentType:        value("Content-Type"),
		ContentEncoding:    value("Content-Encoding"),
		ContentLanguage:    value("Content-Language"),
		CacheControl:       value("Cache-Control"),
		ContentDisposition: value("Content-Disposition"),
	}
	if info.ContentType == "" {
		info.ContentType = "application/octet-stream"
	}
	if v := h.Get("x-ms-blob-content-md5"); v != "" {
		sum, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(sum) != 16 {
			return info, errInvalidMD5
		}
		info.ContentMD5 = sum
	}
	var err error
	info.Metadata, err = parseMetadata(h)
	return info, err
}

const metadataPrefix = "X-Ms-Meta-"

// maxMetadata is the size of all names and values of a resource's metadata together, in bytes.
const maxMetadata = 8 << 10

// parseMetadata reads x-ms-meta-NAME headers. Names are C# identifiers and, as HTTP field names, do not
// keep their case here.
func parseMetadata(h http.Header) (map[string]string, error) {
	var out map[string]string
	size := 0
	for k, v := range h {
		name, ok := strings.CutPrefix(k, metadataPrefix)
		if !ok {
			continue
		}
		name = strings.ToLower(name)
		if !identifier(name) {
			return nil, refuse(400, "InvalidMetadata", "The specified metadata is invalid. It has characters that are not permitted.")
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = strings.Join(v, ",")
		size += len(name) + len(out[name])
	}
	if size > maxMetadata {
		return nil, refuse(400, "MetadataTooLarge", "The metadata specified exceeds the maximum permissible limit.")
	}
	return out, nil
}

func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func setMetadata(h http.Header, m map[string]string) {
	for k, v := range m {
		h["x-ms-meta-"+k] = []string{v} // not Set, which would capitalize the name
	}
}

// setIf sets a header that has a value.
func setIf(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// blobHeaders describes a blob in the answer's headers, all but its length.
func (c *call) blobHeaders(info blobInfo) {
	h := c.w.Header()
	h.Set("ETag", info.ETag)
	h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	h.Set("x-ms-creation-time", info.Created.UTC().Format(http.TimeFormat))
	h.Set("x-ms-blob-type", "BlockBlob")
	h.Set("x-ms-lease-status", "unlocked")
	h.Set("x-ms-lease-state", "available")
	h.Set("x-ms-server-encrypted", "true")
	h.Set("x-ms-access-tier", "Hot")
	h.Set("x-ms-access-tier-inferred", "true")
	h.Set("Accept-Ranges", "bytes")
	setIf(h, "Content-Type", info.ContentType)
	setIf(h, "Content-Encoding", info.ContentEncoding)
	setIf(h, "Content-Language", info.ContentLanguage)
	setIf(h, "Content-Disposition", info.ContentDisposition)
	setIf(h, "Cache-Control", info.CacheControl)
	if info.ContentMD5 != nil {
		h.Set("Content-MD5", base64.StdEncoding.EncodeToString(info.ContentMD5))
	}
	setMetadata(h, info.Metadata)
	for name, v := range c.grant.overrides {
		h.Set(name, v)
	}
}

// unsetContentHeaders takes back what describes a body that an error answer does not have.
func (c *call) unsetContentHeaders() {
	for _, n := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control", "Content-Md5", "Content-Range"} {
		c.w.Header().Del(n)
	}
}

// blobProperties answers HEAD: everything about a blob but its bytes.
func (c *call) blobProperties() error {
	info, err := c.describe()
	if err != nil {
		return err
	}
	c.blobHeaders(info)
	c.w.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// blobMetadata answers with the metadata alone.
func (c *call) blobMetadata() error {
	info, err := c.describe()
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", info.ETag)
	h.Set("Last-Modified", info.Modified.UTC().Format(http.TimeFormat))
	h.Set("Content-Length", "0")
	setMetadata(h, info.Metadata)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// describe reads the record and checks the request's conditions.
func (c *call) describe() (blobInfo, error) {
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return blobInfo{}, err
	}
	info, err := c.s.disk.stat(c.account.Name, c.container, c.blob)
	if err != nil {
		return info, err
	}
	return info, cond.forRead(info.ETag, info.Modified)
}

// setBlobMetadata replaces all metadata of a blob.
func (c *call) setBlobMetadata() error {
	m, err := parseMetadata(c.r.Header)
	if err != nil {
		return err
	}
	return c.changeBlob(func(info *blobInfo) { info.Metadata = m })
}

// setBlobProperties replaces the content properties; one that is not given is cleared, as in Azure.
func (c *call) setBlobProperties() error {
	props, err := c.contentProperties()
	if err != nil {
		return err
	}
	return c.changeBlob(func(info *blobInfo) {
		info.ContentType, info.ContentEncoding, info.ContentLanguage = props.ContentType, props.ContentEncoding, props.ContentLanguage
		info.ContentDisposition, info.CacheControl, info.ContentMD5 = props.ContentDisposition, props.CacheControl, props.ContentMD5
	})
}

// changeBlob rewrites a blob's record; its bytes stay.
func (c *call) changeBlob(change func(*blobInfo)) error {
	cond, err := parseConditions(c.r.Header)
	if err != nil {
		return err
	}
	con, err := c.s.disk.container(c.account.Name, c.container)
	if err != nil {
		return err
	}
	var next blobInfo
	d, p := c.s.disk, c.place()
	err = d.exclusive(c.account.Name, c.container, con.ID, p, func(old *blobInfo) error {
		if old == nil {
			return errBlobNotFound
		}
		if err := cond.forWrite(old); err != nil {
			return err
		}
		next = *old
		change(&next)
		c.stamp(&next, old)
		return d.put(p, old, next, nil)
	})
	if err != nil {
		return err
	}
	c.written(http.StatusOK, next)
	return nil
}
