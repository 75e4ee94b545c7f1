package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Bytes is a byte string of the wire: base64url without padding (RFC 4648, section 5).
type Bytes []byte

// Encode is the base64url text of b.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Decode reads base64url text, with or without padding.
func Decode(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) { return json.Marshal(Encode(b)) }

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bytes) UnmarshalJSON(in []byte) error {
	var s *string
	if err := json.Unmarshal(in, &s); err != nil || s == nil {
		return err
	}
	out, err := Decode(*s)
	if err != nil {
		return fmt.Errorf("a byte string of the answer: %w", err)
	}
	*b = out
	return nil
}

// JWK is the public part of a key.
type JWK struct {
	Kid    string   `json:"kid"`
	Kty    string   `json:"kty"`
	KeyOps []string `json:"key_ops"`
	N      Bytes    `json:"n,omitempty"`
	E      Bytes    `json:"e,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	X      Bytes    `json:"x,omitempty"`
	Y      Bytes    `json:"y,omitempty"`
}

// Attributes of a key version. Times are Unix seconds, 0 when unset.
type Attributes struct {
	Enabled         bool   `json:"enabled"`
	NotBefore       int64  `json:"nbf,omitempty"`
	Expires         int64  `json:"exp,omitempty"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays int    `json:"recoverableDays"`
	Exportable      bool   `json:"exportable"`
	HSMPlatform     string `json:"hsmPlatform,omitempty"`
	KeySize         int    `json:"key_size,omitempty"`

	Attestation *Attestation `json:"attestation,omitempty"` // of KeyAttestation only
}

// Key is a key with its public part. The deletion members are set for deleted keys only.
type Key struct {
	Key                JWK               `json:"key"`
	Attributes         Attributes        `json:"attributes"`
	Tags               map[string]string `json:"tags,omitempty"`
	Release            *ReleasePolicy    `json:"release_policy,omitempty"`
	RecoveryID         string            `json:"recoveryId,omitempty"`
	DeletedDate        int64             `json:"deletedDate,omitempty"`
	ScheduledPurgeDate int64             `json:"scheduledPurgeDate,omitempty"`
}

// Name is the key's name, read from its id.
func (k Key) Name() string { return part(k.Key.Kid, 2) }

// Version is the key's version, read from its id.
func (k Key) Version() string { return part(k.Key.Kid, 3) }

// KeyItem is an entry of a list.
type KeyItem struct {
	Kid                string            `json:"kid"`
	Attributes         Attributes        `json:"attributes"`
	Tags               map[string]string `json:"tags,omitempty"`
	RecoveryID         string            `json:"recoveryId,omitempty"`
	DeletedDate        int64             `json:"deletedDate,omitempty"`
	ScheduledPurgeDate int64             `json:"scheduledPurgeDate,omitempty"`
}

// Name is the key's name.
func (k KeyItem) Name() string { return part(k.Kid, 2) }

// Version is the version, "" in lists of names.
func (k KeyItem) Version() string { return part(k.Kid, 3) }

// part is the n-th segment of the path of a key id: https://host/keys/NAME/VERSION.
func part(kid string, n int) string {
	u, err := url.Parse(kid)
	if err != nil {
		return ""
	}
	segs := strings.Split(u.Path, "/")
	if n >= len(segs) {
		return ""
	}
	return segs[n]
}

// KeyAttributes is what a caller may set; nil leaves a member as it is.
type KeyAttributes struct {
	Enabled   *bool  `json:"enabled,omitempty"`
	NotBefore *int64 `json:"nbf,omitempty"` // Unix seconds
	Expires   *int64 `json:"exp,omitempty"`

	Exportable *bool `json:"exportable,omitempty"` // when the key is made, or as it is
}

// ReleasePolicy says to whom an exportable key may be released. Data is the policy's JSON.
type ReleasePolicy struct {
	ContentType string `json:"contentType,omitempty"`
	Data        Bytes  `json:"data"`
	Immutable   bool   `json:"immutable,omitempty"`
}

// CreateKey describes a new key: Kty RSA-HSM or oct-HSM with Size in bits, EC-HSM with Crv.
type CreateKey struct {
	Kty        string            `json:"kty"`
	Size       int               `json:"key_size,omitempty"`
	Crv        string            `json:"crv,omitempty"`
	Ops        []string          `json:"key_ops,omitempty"`
	Attributes *KeyAttributes    `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Release    *ReleasePolicy    `json:"release_policy,omitempty"`
}

// UpdateKey is a change to a key version; nil members stay. Tags that are empty and not nil remove all.
type UpdateKey struct {
	Ops        []string          `json:"key_ops,omitempty"`
	Attributes *KeyAttributes    `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tags,omitzero"`
	Release    *ReleasePolicy    `json:"release_policy,omitempty"`
}

func keyPath(root, name, version, action string) string {
	p := "/" + root + "/" + url.PathEscape(name)
	for _, s := range []string{version, action} {
		if s != "" {
			p += "/" + url.PathEscape(s)
		}
	}
	return p
}

func (h *HSM) key(ctx context.Context, method, path string, body any) (Key, error) {
	var k Key
	_, err := h.ep.do(ctx, call{method: method, path: path, version: version, body: body, out: &k})
	return k, err
}

// CreateKey makes a key, or a new version of an existing one.
func (h *HSM) CreateKey(ctx context.Context, name string, p CreateKey) (Key, error) {
	return h.key(ctx, http.MethodPost, keyPath("keys", name, "", "create"), p)
}

