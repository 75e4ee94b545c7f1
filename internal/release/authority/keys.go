package authority

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// MaxKeys is far above any issuer's key set, in bytes.
const MaxKeys = 1 << 20

// ParseKeys reads a JSON Web Key Set (RFC 7517), as an issuer publishes it at its jwks_uri: the signing keys that tokens can be verified
// with, by kid. Azure Attestation's keys are certificates alone (x5c). Keys for other purposes are left out.
func ParseKeys(jwks []byte) (map[string]crypto.PublicKey, error) {
	if len(jwks) > MaxKeys {
		return nil, fmt.Errorf("a key set longer than %d bytes", MaxKeys)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, errors.New("not a JSON Web Key Set: {\"keys\": [...]}")
	}
	out := map[string]crypto.PublicKey{}
	for i, raw := range set.Keys {
		kid, k, err := parseKey(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d of the set: %w", i+1, err)
		}
		if k == nil {
			continue
		}
		if _, twice := out[kid]; twice {
			return nil, fmt.Errorf("key %d of the set: kid %.80q stands twice", i+1, kid)
		}
		out[kid] = k
	}
	if len(out) == 0 {
		return nil, errors.New("the key set has no signing key: RSA of 2048 bits or more, or on P-256, P-384 or P-521, with a kid")
	}
	return out, nil
}

// parseKey reads one key; nil is one that is not for us.
func parseKey(raw []byte) (kid string, k crypto.PublicKey, err error) {
	var head struct {
		Kid string   `json:"kid"`
		Use string   `json:"use"`
		N   string   `json:"n"`
		X   string   `json:"x"`
		D   any      `json:"d"`
		K   any      `json:"k"`
		X5C []string `json:"x5c"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return "", nil, errors.New("not a JSON Web Key")
	}
	if head.D != nil || head.K != nil {
		return "", nil, errors.New("a secret or private key: only public keys belong here")
	}
	if head.Use != "" && head.Use != "sig" || head.Kid == "" {
		return "", nil, nil
	}
	if head.N == "" && head.X == "" && len(head.X5C) > 0 {
		der, err := base64.StdEncoding.DecodeString(head.X5C[0])
		if err != nil {
			return "", nil, errors.New("x5c is not base64")
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "", nil, errors.New("x5c holds no certificate")
		}
		k = c.PublicKey
	} else {
		var j jose.JSONWebKey
		if err := j.UnmarshalJSON(bytes.TrimSpace(raw)); err != nil {
			return "", nil, nil //nolint:nilerr // of a type that is not known
		}
		k = j.Key
	}
	if !usable(k) {
		return "", nil, nil
	}
	return head.Kid, k, nil
}
