package azhttp

import (
	"crypto/rand"
	"strings"
)

// Route is one row of a route table: a method, a pattern such as "keys/{name}/create" and its handler.
// Literal segments are compared without regard to letter case; the first matching row counts.
type Route[H any] struct {
	Method  string
	Pattern string
	Handle  H // what is found: an edge's own kind of handler
}

type compiled[H any] struct {
	segs  []string // a "{name}" segment is stored as its name with a leading NUL
	route Route[H]
}

// Router finds the row for a request by method and number of segments.
type Router[H any] struct{ byShape map[shape][]compiled[H] }

type shape struct {
	method   string
	segments int
}

// NewRouter compiles a table.
func NewRouter[H any](routes []Route[H]) *Router[H] {
	r := &Router[H]{byShape: make(map[shape][]compiled[H])}
	for _, rt := range routes {
		c := compiled[H]{route: rt}
		for seg := range strings.SplitSeq(rt.Pattern, "/") {
			if strings.HasPrefix(seg, "{") {
				seg = "\x00" + strings.Trim(seg, "{}")
			}
			c.segs = append(c.segs, seg)
		}
		at := shape{rt.Method, len(c.segs)}
		r.byShape[at] = append(r.byShape[at], c)
	}
	return r
}

// Find returns the row for verb and path and sets its parameters.
func (r *Router[H]) Find(rq *Request) (found Route[H], ok bool) {
	for _, c := range r.byShape[shape{rq.Verb(), len(rq.Path)}] {
		if c.match(rq.Path) {
			rq.params = rq.params[:0]
			for i, seg := range c.segs {
				if seg[0] == 0 {
					rq.SetParam(seg[1:], rq.Path[i])
				}
			}
			return c.route, true
		}
	}
	return found, false
}

func (c compiled[H]) match(path []string) bool {
	for i, seg := range c.segs {
		if seg[0] != 0 && !strings.EqualFold(seg, path[i]) {
			return false
		}
	}
	return true
}

// NewGUID draws a random GUID, lower-case (RFC 9562 version 4).
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	out := make([]byte, 0, 36)
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out = append(out, '-')
		}
		out = append(out, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(out)
}

const hexDigits = "0123456789abcdef"
