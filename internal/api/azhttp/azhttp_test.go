package azhttp

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"redoubt/internal/hsm"
)

func get(t *testing.T, method, target string) *Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	rq, err := NewRequest(httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	return rq
}

func TestRouting(t *testing.T) {
	t.Parallel()
	router := NewRouter([]Route[string]{
		{"GET", "keys", "list"},
		{"GET", "keys/{name}/versions", "versions"},
		{"GET", "keys/{name}", "get"},
		{"GET", "keys/{name}/{version}", "get version"},
		{"POST", "keys/{name}/{version}/sign", "sign"},
		{"POST", "keys/{name}/sign", "sign latest"},
		{"PATCH", "keys/{name}", "update"},
	})
	for target, c := range map[string]struct{ method, want, params string }{
		"/keys":                     {"GET", "list", ""},
		"/keys/":                    {"GET", "list", ""},
		"//keys":                    {"GET", "list", ""},
		"/KEYS/?maxresults=3":       {"GET", "list", ""},
		"/keys/Name":                {"GET", "get", "Name"},
		"/keys/Name/":               {"GET", "get", "Name"},
		"//keys//Name//":            {"GET", "get", "Name"},
		"/keys/versions":            {"GET", "get", "versions"},
		"/keys/n/Versions":          {"GET", "versions", "n"},
		"/keys/n/abc":               {"GET", "get version", "n abc"},
		"/keys/n//sign":             {"POST", "sign latest", "n"},
		"/keys/n/v/SIGN":            {"POST", "sign", "n v"},
		"/keys/a%2Fb":               {"GET", "get", "a/b"}, // one segment, for the handler to refuse
		"/keys/..":                  {"GET", "get", ".."},  // never cleaned
		"/keys/%2e%2e/versions":     {"GET", "versions", ".."},
		"/keys/n?x=/a/b":            {"GET", "get", "n"},
		"/key":                      {"GET", "", ""},
		"/":                         {"GET", "", ""},
		"/keys/n/v/sign/more":       {"POST", "", ""},
		"/keys/n/v/sign":            {"GET", "", ""},
		"/keys/n?method=irrelevant": {"DELETE", "", ""},
	} {
		rq := get(t, c.method, target)
		found, ok := router.Find(rq)
		var params []string
		for _, name := range []string{"name", "version"} {
			if v := rq.Param(name); v != "" {
				params = append(params, v)
			}
		}
		if found.Handle != c.want || ok != (c.want != "") || strings.Join(params, " ") != c.params {
			t.Errorf("%s %s: %q (%v) with %q, want %q with %q", c.method, target, found.Handle, ok, params, c.want, c.params)
		}
	}
	for header, want := range map[string]string{"PATCH": "update", "patch": "update", "GET": "get", "DELETE": ""} {
		rq := get(t, "POST", "/keys/n")
		rq.Header.Set("X-HTTP-METHOD", header)
		if found, _ := router.Find(rq); found.Handle != want {
			t.Errorf("POST with X-HTTP-METHOD %s: %q, want %q", header, found.Handle, want)
		}
	}
	rq := get(t, "GET", "/keys/n")
	rq.Header.Set("X-HTTP-METHOD", "PATCH")
	if found, _ := router.Find(rq); found.Handle != "get" {
		t.Errorf("only a POST may carry another method; got %q", found.Handle)
	}
}

