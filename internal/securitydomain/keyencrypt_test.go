package securitydomain

import (
	"errors"
	"testing"

	"redoubt/internal/secret"
)

func TestEncryptKeyPEM(t *testing.T) {
	t.Parallel()
	cert, keyPEM, err := NewWrappingKeyPair("holder", 2048, 1, 2_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	password := secret.New([]byte("correct horse"))
	sealed, err := EncryptKeyPEM(keyPEM, password)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseWrappingKey("k", cert, sealed, password); err != nil {
		t.Errorf("right password: %v", err)
	}
	for _, wrong := range []string{"", "correct horsf"} {
		if _, err := ParseWrappingKey("k", cert, sealed, secret.New([]byte(wrong))); !errors.Is(err, ErrBadKey) {
			t.Errorf("password %q: %v", wrong, err)
		}
	}
	if _, err := EncryptKeyPEM(keyPEM, secret.Bytes{}); !errors.Is(err, ErrBadKey) {
		t.Errorf("empty password: %v", err)
	}
	if _, err := EncryptKeyPEM(secret.New(sealed), password); !errors.Is(err, ErrBadKey) {
		t.Errorf("key that is encrypted already: %v", err)
	}
}
