package daemon

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/material"
)

// benchRequest is what a benchmark sends over and over; target tells the path and query of the n-th.
type benchRequest struct {
	method string
	host   string // "" is the HSM
	target func(n int64) string
	body   []byte
}

func (r benchRequest) base(f *benchFront) string {
	if r.host == "" {
		return f.base
	}
	return "https://" + r.host
}

// benchCase is one operation of the front. Each is measured three ways in one run: through everything
// (front), the server's part of it without network and client (handler), and the primitive alone with as
// many goroutines (direct). BenchmarkFront/nothing is the same server answering at once: no operation can
// be faster. Only the ratios count.
type benchCase struct {
	name  string
	key   map[string]any // created before, as key "k"; nil: none
	keys  int            // P-256 keys there are besides
	ops   func(k material.Key) benchRequest
	spec  key.Spec
	plain func(k material.Key) error // the bare primitive
	// prepare sets ops and plain where they depend on what the server has made.
	prepare func(*benchCase, *testing.B, *benchFront)
}

const benchVersion = "?api-version=2025-07-01"

var benchDigest = bytes.Repeat([]byte{7}, 32)

func benchBody(members map[string]any) []byte {
	for k, v := range members {
		if raw, ok := v.([]byte); ok {
			members[k] = base64.RawURLEncoding.EncodeToString(raw)
		}
	}
	b, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return b
}

func benchPost(op, alg string, value []byte) func(material.Key) benchRequest {
	return func(material.Key) benchRequest {
		return benchRequest{method: "POST", target: func(int64) string { return "/keys/k//" + op + benchVersion }, body: benchBody(map[string]any{"alg": alg, "value": value})}
	}
}

func benchSign(alg key.Algorithm) func(material.Key) error {
	return func(k material.Key) error {
		_, err := k.Sign(alg, benchDigest)
		return err
	}
}

var (
	benchRSA = key.Spec{Type: key.RSA, Bits: 2048, Exponent: 65537}
	benchEC  = key.Spec{Type: key.EC, Curve: key.P256}
	benchOct = key.Spec{Type: key.Oct, Bits: 256}
)

var benchCases = []benchCase{
	{name: "sign-RS256-2048", key: map[string]any{"kty": "RSA-HSM"}, spec: benchRSA, ops: benchPost("sign", "RS256", benchDigest), plain: benchSign("RS256")},
	{name: "sign-PS256-2048", key: map[string]any{"kty": "RSA-HSM"}, spec: benchRSA, ops: benchPost("sign", "PS256", benchDigest), plain: benchSign("PS256")},
	{name: "sign-ES256", key: map[string]any{"kty": "EC-HSM"}, spec: benchEC, ops: benchPost("sign", "ES256", benchDigest), plain: benchSign("ES256")},
	{name: "unwrap-RSA-OAEP-256", key: map[string]any{"kty": "RSA-HSM"}, spec: benchRSA, prepare: (*benchCase).unwrap},
	{name: "wrap-A256KW", key: map[string]any{"kty": "oct-HSM"}, spec: benchOct, ops: benchPost("wrapkey", "A256KW", benchDigest), plain: func(k material.Key) error {
		_, err := k.Wrap("A256KW", key.CipherInput{Value: benchDigest})
		return err
	}},
	{name: "get", key: map[string]any{"kty": "EC-HSM"}, ops: func(material.Key) benchRequest {
		return benchRequest{method: "GET", target: func(int64) string { return "/keys/k/" + benchVersion }}
	}},
	// Names repeat after 4,000, so that the limit of keys is never met; then versions are made.
	{name: "create-P256", spec: benchEC, ops: func(material.Key) benchRequest {
		return benchRequest{method: "POST", target: func(n int64) string { return fmt.Sprintf("/keys/n%d/create%s", n%4000, benchVersion) }, body: benchBody(map[string]any{"kty": "EC-HSM"})}
	}, plain: func(material.Key) error {
		_, err := material.Generate(benchEC)
		return err
	}},
	{name: "list-25-of-5000", keys: 5000, ops: func(material.Key) benchRequest {
		return benchRequest{method: "GET", target: func(int64) string { return "/keys" + benchVersion + "&maxresults=25" }}
	}},
	{name: "nothing", ops: func(material.Key) benchRequest {
		return benchRequest{method: "POST", host: benchNothing, target: func(int64) string { return "/" }, body: benchBody(map[string]any{"alg": "A256KW", "value": benchDigest})}
	}},
}

