// Package byok is the key transfer blob, in which a key travels wrapped from another HSM, or from a file, into
// this one ("bring your own key"): its JSON, read strictly and written in one form. The format is Azure's, byte
// for byte in docs/formats/byok.md. The package sees no key: the ciphertext stays what it is. Server and
// operator's tool share it.
package byok

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrBadBlob: the bytes are not a key transfer blob.
var ErrBadBlob = errors.New("not a key transfer blob")

const (
	schema = "1.0.0"
	alg    = "dir"
	// Enc is the one way of wrapping that the schema has.
	Enc = "CKM_RSA_AES_KEY_WRAP"

	// MaxBlob is the most bytes of a blob, some ten times what RSA 4096 takes.
	MaxBlob = 64 << 10
	maxText = 1024 // bytes of kid and generator
)

// Blob is a transfer blob.
type Blob struct {
	KID        string // the key exchange key, with its version
	Ciphertext []byte
	Generator  string // who made it; may be empty
}

type wireBlob struct {
	SchemaVersion string     `json:"schema_version"`
	Header        wireHeader `json:"header"`
	Ciphertext    string     `json:"ciphertext"`
	Generator     string     `json:"generator"`
}

type wireHeader struct {
	KID string `json:"kid"`
	Alg string `json:"alg"`
	Enc string `json:"enc"`
}

// Encode writes the blob in its one form, with a newline at the end.
func (b Blob) Encode() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(wireBlob{schema, wireHeader{b.KID, alg, Enc}, base64.RawURLEncoding.EncodeToString(b.Ciphertext), b.Generator})
	if err != nil {
		return nil, fmt.Errorf("encode a key transfer blob: %w", err)
	}
	if out.Len() > MaxBlob {
		return nil, fmt.Errorf("%w: it would have %d bytes, %d are allowed", ErrBadBlob, out.Len(), MaxBlob)
	}
	return out.Bytes(), nil
}

func (b Blob) check() error {
	if b.KID == "" {
		return fmt.Errorf("%w: header.kid is missing", ErrBadBlob)
	}
	for name, s := range map[string]string{"header.kid": b.KID, "generator": b.Generator} {
		if len(s) > maxText || !utf8.ValidString(s) {
			return fmt.Errorf("%w: %s is not a text of at most %d bytes", ErrBadBlob, name, maxText)
		}
	}
	if len(b.Ciphertext) == 0 {
		return fmt.Errorf("%w: ciphertext is missing", ErrBadBlob)
	}
	return nil
}

// Parse reads a blob. Errors are ErrBadBlob and name the member; they never show the ciphertext.
func Parse(raw []byte) (Blob, error) {
	b, err := parse(raw)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return Blob{}, err
	}
	return b, nil
}

func parse(raw []byte) (Blob, error) {
	if len(raw) > MaxBlob {
		return Blob{}, fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrBadBlob, len(raw), MaxBlob)
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	top, err := object(raw, "the blob")
	if err != nil {
		return Blob{}, err
	}
	header, err := object(top["header"], "header")
	if err != nil {
		return Blob{}, err
	}
	if header["crit"] != nil {
		return Blob{}, fmt.Errorf("%w: header.crit demands what this release does not know", ErrBadBlob)
	}
	for _, want := range []struct {
		in          map[string]json.RawMessage
		name, value string
	}{{top, "schema_version", schema}, {header, "alg", alg}, {header, "enc", Enc}} {
		if s, err := text(want.in, want.name); err != nil || s != want.value {
			return Blob{}, fmt.Errorf("%w: %s must be %q", ErrBadBlob, want.name, want.value)
		}
	}
	var b Blob
	if b.KID, err = text(header, "kid"); err != nil {
		return Blob{}, err
	}
	if top["generator"] != nil {
		if b.Generator, err = text(top, "generator"); err != nil {
			return Blob{}, err
		}
	}
	s, err := text(top, "ciphertext")
	if err != nil {
		return Blob{}, err
	}
	b.Ciphertext, err = decode(s)
	return b, err
}

// decode reads base64url, of which each value has two spellings: with padding and without.
func decode(s string) ([]byte, error) {
	enc := base64.RawURLEncoding.Strict()
	if strings.HasSuffix(s, "=") {
		enc = base64.URLEncoding.Strict()
	}
	b, err := enc.DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: ciphertext is not base64url text", ErrBadBlob)
	}
	return b, nil
}

// object reads one JSON object: names are matched letter for letter, none stands twice, nothing follows.
func object(raw []byte, what string) (map[string]json.RawMessage, error) {
	bad := func(why string) error { return fmt.Errorf("%w: %s %s", ErrBadBlob, what, why) }
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil, bad("is missing, or not complete JSON text")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, bad("is not a JSON object")
	}
	members := make(map[string]json.RawMessage)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, bad("is not a JSON object")
		}
		if members[name] != nil {
			return nil, bad(fmt.Sprintf("has the member %.40q twice", name))
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, bad("is not a JSON object")
		}
		members[name] = v
	}
	return members, nil
}

func text(in map[string]json.RawMessage, name string) (string, error) {
	var s *string
	if json.Unmarshal(in[name], &s) != nil || s == nil {
		return "", fmt.Errorf("%w: %s is missing, or not a text", ErrBadBlob, name)
	}
	return *s, nil
}
