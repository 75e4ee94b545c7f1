package authn

import (
	"encoding/json"
	"errors"
)

// NewStaticKeys reads a JSON Web Key Set (RFC 7517): the keys in it that can verify tokens, by key id. The rules are
// those for the keys of a RemoteKeys.
func NewStaticKeys(jwks []byte) (StaticKeys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	found, err := signingKeys(set.Keys)
	if err != nil {
		return nil, err
	}
	keys := make(StaticKeys, len(found))
	for kid, k := range found {
		keys[kid] = k.Key
	}
	return keys, nil
}
