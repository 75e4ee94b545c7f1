package storage

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// call is one request on its way through: what it addresses, who asks, and where the answer goes.
type call struct {
	s         *server
	w         http.ResponseWriter
	r         *http.Request
	id        string     // x-ms-request-id
	version   string     // x-ms-version as sent, or the server's default
	now       time.Time  // one instant for the whole request
	query     url.Values // decoded
	rawPath   string     // escaped path as it came over the wire
	account   Account
	container string // "" at account level
	blob      string // "" at account and container level
	op        *operation
	grant     grant // filled by authorize
}

// defaultVersion is echoed to a client that names no version.
const defaultVersion = "2026-06-06"

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r, id: newRequestID(), now: s.now(), version: r.Header.Get("x-ms-version")}
	if c.version == "" {
		c.version = defaultVersion
	}
	h := w.Header()
	h.Set("Server", "Redoubt-Blob/1.0")
	h.Set("x-ms-request-id", c.id)
	h.Set("x-ms-version", c.version)
	if id := r.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= 1024 {
		h.Set("x-ms-client-request-id", id)
	}
	err := c.serve()
	op := "-"
	if c.op != nil {
		op = c.op.name
	}
	log := s.cfg.Log.With("op", op, "account", c.account.Name, "container", c.container, "blob", c.blob, "request_id", c.id)
	if err == nil {
		log.Debug("storage request")
		return
	}
	e, known := asAPIError(err)
	if known {
		log.Debug("storage request refused", "code", e.code)
	} else {
		log.Error("storage request failed", "error", err)
	}
	c.drain()
	writeError(w, r.Method == http.MethodHead, c.id, c.now, e)
}

// serve does the whole work up to the answer; nothing has been written when it returns an error.
func (c *call) serve() error {
	if err := c.address(); err != nil {
		return err
	}
	op, err := findOperation(c)
	if err != nil {
		// An unknown operation is told only to those who may be told about this account at all.
		if aerr := c.authenticateOnly(); aerr != nil {
			return aerr
		}
		return err
	}
	c.op = op
	if err := c.authorize(); err != nil {
		return err
	}
	if err := c.refuseUnsupported(); err != nil {
		return err
	}
	return op.run(c)
}

// drain reads what is left of a refused upload, so that a client that writes its whole body before it
// reads gets to see the refusal instead of a broken connection. A client that waits for 100 Continue
// needs none of that.
func (c *call) drain() {
	if c.r.Body == nil || c.r.Header.Get("Expect") != "" || c.r.ContentLength > c.s.cfg.MaxBody {
		return
	}
	_, _ = io.CopyN(io.Discard, c.r.Body, c.s.cfg.MaxBody)
}

// address finds account, container and blob in host and path.
func (c *call) address() error {
	name, ok := accountLabel(c.r.Host, c.s.cfg.Suffixes)
	if !ok {
		return refuse(400, "InvalidUri", "The host of the request is not a blob endpoint of this server.")
	}
	acct, ok := c.s.cfg.Accounts.Account(name)
	if !ok || !validAccount(name) {
		return refuse(404, "ResourceNotFound", "The specified resource does not exist: this server has no storage account of that name.")
	}
	acct.Name = name
	c.account = acct
	c.rawPath = rawPath(c.r)
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badQuery("query string")
	}
	c.query = q
	c.container, c.blob, err = splitPath(c.rawPath)
	return err
}

// accountLabel takes the first label of a host, lower-cased, when the rest is one of the suffixes.
func accountLabel(host string, suffixes []string) (string, bool) {
	host = strings.ToLower(withoutPort(host))
	label, rest, ok := strings.Cut(host, ".")
	if !ok || label == "" || rest == "" {
		return "", false
	}
	if len(suffixes) == 0 {
		return label, true
	}
	for _, s := range suffixes {
		if strings.EqualFold(withoutPort(strings.TrimPrefix(s, ".")), rest) {
			return label, true
		}
	}
	return "", false
}

