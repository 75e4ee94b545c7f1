package azhttp

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
)

// Route is one row of a route table: a method, a pattern such as "keys/{name}/create" and its handler.
// Literal segments are compared without regard to letter case; the first matching row counts.
type Route struct {
	Method  string
	Pattern string
	Handle  HandlerFunc
}

type compiled struct {
	segs   []string // a "{name}" segment is stored as its name with a leading NUL
	handle HandlerFunc
}

// Router finds the row for a request by method and number of segments.
type Router struct{ byShape map[shape][]compiled }

type shape struct {
	method   string
	segments int
}

// NewRouter compiles a table.
func NewRouter(routes []Route) *Router {
	r := &Router{byShape: make(map[shape][]compiled)}
	for _, rt := range routes {
		c := compiled{handle: rt.Handle}
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

// Find returns the handler for method and path and fills rq.Params. A POST may carry its intended method
// in X-HTTP-METHOD.
func (r *Router) Find(rq *Request) (HandlerFunc, bool) {
	method := rq.Method
	if m := rq.Header.Get("X-HTTP-METHOD"); method == http.MethodPost && m != "" {
		method = strings.ToUpper(m)
	}
	for _, c := range r.byShape[shape{method, len(rq.Path)}] {
		if params, ok := c.match(rq.Path); ok {
			rq.Params = params
			return c.handle, true
		}
	}
	return nil, false
}

func (c compiled) match(path []string) (map[string]string, bool) {
	for i, seg := range c.segs {
		if seg[0] != 0 && !strings.EqualFold(seg, path[i]) {
			return nil, false
		}
	}
	params := make(map[string]string, 2)
	for i, seg := range c.segs {
		if seg[0] == 0 {
			params[seg[1:]] = path[i]
		}
	}
	return params, true
}

// NewGUID draws a random GUID, lower-case (RFC 9562 version 4).
func NewGUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
