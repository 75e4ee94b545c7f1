package storage

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// conditions are the conditional headers of a request.
type conditions struct {
	match, noneMatch  string
	since, unmodified time.Time
}

func parseConditions(h http.Header) (conditions, error) {
	c := conditions{match: h.Get("If-Match"), noneMatch: h.Get("If-None-Match")}
	for name, into := range map[string]*time.Time{"If-Modified-Since": &c.since, "If-Unmodified-Since": &c.unmodified} {
		v := h.Get(name)
		if v == "" {
			continue
		}
		t, err := http.ParseTime(v)
		if err != nil {
			return c, badHeader(name)
		}
		*into = t
	}
	return c, nil
}

// forRead checks them for a resource that exists.
func (c conditions) forRead(etag string, modified time.Time) error {
	modified = modified.Truncate(time.Second)
	switch {
	case c.match != "" && !etagIn(c.match, etag):
		return errConditionNotMet
	case !c.unmodified.IsZero() && modified.After(c.unmodified):
		return errConditionNotMet
	case c.noneMatch != "" && etagIn(c.noneMatch, etag):
		return errNotModified
	case c.noneMatch == "" && !c.since.IsZero() && !modified.After(c.since):
		return errNotModified
	}
	return nil
}

// forWrite checks them for a blob that is about to change; nil means there is none yet.
func (c conditions) forWrite(old *blobInfo) error {
	if old == nil {
		if c.match != "" {
			return errConditionNotMet
		}
		return nil
	}
	if strings.TrimSpace(c.noneMatch) == "*" {
		return errBlobExists
	}
	if err := c.forRead(old.ETag, old.Modified); err != nil {
		return errConditionNotMet
	}
	return nil
}

// forContainer checks them for a container that is about to change.
func (c conditions) forContainer(info containerInfo) error {
	if err := c.forRead(info.ETag, info.Modified); err != nil {
		return errConditionNotMet
	}
	return nil
}

// etagIn looks for a validator in a comma-separated list; quotes are optional and "*" is any.
func etagIn(list, etag string) bool {
	for _, t := range strings.Split(list, ",") {
		t = strings.TrimSpace(t)
		if t == "*" || strings.Trim(t, `"`) == strings.Trim(etag, `"`) {
			return true
		}
	}
	return false
}

var errInvalidRange = refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range specified is invalid for the current size of the resource.")

// parseRange reads "bytes=a-b" or "bytes=a-" for a blob of the given size and returns offset and
// length. As in Azure there is one range only, and none counted from the end.
func parseRange(s string, size int64) (off, n int64, err error) {
	spec, ok := strings.CutPrefix(strings.TrimSpace(s), "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	first, err := parseDigits(from)
	if !ok || !dash || err != nil {
		return 0, 0, badHeader("Range")
	}
	last := size - 1
	if to != "" {
		if last, err = parseDigits(to); err != nil || last < first {
			return 0, 0, badHeader("Range")
		}
	}
	if first >= size {
		return 0, 0, errInvalidRange
	}
	last = min(last, size-1)
	return first, last - first + 1, nil
}

// parseDigits is ParseInt without a sign.
func parseDigits(s string) (int64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(s, 10, 64)
}
