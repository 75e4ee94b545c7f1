package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
)

// raw is a byte string that travels as base64url without padding.
type raw []byte

// MarshalText implements encoding.TextMarshaler.
func (r raw) MarshalText() ([]byte, error) { //nolint:unparam // the interface has an error
	return []byte(base64.RawURLEncoding.EncodeToString(r)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *raw) UnmarshalText(b []byte) (err error) {
	*r, err = base64.RawURLEncoding.DecodeString(string(b))
	return err
}

// artefact is a line of a program's file: a signature or a ciphertext.
type artefact struct {
	Kind    string `json:"kind"` // signature, ciphertext
	Program string `json:"program"`
	Kid     string `json:"kid"`
	Alg     string `json:"alg"`

	JWK       *jwk `json:"jwk,omitempty"`
	Data      raw  `json:"data,omitempty"`
	Digest    raw  `json:"digest,omitempty"`
	Signature raw  `json:"signature,omitempty"`

	Op         string `json:"op,omitempty"` // encrypt, wrap
	Plaintext  raw    `json:"plaintext,omitempty"`
	Ciphertext raw    `json:"ciphertext,omitempty"`
	IV         raw    `json:"iv,omitempty"`
	Tag        raw    `json:"tag,omitempty"`
	AAD        raw    `json:"aad,omitempty"`
}

// jwk is the public part of a key.
type jwk struct {
	Kty string `json:"kty"` // RSA, EC
	N   raw    `json:"n,omitempty"`
	E   raw    `json:"e,omitempty"`
	Crv string `json:"crv,omitempty"`
	X   raw    `json:"x,omitempty"`
	Y   raw    `json:"y,omitempty"`
}

func artefacts(program string) string {
	return filepath.Join(env("REDOUBT_COMPAT_DIR"), "artefacts", program+".jsonl")
}

// keep notes an artefact of the key that name names, which must live on.
func (s *session) keep(name string, a artefact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Program = env("REDOUBT_COMPAT_PROGRAM")
	s.kept[name] = true
	s.written = append(s.written, a)
}

// writeArtefacts writes this program's file.
func (s *session) writeArtefacts() {
	var b bytes.Buffer
	for _, a := range s.written {
		b.Write(append(must(json.Marshal(a)), '\n'))
	}
	fatal(os.WriteFile(artefacts(env("REDOUBT_COMPAT_PROGRAM")), b.Bytes(), 0o600))
	step("%d artefacts written", len(s.written))
}

// readArtefacts reads a program's file, which must not be empty.
func readArtefacts(program string) (out []artefact) {
	lines := bufio.NewScanner(bytes.NewReader(must(os.ReadFile(artefacts(program)))))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a artefact
		fatal(json.Unmarshal(lines.Bytes(), &a))
		out = append(out, a)
	}
	want(lines.Err() == nil && len(out) > 0, "%s has left no artefacts (%v)", program, lines.Err())
	return out
}
