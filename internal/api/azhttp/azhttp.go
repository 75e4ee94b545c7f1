// Package azhttp is what every Azure-shaped endpoint shares: request ids and fixed headers, routing on the
// raw path, reading bodies, bearer tokens, the one error table, long-running-operation headers.
//
// Paths are never cleaned or redirected: clients send "//keys", "///providers" and trailing slashes, and
// a redirect would turn their POST into a GET.
package azhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/hsm"
)

// Request is one request on its way to a handler.
type Request struct {
	*http.Request
	W  http.ResponseWriter
	ID string // x-ms-request-id
	// Traced tells that the request has its audit entry, or had one coming when the limit on refusals kept it out.
	Traced bool
	Path   []string // non-empty path segments, unescaped one by one

	// What becomes known on the way, for the Observer.
	Operation hsm.Operation // 0 while none was found
	HSM       string        // resource name
	Principal string        // object id, once the token was believed

	outcome Outcome

	start    time.Time
	params   []param
	body     *buffer   // what ReadBody returned lies in it
	headers  int       // how many of singles are taken
	segments [8]string // what Path lies in, unless it is longer
	values   [4]param  // likewise params
	singles  [8]string // likewise header values, see SetHeader
}

// param is the value of a {name} in the pattern of a route.
type param struct{ name, value string }

// Param is the value of a {name} in the pattern of the route, "" when it has none of this name.
func (rq *Request) Param(name string) string {
	for _, p := range rq.params {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// SetParam sets what Param returns.
func (rq *Request) SetParam(name, value string) { rq.params = append(rq.params, param{name, value}) }

// Verb is the method the client means: a POST may carry another one in X-HTTP-METHOD.
func (rq *Request) Verb() string {
	if m := rq.Header.Get("X-HTTP-METHOD"); rq.Method == http.MethodPost && m != "" {
		return strings.ToUpper(m)
	}
	return rq.Method
}

// Reply is what a handler answers. Body is encoded as JSON; nil sends none. Header values replace.
type Reply struct {
	Status int // 0 means 200
	Body   any
	Header http.Header
}

// OK is a 200 with a body.
func OK(body any) (Reply, error) { return Reply{Body: body}, nil }

// Accepted is a 202 for a long-running operation. header is "Azure-AsyncOperation" or "Location".
func Accepted(body any, header, location string) (Reply, error) {
	return Reply{Status: http.StatusAccepted, Body: body, Header: http.Header{header: {location}, "Retry-After": {"1"}}}, nil
}

// NewRequest gives r its id and splits its path.
func NewRequest(w http.ResponseWriter, r *http.Request) (*Request, error) {
	rq := &Request{Request: r, W: w, ID: NewGUID(), start: time.Now()}
	rq.Path, rq.params = rq.segments[:0], rq.values[:0]
	for seg := range strings.SplitSeq(r.URL.EscapedPath(), "/") {
		if seg == "" {
			continue
		}
		s, err := url.PathUnescape(seg)
		if err != nil {
			return rq, Bad("The request path is not valid.")
		}
		rq.Path = append(rq.Path, s)
	}
	return rq, nil
}

// MaxBody is the largest body a handler reads unless it asks for another limit: a security domain for
// ten officers with 4096-bit keys is about 20 KB.
const MaxBody = 1 << 20

// ReadBody reads the whole body, of at most MaxBody bytes. How long that may take is the front's matter (Pace).
// What it returns is good until the answer is sent, and is wiped then.
func (rq *Request) ReadBody() ([]byte, error) { return rq.ReadBodyUpTo(MaxBody) }

// ReadBodyUpTo is ReadBody with a limit of its own.
func (rq *Request) ReadBodyUpTo(limit int64) ([]byte, error) {
	body := rq.Body
	if n := rq.ContentLength; n < 0 || n > limit {
		body = http.MaxBytesReader(rq.W, body, limit) // else the server reads no more than n
	}
	if rq.body == nil {
		rq.body = newBuffer()
	}
	err := rq.body.readAll(body, rq.ContentLength)
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return nil, fmt.Errorf("the request body is larger than %d bytes: %w", big.Limit, err)
	case tooSlow(err):
		return nil, &Problem{Status: http.StatusRequestTimeout, Code: "RequestTimeout", Message: "The request body came too slowly; send the request again."}
	case err != nil:
		return nil, Bad("The request body could not be read: it ended early.")
	}
	return rq.body.b, nil
}

// Decode reads a JSON body into v. Unknown members are ignored, as the service does: clients send
// read-only ones back.
func (rq *Request) Decode(v any) error {
	b, err := rq.ReadBody()
	if err != nil {
		return err
	}
	return DecodeBody(b, v)
}

// DecodeBody is Decode for a body that has been read.
func DecodeBody(b []byte, v any) error {
	if len(b) == 0 {
		return Bad("The request needs a JSON body.")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return Bad("The request body is not valid: " + jsonReason(err))
	}
	return nil
}

func jsonReason(err error) string {
	var own *Problem
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &own): // from a wire type of ours
		return own.Message
	case errors.As(err, &typ) && typ.Field == "":
		return fmt.Sprintf("it cannot be a JSON %s.", typ.Value)
	case errors.As(err, &typ):
		return fmt.Sprintf("member %q cannot be a JSON %s.", typ.Field, typ.Value)
	}
	return err.Error() + "."
}

type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Inner   *innerError `json:"innererror,omitempty"`
}

type innerError struct {
	Code string `json:"code"`
}

// Fail writes err through the error table. Causes of server errors are logged with the request id, never
// sent. suffix is put behind the message (the data plane names the activity id there).
func (rq *Request) Fail(log *slog.Logger, err error, suffix string) {
	p, known := FromError(err)
	gone := rq.gone(err)
	switch {
	case gone:
		log.DebugContext(rq.Context(), "the client went away before its request was answered", "request", rq.ID)
	case !known:
		log.ErrorContext(rq.Context(), "request failed", "request", rq.ID, "method", rq.Method, "path", rq.URL.Path, "error", err)
	}
	d := errorDetail{Code: p.Code, Message: p.Message + suffix}
	if p.Inner != "" {
		d.Inner = &innerError{p.Inner}
	}
	rp := Reply{Status: p.Status, Body: errorBody{d}}
	switch {
	case p.RetryAfter > 0:
		rp.Header = http.Header{"Retry-After": {strconv.Itoa(p.RetryAfter)}}
	case p.Status == http.StatusServiceUnavailable:
		rp.Header = http.Header{"Retry-After": {"2"}}
	}
	rq.Send(rp)
	rq.outcome.Code, rq.outcome.Gone = p.Code, gone
}