func FuzzRouting(f *testing.F) {
	for _, s := range []string{"/keys/n/v", "//keys//", "/%2F%2f/", "/keys/%00", "/%zz", "/keys/n//sign", "*"} {
		f.Add(s)
	}
	router := NewRouter([]Route[int]{{"GET", "keys/{name}", 1}, {"GET", "keys/{name}/{version}", 2}})
	f.Fuzz(func(t *testing.T, path string) {
		r := &http.Request{Method: "GET", Header: http.Header{}}
		u, err := http.NewRequest("GET", "http://h/"+strings.TrimPrefix(path, "/"), nil)
		if err != nil {
			return
		}
		r.URL = u.URL
		rq, err := NewRequest(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		if slices.Contains(rq.Path, "") {
			t.Errorf("%q has an empty segment: %q", path, rq.Path)
		}
		if found, ok := router.Find(rq); ok && (len(rq.Path) != found.Handle+1 || !strings.EqualFold(rq.Path[0], "keys") || rq.Param("name") != rq.Path[1]) {
			t.Errorf("%q went to row %d with %q", path, found.Handle, rq.params)
		}
	})
}

func TestDecode(t *testing.T) {
	t.Parallel()
	type body struct {
		Count int    `json:"count"`
		Name  string `json:"name"`
	}
	for in, want := range map[string]string{
		"":                               "needs a JSON body",
		"{":                              "not valid",
		"[]":                             "it cannot be a JSON array",
		`{"count":"three"}`:              `member "count" cannot be a JSON string`,
		`{"name":{}}`:                    `member "name" cannot be a JSON object`,
		`{"count":1}{}`:                  "not valid",
		`{"count":1} garbage`:            "not valid",
		"\xff":                           "not valid",
		`{"count":99999999999999999999}`: `member "count"`,
	} {
		var b body
		p := new(Problem)
		if err := DecodeBody([]byte(in), &b); !errors.As(err, &p) || p.Status != 400 || p.Code != "BadParameter" || !strings.Contains(p.Message, want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
	var b body
	if err := DecodeBody([]byte(` {"count":3,"name":"n","unknown":{"read":"only"}} `), &b); err != nil || b.Count != 3 || b.Name != "n" {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestBodyCap(t *testing.T) {
	t.Parallel()
	for size, ok := range map[int]bool{0: true, MaxBody: true, MaxBody + 1: false} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(strings.Repeat("x", size)))
		rq, err := NewRequest(httptest.NewRecorder(), r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := rq.ReadBody()
		var big *http.MaxBytesError
		if ok != (err == nil) || ok && len(b) != size || !ok && !errors.As(err, &big) {
			t.Errorf("%d bytes: got %d, %v", size, len(b), err)
		}
	}
}

// TestBodyUpTo: a route's own limit, with and without a length told beforehand.
func TestBodyUpTo(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 511, 512, 5000, keepSize, keepSize + 1, 3 * MaxBody} {
		for _, told := range []int64{int64(size), -1} {
			for limit, ok := range map[int64]bool{int64(size): true, int64(size) + 1: true, int64(size) - 1: false} {
				if limit < 1 {
					continue
				}
				r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(strings.Repeat("x", size)))
				r.ContentLength = told
				rq, err := NewRequest(httptest.NewRecorder(), r)
				if err != nil {
					t.Fatal(err)
				}
				b, err := rq.ReadBodyUpTo(limit)
				if ok != (err == nil) || ok && string(b) != strings.Repeat("x", size) {
					t.Errorf("%d bytes (%d told), limit %d: %d, %v", size, told, limit, len(b), err)
				}
			}
		}
	}
}

func TestShortBody(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	rq, err := NewRequest(httptest.NewRecorder(), r)
	if err != nil {
		t.Fatal(err)
	}
	var p *Problem
	if _, err := rq.ReadBody(); !errors.As(err, &p) || p.Status != 400 {
		t.Errorf("%v", err)
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply  Reply
		status int
		body   string
		length string
	}{
		"body":       {Reply{Body: map[string]int{"a": 1}}, 200, `{"a":1}`, "7"},
		"empty":      {Reply{Status: 202}, 202, "", "0"},
		"no content": {Reply{Status: 204}, 204, "", ""},
		"not JSON":   {Reply{Body: func() {}}, 500, `{"error":{"code":"InternalServerError","message":"An internal error occurred."}}`, "80"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("x-ms-client-request-id", "mine")
		rq, err := NewRequest(w, r)
		if err != nil {
			t.Fatal(err)
		}
		rq.Send(c.reply)
		h := w.Result().Header
		if w.Code != c.status || w.Body.String() != c.body || h.Get("Content-Length") != c.length {
			t.Errorf("%s: %d %q %q", name, w.Code, w.Body, h.Get("Content-Length"))
		}
		if c.body != "" && h.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: content type %q", name, h.Get("Content-Type"))
		}
		for header, want := range map[string]string{"x-ms-request-id": rq.ID, "x-ms-client-request-id": "mine", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
			"Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'self'"} {
			if h.Get(header) != want {
				t.Errorf("%s: header %s is %q, want %q", name, header, h.Get(header), want)
			}
		}
	}
}

// TestClientRequestID: what a client sends comes back only when it can be one.
func TestClientRequestID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"": "", "abc": "abc", strings.Repeat("x", 128): strings.Repeat("x", 128), strings.Repeat("x", 129): ""} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("x-ms-client-request-id", id)
		rq, err := NewRequest(w, r)
		if err != nil {
			t.Fatal(err)
		}
		rq.Send(Reply{})
		if got := w.Header().Get("x-ms-client-request-id"); got != want {
			t.Errorf("%d characters: %q", len(id), got)
		}
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	rq, err := NewRequest(w, httptest.NewRequestWithContext(t.Context(), "GET", "/keys", nil))
	if err != nil {
		t.Fatal(err)
	}
	rq.Fail(slog.New(slog.DiscardHandler), hsm.ErrBusy, " (Activity ID: "+rq.ID+")")
	want := `{"error":{"code":"Conflict","message":"another backup or restore is running (Activity ID: ` + rq.ID + `)","innererror":{"code":"OperationInProgress"}}}`
	if w.Code != 409 || w.Body.String() != want {
		t.Errorf("%d %s, want %s", w.Code, w.Body, want)
	}
	if len(rq.ID) != 36 || rq.ID == get(t, "GET", "/").ID {
		t.Errorf("request id %q", rq.ID)
	}

	var log strings.Builder
	w = httptest.NewRecorder()
	if rq, err = NewRequest(w, httptest.NewRequestWithContext(t.Context(), "GET", "/keys?secret=1", nil)); err != nil {
		t.Fatal(err)
	}
	rq.Fail(slog.New(slog.NewTextHandler(&log, nil)), errors.Join(hsm.ErrUnavailable, errors.New("the disk is on fire")), "")
	if w.Code != 503 || w.Header().Get("Retry-After") != "2" || strings.Contains(w.Body.String(), "fire") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if !strings.Contains(log.String(), "fire") || !strings.Contains(log.String(), rq.ID) || strings.Contains(log.String(), "secret") {
		t.Errorf("log: %s", log.String())
	}
}

func TestBadPath(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	r.URL.RawPath, r.URL.Path = "/keys/a%2Fb", "/keys/a/b"
	rq, err := NewRequest(httptest.NewRecorder(), r)
	if err != nil || !slices.Equal(rq.Path, []string{"keys", "a/b"}) {
		t.Errorf("%q, %v", rq.Path, err)
	}
}
