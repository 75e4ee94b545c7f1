package storage

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// maxClockSkew is how far a signed request's date may be from the server's clock.
const maxClockSkew = 15 * time.Minute

// authenticateSharedKey checks "Authorization: SharedKey account:base64(mac)"
// (learn.microsoft.com, "Authorize with Shared Key").
func (c *call) authenticateSharedKey(value string, lite bool) (grant, error) {
	name, sig, ok := strings.Cut(value, ":")
	mac, err := base64.StdEncoding.DecodeString(sig)
	if !ok || err != nil {
		return grant{}, refuse(400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format. Check the value of Authorization header.")
	}
	if !slices.Contains(c.account.spellings(), name) {
		return grant{}, authFailed("The account name in the Authorization header is not the account of the request's host.")
	}
	if err := c.checkDate(); err != nil {
		return grant{}, err
	}
	// The service sorts header names with a collation that ignores hyphens; many clients sort bytes.
	// The two differ for few names only, so both orders are tried.
	in := requestToSign{method: c.r.Method, account: name, version: c.version, header: c.r.Header, contentLength: c.r.ContentLength, path: c.rawPath, query: c.query}
	var first string
	for i, less := range []func(a, b string) int{compareCollated, strings.Compare} {
		text := in.sharedKey(less)
		if lite {
			text = in.sharedKeyLite(less)
		}
		if i == 0 {
			first = text
		}
		if signedByAny(c.account.Keys, text, mac) {
			return grant{kind: grantKey}, nil
		}
	}
	return grant{}, authFailed("The MAC signature found in the HTTP request is not the same as any computed signature. Server used following string to sign: '%s'.", first)
}

// checkDate refuses a request signed too long ago, which could be a replay.
func (c *call) checkDate() error {
	v := c.r.Header.Get("x-ms-date")
	if v == "" {
		v = c.r.Header.Get("Date")
	}
	if v == "" {
		return authFailed("The request carries neither an x-ms-date nor a Date header.")
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return authFailed("The request's date '%s' is not in RFC 1123 form.", v)
	}
	if d := c.now.Sub(t); d > maxClockSkew || d < -maxClockSkew {
		return authFailed("Request date header '%s' is more than 15 minutes away from the server's time '%s'.", v, c.now.Format(http.TimeFormat))
	}
	return nil
}

// requestToSign is the part of a request that SharedKey covers.
type requestToSign struct {
	method        string
	account       string
	version       string // x-ms-version
	header        http.Header
	contentLength int64
	path          string // escaped, as sent
	query         url.Values
}

// sharedKey is the string to sign of scheme SharedKey, version 2009-09-19 and later.
func (q *requestToSign) sharedKey(compare func(a, b string) int) string {
	length := ""
	if q.contentLength > 0 || q.contentLength == 0 && q.version < "2015-02-21" && q.header.Get("Content-Length") == "0" {
		length = strconv.FormatInt(q.contentLength, 10)
	}
	lines := []string{
		q.method,
		q.header.Get("Content-Encoding"),
		q.header.Get("Content-Language"),
		length,
		q.header.Get("Content-MD5"),
		q.header.Get("Content-Type"),
		q.date(),
		q.header.Get("If-Modified-Since"),
		q.header.Get("If-Match"),
		q.header.Get("If-None-Match"),
		q.header.Get("If-Unmodified-Since"),
		q.header.Get("Range"),
	}
	return strings.Join(lines, "\n") + "\n" + q.canonicalHeaders(compare) + q.canonicalResource()
}

// sharedKeyLite is the shorter string of scheme SharedKeyLite.
func (q *requestToSign) sharedKeyLite(compare func(a, b string) int) string {
	resource := "/" + q.account + q.path
	if comp := q.query.Get("comp"); comp != "" {
		resource += "?comp=" + comp
	}
	lines := []string{q.method, q.header.Get("Content-MD5"), q.header.Get("Content-Type"), q.date()}
	return strings.Join(lines, "\n") + "\n" + q.canonicalHeaders(compare) + resource
}

// date is empty when x-ms-date, which is signed among the headers, takes its place.
func (q *requestToSign) date() string {
	if q.header.Get("x-ms-date") != "" {
		return ""
	}
	return q.header.Get("Date")
}

// canonicalHeaders lists the x-ms- headers: lower case, sorted, one "name:value" line each.
func (q *requestToSign) canonicalHeaders(compare func(a, b string) int) string {
	values := map[string]string{}
	var names []string
	for k, v := range q.header {
		k = strings.ToLower(k)
		if !strings.HasPrefix(k, "x-ms-") {
			continue
		}
		names = append(names, k)
		values[k] = strings.Join(v, ",")
	}
	slices.SortFunc(names, compare)
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n + ":" + values[n] + "\n")
	}
	return b.String()
}

// canonicalResource is "/account/path" and then the decoded query, one line for each lower-case name.
func (q *requestToSign) canonicalResource() string {
	byName := map[string][]string{}
	for k, v := range q.query {
		k = strings.ToLower(k)
		byName[k] = append(byName[k], v...)
	}
	names := make([]string, 0, len(byName))
	for k := range byName {
		names = append(names, k)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("/" + q.account + q.path)
	for _, n := range names {
		v := slices.Clone(byName[n])
		sort.Strings(v)
		b.WriteString("\n" + n + ":" + strings.Join(v, ","))
	}
	return b.String()
}

// compareCollated orders lower-case header names as the service does: hyphens do not count, and an
// underscore comes before digits, digits before letters.
func compareCollated(a, b string) int {
	x, y := collationKey(a), collationKey(b)
	if d := strings.Compare(x, y); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

func collationKey(s string) string {
	return strings.NewReplacer("-", "", "_", " ").Replace(s)
}
