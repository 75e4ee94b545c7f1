package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestNewStaticKeys: of a key set those keys count that may verify tokens.
func TestNewStaticKeys(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "good"}, {Key: key.Public(), KeyID: "enc", Use: "enc"},
		{Key: key.Public()}, {Key: []byte("0123456789abcdef"), KeyID: "oct"}, {Key: key, KeyID: "private"}}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewStaticKeys(set)
	if err != nil || len(keys) != 1 || !key.PublicKey.Equal(keys["good"]) {
		t.Errorf("%v, %v", keys, err)
	}
	for _, bad := range []string{"", "[]", "{}", `{"keys":[]}`, `{"keys":"x"}`} {
		if keys, err := NewStaticKeys([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, keys)
		}
	}
}
