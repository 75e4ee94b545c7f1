package dataplane_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"redoubt/internal/hsmtest"
)

// silent is a ResponseWriter that keeps nothing but the status.
type silent struct {
	header http.Header
	status int
	size   int
}

func (w *silent) Header() http.Header         { return w.header }
func (w *silent) WriteHeader(status int)      { w.status = status }
func (w *silent) Write(b []byte) (int, error) { w.size += len(b); return len(b), nil }

// bodyOf is a request body that can be read again and again.
type bodyOf struct{ bytes.Reader }

func (*bodyOf) Close() error { return nil }

// BenchmarkHandler measures what a request costs from the handler down, without the connection: token, routing,
// decoding, guard, audit, cryptography, encoding. "unknown" is the edge alone, with the token check.
func BenchmarkHandler(b *testing.B) {
	s := hsmtest.New(b)
	s.Active(hsmName)
	w := s.Serve()
	c := as(w, hsmtest.User)
	c.do("POST /keys/rsa/create", `{"kty":"RSA","tags":{"a":"b","owner":"somebody"}}`).Want(200)
	c.do("POST /keys/ec/create", `{"kty":"EC"}`).Want(200)
	c.do("POST /keys/oct/create", `{"kty":"oct","key_size":256}`).Want(200)
	for i := range 25 {
		c.do(fmt.Sprintf("POST /keys/many%02d/create", i), `{"kty":"oct","key_size":128}`).Want(200)
	}
	var wrapped struct{ Value string }
	c.do("POST /keys/oct//wrapkey", `{"alg":"A256KW","value":"`+digest+`"}`).Want(200).JSON(&wrapped)
	h := s.DataPlane()
	token := "Bearer " + s.Token(hsmtest.User, hsmtest.Devices)
	for _, bench := range []struct{ name, method, path, body string }{
		{"unknown", "GET", "/nothing", ""},
		{"get", "GET", "/keys/rsa/", ""},
		{"list25", "GET", "/keys", ""},
		{"wrap", "POST", "/keys/oct//wrapkey", `{"alg":"A256KW","value":"` + digest + `"}`},
		{"unwrap", "POST", "/keys/oct//unwrapkey", `{"alg":"A256KW","value":"` + wrapped.Value + `"}`},
		{"sign", "POST", "/keys/ec//sign", `{"alg":"ES256","value":"` + digest + `"}`},
		{"update", "PATCH", "/keys/rsa", `{"attributes":{"enabled":true},"tags":{"a":"b","owner":"somebody"}}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			u, err := url.Parse("https://" + host + bench.path + "?" + version)
			if err != nil {
				b.Fatal(err)
			}
			body, rw := new(bodyOf), &silent{header: make(http.Header)}
			r := &http.Request{Method: bench.method, URL: u, Host: host, RemoteAddr: "127.0.0.1:1", Header: http.Header{"Authorization": {token}, "Content-Type": {"application/json"}}, Body: body}
			r.ContentLength = int64(len(bench.body))
			r = r.WithContext(b.Context())
			b.ReportAllocs()
			for b.Loop() {
				clear(rw.header)
				body.Reset([]byte(bench.body))
				r.Body = io.ReadCloser(body)
				h.ServeHTTP(rw, r)
				if rw.status != http.StatusOK && bench.name != "unknown" {
					b.Fatal(rw.status)
				}
			}
		})
	}
}
