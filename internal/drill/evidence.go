package drill

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"

	"redoubt/internal/client"
	"redoubt/internal/key"
)

// The evidence is what the keys of the source were used for, with the public keys of that time: one record
// for each key name, one line each in a file, so that any number of keys takes no memory.

// record is the evidence of one key.
type record struct {
	Name     string          `json:"name"`
	Spec     key.Spec        `json:"spec"`
	Fate     fate            `json:"fate,omitempty"`
	Versions []versionRecord `json:"versions"`

	Policy client.RotationPolicy `json:"policy"` // without an id when the key has none
}

// versionRecord is the evidence of one version.
type versionRecord struct {
	Version string     `json:"version"`
	Public  client.JWK `json:"public"`
	Uses    []use      `json:"uses"`
}

// The operations of evidence.
const (
	opSign    = "sign"
	opEncrypt = "encrypt"
	opWrap    = "wrap"
)

// use is one operation with its result: a signature of a digest, or a ciphertext of a plaintext.
type use struct {
	Op     string       `json:"op"`
	Alg    string       `json:"alg"`
	Input  client.Bytes `json:"input"`
	Output client.Bytes `json:"output,omitempty"`
	IV     client.Bytes `json:"iv,omitempty"`
	AAD    client.Bytes `json:"aad,omitempty"`
	Tag    client.Bytes `json:"tag,omitempty"`
}

// plannedUses says what version n (from 0) of a key is used for: a sample key's first version for every
// algorithm there is, others for one signature and one ciphertext, with the algorithms taking turns.
func (p keyPlan) plannedUses(n int) []use {
	var out []use
	for _, kind := range []struct {
		op  string
		use key.Use
	}{{opSign, key.UseSign}, {opEncrypt, key.UseEncrypt}, {opWrap, key.UseWrap}} {
		algs := key.Allowed(p.spec, kind.use)
		turn := p.index + n
		switch {
		case !p.may(kind.use):
			continue
		case p.sample && n == 0:
		case kind.op == opEncrypt && turn%2 == 1, kind.op == opWrap && turn%2 == 0:
			continue
		default:
			i := turn % len(algs)
			algs = algs[i : i+1]
		}
		for _, alg := range algs {
			out = append(out, newUse(kind.op, string(alg)))
		}
	}
	return out
}

// newUse draws an input that the algorithm takes.
func newUse(op, alg string) use {
	u := use{Op: op, Alg: alg}
	switch {
	case op == opSign:
		u.Input = randomBytes(digestLength(alg))
	case strings.HasSuffix(alg, "GCM"):
		u.Input, u.AAD = randomBytes(40), randomBytes(13)
	case strings.HasSuffix(alg, "CBC"):
		u.Input, u.IV = randomBytes(48), randomBytes(16)
	case strings.HasSuffix(alg, "CBCPAD"):
		u.Input, u.IV = randomBytes(37), randomBytes(16)
	case strings.HasSuffix(alg, "WRAP_PAD"):
		u.Input = randomBytes(21)
	default:
		u.Input = randomBytes(32)
	}
	return u
}

// digestLength is the length of a digest for a signing algorithm; RSNULL and HMAC take any.
func digestLength(alg string) int {
	switch {
	case alg == "RSNULL":
		return 51
	case strings.HasSuffix(alg, "384"):
		return 48
	case strings.HasSuffix(alg, "512"):
		return 64
	}
	return 32
}

// make has the HSM do u and fills in the result.
func (u *use) make(ctx context.Context, h *client.HSM, name, version string) error {
	var r client.Result
	var err error
	in := client.Cipher{Alg: u.Alg, Value: u.Input, IV: u.IV, AAD: u.AAD}
	switch u.Op {
	case opSign:
		r, err = h.Sign(ctx, name, version, u.Alg, u.Input)
	case opEncrypt:
		r, err = h.Encrypt(ctx, name, version, in)
	case opWrap:
		r, err = h.WrapKey(ctx, name, version, in)
	}
	if err != nil {
		return fmt.Errorf("%s with %s of %s: %w", u.Op, u.Alg, name, err)
	}
	u.Output, u.Tag = r.Value, r.Tag
	if len(r.IV) > 0 {
		u.IV = r.IV
	}
	return nil
}

// undo has the HSM decrypt or unwrap the output.
func (u use) undo(ctx context.Context, h *client.HSM, name, version string) ([]byte, error) {
	in := client.Cipher{Alg: u.Alg, Value: u.Output, IV: u.IV, AAD: u.AAD, Tag: u.Tag}
	var r client.Result
	var err error
	if u.Op == opWrap {
		r, err = h.UnwrapKey(ctx, name, version, in)
	} else {
		r, err = h.Decrypt(ctx, name, version, in)
	}
	return r.Value, err
}

// spool writes records to a file, from any goroutine.
type spool struct {
	mu  sync.Mutex
	f   *os.File
	buf *bufio.Writer
	enc *json.Encoder
}

func newSpool(path string) (*spool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s := &spool{f: f, buf: bufio.NewWriter(f)}
	s.enc = json.NewEncoder(s.buf)
	return s, nil
}

func (s *spool) add(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enc.Encode(v)
}

func (s *spool) close() error {
	return errors.Join(s.buf.Flush(), s.f.Close())
}

// readSpool gives the lines of a spool back.
func readSpool[T any](path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		f, err := os.Open(path)
		if err != nil {
			yield(zero, err)
			return
		}
		defer func() { _ = f.Close() }() // only read
		dec := json.NewDecoder(bufio.NewReader(f))
		for {
			var v T
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				err = fmt.Errorf("read %s: %w", path, err)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}