func withoutPort(host string) string {
	if h, _, ok := strings.Cut(host, ":"); ok {
		return h
	}
	return host
}

// rawPath is the path exactly as the client sent (and signed) it.
func rawPath(r *http.Request) string {
	p := r.RequestURI
	if !strings.HasPrefix(p, "/") { // absolute form, or a request made in a test
		p = r.URL.EscapedPath()
	}
	p, _, _ = strings.Cut(p, "?")
	if p == "" {
		return "/"
	}
	return p
}

// splitPath turns an escaped path into container and blob name. Segments are never cleaned: "a/../b"
// is a blob name like any other. A backslash is a slash, as in Azure.
func splitPath(raw string) (container, blob string, err error) {
	rest := strings.TrimPrefix(raw, "/")
	first, tail, _ := strings.Cut(rest, "/")
	container, err1 := url.PathUnescape(first)
	blob, err2 := url.PathUnescape(tail)
	if err1 != nil || err2 != nil {
		return "", "", errInvalidURI
	}
	blob = strings.ReplaceAll(blob, `\`, "/")
	if container == "" {
		if blob != "" {
			return "", "", errInvalidURI
		}
		return "", "", nil
	}
	if !validContainer(container) {
		return "", "", refuse(400, "InvalidResourceName", "The specified resource name contains invalid characters.")
	}
	if blob != "" && !validBlobName(blob) {
		return "", "", refuse(400, "InvalidResourceName", "The specified blob name is too long or contains characters that are not allowed.")
	}
	return container, blob, nil
}

func validAccount(s string) bool {
	if len(s) < 3 || len(s) > 24 {
		return false
	}
	for i := range len(s) {
		if !lowerOrDigit(s[i]) {
			return false
		}
	}
	return true
}

// validContainer: 3 to 63 lower-case letters, digits and single hyphens between them.
func validContainer(s string) bool {
	if len(s) < 3 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
		return false
	}
	for i := range len(s) {
		if !lowerOrDigit(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func lowerOrDigit(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }

// validBlobName: 1 to 1024 characters that an XML listing can carry.
func validBlobName(s string) bool {
	if s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > 1024 {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return true
}

// unsupportedHeaders change what is stored or how; ignoring them would break a promise to the client.
var unsupportedHeaders = []struct{ prefix, what string }{
	{"X-Ms-Copy-Source", "copying blobs"},
	{"X-Ms-Encryption-Key", "encryption with customer-provided keys"},
	{"X-Ms-Encryption-Scope", "encryption scopes"},
	{"X-Ms-Tags", "blob index tags"},
	{"X-Ms-If-Tags", "blob index tags"},
	{"X-Ms-Structured-Body", "structured message bodies"},
	{"X-Ms-Immutability-Policy", "immutability policies"},
	{"X-Ms-Legal-Hold", "legal holds"},
	{"X-Ms-Lease-Id", "leases"},
	{"X-Ms-Source-", "copying blobs"},
}

func (c *call) refuseUnsupported() error {
	for name := range c.r.Header {
		for _, u := range unsupportedHeaders {
			if strings.HasPrefix(name, u.prefix) {
				return notImplemented(u.what)
			}
		}
	}
	if c.query.Get("snapshot") != "" || c.query.Get("versionid") != "" {
		return notImplemented("snapshots and versions")
	}
	return nil
}

// body returns the request body, limited and of announced length. A body that ends early is
// io.ErrUnexpectedEOF.
func (c *call) body() (io.Reader, int64, error) {
	n := c.r.ContentLength
	switch {
	case n < 0:
		return nil, 0, errNoLength
	case n > c.s.cfg.MaxBody:
		return nil, 0, errBodyTooLarge
	}
	return &exactReader{r: c.r.Body, left: n}, n, nil
}

// exactReader yields exactly the announced number of bytes.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if e.left > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
