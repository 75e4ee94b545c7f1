package storage

import (
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxPage is the most entries one answer of a listing holds, and the default.
const maxPage = 5000

// metadataXML encodes a map as one element per name, in name order.
type metadataXML map[string]string

func (m metadataXML) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		if err := e.EncodeElement(m[k], xml.StartElement{Name: xml.Name{Local: k}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// page is what both listings are asked for.
type page struct {
	prefix, delimiter string
	marker            string // as sent, echoed
	from, before      string // first name to list; "" or first name not to list
	max               int
	maxGiven          int // 0: not given
	metadata          bool
}

func (c *call) parsePage() (page, error) {
	q := c.query
	p := page{prefix: q.Get("prefix"), delimiter: q.Get("delimiter"), marker: q.Get("marker"), from: q.Get("startFrom"), before: q.Get("endBefore"), max: maxPage}
	if p.marker != "" {
		from, err := base64.RawURLEncoding.DecodeString(p.marker)
		if err != nil {
			return p, badQuery("marker")
		}
		p.from = string(from)
	}
	if v := q.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return p, badQuery("maxresults")
		}
		if n < 1 {
			return p, refuse(400, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range: maxresults.")
		}
		p.maxGiven, p.max = n, min(n, maxPage)
	}
	for _, v := range strings.Split(q.Get("include"), ",") {
		if v == "metadata" {
			p.metadata = true
		}
	}
	return p, nil
}

func nextMarker(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

// candidates cuts the sorted names down to those of the page's prefix, beginning at its first name.
func candidates(all []named, p page) []named {
	i, _ := slices.BinarySearchFunc(all, max(p.from, p.prefix), func(n named, s string) int { return cmp.Compare(n.name, s) })
	all = all[i:]
	for i, n := range all {
		if !strings.HasPrefix(n.name, p.prefix) || p.before != "" && n.name >= p.before {
			return all[:i]
		}
	}
	return all
}

type blobXML struct {
	XMLName    xml.Name `xml:"Blob"`
	Name       string
	Properties blobPropertiesXML
	Metadata   *metadataXML
	OrMetadata string
}

type blobPropertiesXML struct {
	CreationTime       string `xml:"Creation-Time"`
	LastModified       string `xml:"Last-Modified"`
	Etag               string
	ContentLength      int64  `xml:"Content-Length"`
	ContentType        string `xml:"Content-Type"`
	ContentEncoding    string `xml:"Content-Encoding"`
	ContentLanguage    string `xml:"Content-Language"`
	ContentCRC64       string `xml:"Content-CRC64"`
	ContentMD5         string `xml:"Content-MD5"`
	CacheControl       string `xml:"Cache-Control"`
	ContentDisposition string `xml:"Content-Disposition"`
	BlobType           string
	AccessTier         string
	AccessTierInferred bool
	LeaseStatus        string
	LeaseState         string
	ServerEncrypted    bool
}

type prefixXML struct {
	XMLName xml.Name `xml:"BlobPrefix"`
	Name    string
}

type enumerationXML struct {
	XMLName         xml.Name `xml:"EnumerationResults"`
	ServiceEndpoint string   `xml:",attr"`
	ContainerName   string   `xml:",attr,omitempty"`
	Prefix          string   `xml:",omitempty"`
	Marker          string   `xml:",omitempty"`
	MaxResults      int      `xml:",omitempty"`
	Delimiter       string   `xml:",omitempty"`
	Blobs           *struct{ Items []any }
	Containers      *struct{ Items []any }
	NextMarker      string
}

func (p page) enumeration(c *call) enumerationXML {
	return enumerationXML{ServiceEndpoint: c.endpoint(), ContainerName: c.container, Prefix: p.prefix, Marker: p.marker, MaxResults: p.maxGiven, Delimiter: p.delimiter}
}

// listBlobs answers List Blobs: names in byte order, folded at the delimiter when there is one.
func (c *call) listBlobs() error {
	p, err := c.parsePage()
	if err != nil {
		return err
	}
	if _, err := c.s.disk.container(c.account.Name, c.container); err != nil {
		return err
	}
	all, err := c.s.disk.blobNames(c.account.Name, c.container)
	if err != nil {
		return err
	}
	var items []any
	next := ""
	rest := candidates(all, p)
	for len(rest) > 0 {
		if len(items) == p.max {
			next = nextMarker(rest[0].name)
			break
		}
		if folder, ok := fold(rest[0].name, p); ok {
			items = append(items, prefixXML{Name: folder})
			for len(rest) > 0 && strings.HasPrefix(rest[0].name, folder) {
				rest = rest[1:]
			}
			continue
		}
		item, err := blobItem(rest[0], p.metadata)
		if err != nil {
			return err
		}
		if item != nil {
			items = append(items, *item)
		}
		rest = rest[1:]
	}
	out := p.enumeration(c)
	out.Blobs = &struct{ Items []any }{items}
	out.NextMarker = next
	writeXML(c.w, http.StatusOK, out)
	return nil
}

// fold returns the part of a name up to and with the first delimiter after the prefix.
func fold(name string, p page) (string, bool) {
	if p.delimiter == "" {
		return "", false
	}
	i := strings.Index(name[len(p.prefix):], p.delimiter)
	if i < 0 {
		return "", false
	}
	return name[:len(p.prefix)+i+len(p.delimiter)], true
}

// blobItem reads a record for a listing; nil when the blob has gone meanwhile.
func blobItem(n named, metadata bool) (*blobXML, error) {
	var info blobInfo
	err := readJSON(n.file, &info)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := &blobXML{Name: n.name, Properties: blobPropertiesXML{
		CreationTime:       info.Created.UTC().Format(http.TimeFormat),
		LastModified:       info.Modified.UTC().Format(http.TimeFormat),
		Etag:               strings.Trim(info.ETag, `"`),
		ContentLength:      info.Size,
		ContentType:        info.ContentType,
		ContentEncoding:    info.ContentEncoding,
		ContentLanguage:    info.ContentLanguage,
		ContentMD5:         base64.StdEncoding.EncodeToString(info.ContentMD5),
		CacheControl:       info.CacheControl,
		ContentDisposition: info.ContentDisposition,
		BlobType:           "BlockBlob",
		AccessTier:         "Hot",
		AccessTierInferred: true,
		LeaseStatus:        "unlocked",
		LeaseState:         "available",
		ServerEncrypted:    true,
	}}
	if metadata {
		m := metadataXML(info.Metadata)
		b.Metadata = &m
	}
	return b, nil
}

type containerXML struct {
	XMLName    xml.Name `xml:"Container"`
	Name       string
	Properties struct {
		LastModified                   string `xml:"Last-Modified"`
		Etag                           string
		LeaseStatus                    string
		LeaseState                     string
		DefaultEncryptionScope         string
		DenyEncryptionScopeOverride    bool
		HasImmutabilityPolicy          bool
		HasLegalHold                   bool
		ImmutableStorageWithVersioning bool `xml:"ImmutableStorageWithVersioningEnabled"`
	}
	Metadata *metadataXML
}

// listContainers answers List Containers.
func (c *call) listContainers() error {
	p, err := c.parsePage()
	if err != nil {
		return err
	}
	names, err := c.s.disk.containerNames(c.account.Name)
	if err != nil {
		return err
	}
	all := make([]named, len(names))
	for i, n := range names {
		all[i].name = n
	}
	var items []any
	next := ""
	for _, n := range candidates(all, p) {
		if len(items) == p.max {
			next = nextMarker(n.name)
			break
		}
		info, err := c.s.disk.container(c.account.Name, n.name)
		if errors.Is(err, errContainerNotFound) {
			continue // deleted meanwhile, or never finished
		}
		if err != nil {
			return err
		}
		items = append(items, containerItem(n.name, info, p.metadata))
	}
	out := p.enumeration(c)
	out.Containers = &struct{ Items []any }{items}
	out.NextMarker = next
	writeXML(c.w, http.StatusOK, out)
	return nil
}

func containerItem(name string, info containerInfo, metadata bool) containerXML {
	item := containerXML{Name: name}
	p := &item.Properties
	p.LastModified, p.Etag = info.Modified.UTC().Format(http.TimeFormat), info.ETag
	p.LeaseStatus, p.LeaseState, p.DefaultEncryptionScope = "unlocked", "available", "$account-encryption-key"
	if metadata {
		m := metadataXML(info.Metadata)
		item.Metadata = &m
	}
	return item
}
