package client

import (
	"context"
	"fmt"
	"net/http"
)

// PrivateJWK is a key on its way into an HSM: public and private members in the clear, or KeyHSM, a transfer blob.
// It prints as its type, whatever the verb; the caller wipes it.
type PrivateJWK struct {
	Kty    string   `json:"kty"`
	Crv    string   `json:"crv,omitempty"`
	KeyOps []string `json:"key_ops,omitempty"`
	N      Bytes    `json:"n,omitempty"`
	E      Bytes    `json:"e,omitempty"`
	X      Bytes    `json:"x,omitempty"`
	Y      Bytes    `json:"y,omitempty"`
	D      Bytes    `json:"d,omitempty"`
	P      Bytes    `json:"p,omitempty"`
	Q      Bytes    `json:"q,omitempty"`
	DP     Bytes    `json:"dp,omitempty"`
	DQ     Bytes    `json:"dq,omitempty"`
	QI     Bytes    `json:"qi,omitempty"`
	K      Bytes    `json:"k,omitempty"`
	KeyHSM Bytes    `json:"key_hsm,omitempty"`
}

// Format prints the type of the key and nothing else.
func (k PrivateJWK) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "private %s key", k.Kty) }

// Wipe overwrites the private members.
func (k PrivateJWK) Wipe() {
	for _, b := range []Bytes{k.D, k.P, k.Q, k.DP, k.DQ, k.QI, k.K} {
		clear(b)
	}
}

// ImportKey describes a key to bring in.
type ImportKey struct {
	HSM        bool              `json:"Hsm"`
	Key        PrivateJWK        `json:"key"`
	Attributes *KeyAttributes    `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Release    *ReleasePolicy    `json:"release_policy,omitempty"`
}

// ImportKey brings a key in, or a new version of an existing one.
func (h *HSM) ImportKey(ctx context.Context, name string, p ImportKey) (Key, error) {
	return h.key(ctx, http.MethodPut, keyPath("keys", name, "", ""), p)
}

// keyBackup is the backup of one key on the wire.
type keyBackup struct {
	Value Bytes `json:"value"`
}

// BackupKey returns a key with all its versions, sealed under the HSM's security domain.
func (h *HSM) BackupKey(ctx context.Context, name string) ([]byte, error) {
	var out keyBackup
	_, err := h.ep.do(ctx, call{method: http.MethodPost, path: keyPath("keys", name, "", "backup"), version: version, out: &out})
	return out.Value, err
}

// RestoreKey brings back the key of a backup.
func (h *HSM) RestoreKey(ctx context.Context, backup []byte) (Key, error) {
	return h.key(ctx, http.MethodPost, "/keys/restore", keyBackup{backup})
}