// benchNothing is a host at which the server answers without doing anything.
const benchNothing = "nothing.managedhsm.azure.net"

func BenchmarkFront(b *testing.B) {
	for _, c := range benchCases {
		b.Run(c.name, func(b *testing.B) { c.run(b) })
	}
}

func (c benchCase) run(b *testing.B) {
	f := newBenchFront(b)
	f.answerNothing()
	if c.key != nil {
		f.do(b, f.token, "POST", f.base+"/keys/k/create"+benchVersion, c.key)
	}
	f.fill(b, c.keys)
	if c.prepare != nil {
		c.prepare(&c, b, f)
	}
	var k material.Key
	if c.plain != nil {
		var err error
		if k, err = material.Generate(c.spec); err != nil {
			b.Fatal(err)
		}
	}
	r := c.ops(k)
	b.Run("front", func(b *testing.B) { f.reply(b, f.token, r) })
	b.Run("handler", func(b *testing.B) { f.handler(b, r) })
	if c.plain != nil {
		b.Run("direct", func(b *testing.B) { direct(b, func() error { return c.plain(k) }) })
	}
}

// unwrap fills in the case that needs a ciphertext of the key at hand.
func (c *benchCase) unwrap(b *testing.B, f *benchFront) {
	b.Helper()
	var wrapped struct{ Value string }
	answer := f.do(b, f.token, "POST", f.base+"/keys/k//wrapkey"+benchVersion, map[string]string{"alg": "RSA-OAEP-256", "value": base64.RawURLEncoding.EncodeToString(benchDigest)})
	if err := json.Unmarshal(answer, &wrapped); err != nil {
		b.Fatal(err)
	}
	value, err := base64.RawURLEncoding.DecodeString(wrapped.Value)
	if err != nil {
		b.Fatal(err)
	}
	c.ops = benchPost("unwrapkey", "RSA-OAEP-256", value)
	wrap := sync.OnceValues(func() (material.Key, []byte) {
		k, err := material.Generate(benchRSA)
		if err != nil {
			b.Error(err)
			return k, nil
		}
		out, err := k.Wrap("RSA-OAEP-256", key.CipherInput{Value: benchDigest})
		if err != nil {
			b.Error(err)
		}
		return k, out.Value
	})
	wrap()
	c.plain = func(material.Key) error {
		k, ct := wrap()
		_, err := k.Unwrap("RSA-OAEP-256", key.CipherInput{Value: ct})
		return err
	}
}

// fill makes n keys, in parallel.
func (f *benchFront) fill(b *testing.B, n int) {
	b.Helper()
	var wg sync.WaitGroup
	for w := range benchConnections {
		wg.Go(func() {
			for i := w; i < n; i += benchConnections {
				if _, err := f.send(f.token, "POST", fmt.Sprintf("%s/keys/fill%d/create%s", f.base, i, benchVersion), benchBody(map[string]any{"kty": "EC-HSM"})); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// answerNothing puts a handler in front of the server's that answers at one host with a fixed result of an
// operation's size.
func (f *benchFront) answerNothing() {
	inner := *f.dev.front.h.Load()
	answer := benchBody(map[string]any{"kid": "https://nothing.managedhsm.azure.net/keys/k/0123456789abcdef0123456789abcdef", "value": bytes.Repeat([]byte{7}, 40)})
	f.dev.front.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != benchNothing {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(answer)
	}))
}
