package azhttp

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Appender is a body that appends its own JSON to b. Bodies that are sent often or that carry secrets are: the
// JSON of others goes through buffers of encoding/json that nobody wipes.
type Appender interface{ AppendJSON(b []byte) []byte }

// fixed are headers of every answer (rest-api 1.0). The values are shared by all answers: nobody may change them.
var fixed = []struct {
	name  string
	value []string
}{
	{"Cache-Control", []string{"no-cache"}},
	{"X-Content-Type-Options", []string{"nosniff"}},
	{"Strict-Transport-Security", []string{"max-age=31536000; includeSubDomains"}},
	{"X-Frame-Options", []string{"SAMEORIGIN"}},
	{"Content-Security-Policy", []string{"default-src 'self'"}},
}

var jsonType = []string{"application/json; charset=utf-8"}

// SetHeader sets a header of the answer. name must be in its canonical form.
func (rq *Request) SetHeader(name, value string) {
	if rq.headers == len(rq.singles) {
		rq.W.Header()[name] = []string{value}
		return
	}
	at := rq.headers
	rq.headers++
	rq.singles[at] = value
	rq.W.Header()[name] = rq.singles[at : at+1 : at+1]
}

// Elapsed is how long the request has been worked on.
func (rq *Request) Elapsed() time.Duration { return time.Since(rq.start) }

func (rq *Request) fixedHeaders() {
	h := rq.W.Header()
	for _, f := range fixed {
		h[f.name] = f.value
	}
	rq.SetHeader("X-Ms-Request-Id", rq.ID)
	if id := rq.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 128 {
		rq.SetHeader("X-Ms-Client-Request-Id", id)
	}
}

// Send writes a reply. What ReadBody returned is wiped.
func (rq *Request) Send(rp Reply) {
	if rq.body != nil {
		defer func() { rq.body.free(); rq.body = nil }()
	}
	rq.fixedHeaders()
	h := rq.W.Header()
	for k, v := range rp.Header {
		h[http.CanonicalHeaderKey(k)] = v
	}
	status := rp.Status
	if status == 0 {
		status = http.StatusOK
	}
	rq.outcome.Status = status
	if rp.Body == nil {
		if status != http.StatusNoContent {
			rq.SetHeader("Content-Length", "0")
		}
		rq.W.WriteHeader(status)
		return
	}
	out := newBuffer()
	defer out.free()
	if !out.encode(rp.Body) { // our own wire structs: a programming error, but never a half-written answer
		status = http.StatusInternalServerError
		rq.outcome.Status = status
		out.b = append(out.b[:0], `{"error":{"code":"InternalServerError","message":"An internal error occurred."}}`...)
	}
	h["Content-Type"] = jsonType
	rq.SetHeader("Content-Length", strconv.Itoa(len(out.b)))
	rq.W.WriteHeader(status)
	_, _ = rq.W.Write(out.b) // the client has gone when this fails
}

// encode fills the buffer with the JSON of v.
func (b *buffer) encode(v any) bool {
	if a, ok := v.(Appender); ok {
		b.set(a.AppendJSON(b.b[:0]))
		return true
	}
	j, err := json.Marshal(v)
	b.set(append(b.b[:0], j...))
	return err == nil
}