// GetKey returns a version, the current one when version is "".
func (h *HSM) GetKey(ctx context.Context, name, version string) (Key, error) {
	return h.key(ctx, http.MethodGet, keyPath("keys", name, version, ""), nil)
}

// UpdateKey changes a version, the current one when version is "".
func (h *HSM) UpdateKey(ctx context.Context, name, version string, p UpdateKey) (Key, error) {
	return h.key(ctx, http.MethodPatch, keyPath("keys", name, version, ""), p)
}

// DeleteKey deletes a key with all its versions; it can be recovered until it is purged.
func (h *HSM) DeleteKey(ctx context.Context, name string) (Key, error) {
	return h.key(ctx, http.MethodDelete, keyPath("keys", name, "", ""), nil)
}

// GetDeletedKey returns a deleted key.
func (h *HSM) GetDeletedKey(ctx context.Context, name string) (Key, error) {
	return h.key(ctx, http.MethodGet, keyPath("deletedkeys", name, "", ""), nil)
}

// RecoverKey brings a deleted key back.
func (h *HSM) RecoverKey(ctx context.Context, name string) (Key, error) {
	return h.key(ctx, http.MethodPost, keyPath("deletedkeys", name, "", "recover"), nil)
}

// PurgeKey destroys a deleted key.
func (h *HSM) PurgeKey(ctx context.Context, name string) error {
	_, err := h.ep.do(ctx, call{method: http.MethodDelete, path: keyPath("deletedkeys", name, "", ""), version: version})
	return err
}

// ListKeys lists all keys by name.
func (h *HSM) ListKeys(ctx context.Context) ([]KeyItem, error) {
	return list[KeyItem](ctx, h.ep, call{path: "/keys", version: version})
}

// ListKeyVersions lists the versions of a key.
func (h *HSM) ListKeyVersions(ctx context.Context, name string) ([]KeyItem, error) {
	return list[KeyItem](ctx, h.ep, call{path: keyPath("keys", name, "", "versions"), version: version})
}

// ListDeletedKeys lists deleted keys.
func (h *HSM) ListDeletedKeys(ctx context.Context) ([]KeyItem, error) {
	return list[KeyItem](ctx, h.ep, call{path: "/deletedkeys", version: version})
}

// Result is the answer to a cryptographic operation.
type Result struct {
	Kid   string `json:"kid"`
	Value Bytes  `json:"value"`
	IV    Bytes  `json:"iv,omitempty"`
	Tag   Bytes  `json:"tag,omitempty"`
	AAD   Bytes  `json:"aad,omitempty"`
}

// Cipher is the input of encrypt, decrypt, wrap and unwrap.
type Cipher struct {
	Alg   string `json:"alg"`
	Value Bytes  `json:"value"`
	IV    Bytes  `json:"iv,omitempty"`
	AAD   Bytes  `json:"aad,omitempty"`
	Tag   Bytes  `json:"tag,omitempty"`
}

func (h *HSM) operate(ctx context.Context, name, keyVersion, action string, body any) (Result, error) {
	var r Result
	_, err := h.ep.do(ctx, call{method: http.MethodPost, path: keyPath("keys", name, keyVersion, action), version: version, body: body, out: &r})
	return r, err
}

// Sign signs a digest.
func (h *HSM) Sign(ctx context.Context, name, version, alg string, digest []byte) (Result, error) {
	return h.operate(ctx, name, version, "sign", struct {
		Alg   string `json:"alg"`
		Value Bytes  `json:"value"`
	}{alg, digest})
}

// Verify checks a signature of a digest.
func (h *HSM) Verify(ctx context.Context, name, keyVersion, alg string, digest, signature []byte) (bool, error) {
	var r struct {
		Value bool `json:"value"`
	}
	_, err := h.ep.do(ctx, call{method: http.MethodPost, path: keyPath("keys", name, keyVersion, "verify"), version: version, out: &r, body: struct {
		Alg    string `json:"alg"`
		Digest Bytes  `json:"digest"`
		Value  Bytes  `json:"value"`
	}{alg, digest, signature}})
	return r.Value, err
}

// Encrypt encrypts in.Value.
func (h *HSM) Encrypt(ctx context.Context, name, version string, in Cipher) (Result, error) {
	return h.operate(ctx, name, version, "encrypt", in)
}

// Decrypt decrypts in.Value.
func (h *HSM) Decrypt(ctx context.Context, name, version string, in Cipher) (Result, error) {
	return h.operate(ctx, name, version, "decrypt", in)
}

// WrapKey wraps the key in.Value.
func (h *HSM) WrapKey(ctx context.Context, name, version string, in Cipher) (Result, error) {
	return h.operate(ctx, name, version, "wrapkey", in)
}

// UnwrapKey unwraps the key in.Value.
func (h *HSM) UnwrapKey(ctx context.Context, name, version string, in Cipher) (Result, error) {
	return h.operate(ctx, name, version, "unwrapkey", in)
}

// RandomBytes returns n bytes of the HSM's random generator.
func (h *HSM) RandomBytes(ctx context.Context, n int) ([]byte, error) {
	var r struct {
		Value Bytes `json:"value"`
	}
	_, err := h.ep.do(ctx, call{method: http.MethodPost, path: "/rng", version: version, body: map[string]int{"count": n}, out: &r})
	return r.Value, err
}
