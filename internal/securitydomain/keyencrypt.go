package securitydomain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"redoubt/internal/secret"
)

// What EncryptKeyPEM writes: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC, which openssl and az read.
const (
	writeIterations = 600_000
	writeSaltSize   = 16
	writeKeySize    = 32
)

var (
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// EncryptKeyPEM puts a private key that NewWrappingKeyPair made under a password: an encrypted PKCS #8 key (RFC
// 5958, RFC 8018) in PEM. The password must not be empty. Both arguments stay the caller's.
func EncryptKeyPEM(keyPEM, password secret.Bytes) ([]byte, error) {
	block, rest := pem.Decode(keyPEM.Expose())
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, fmt.Errorf("%w: not one PKCS #8 private key in the clear", ErrBadKey)
	}
	defer clear(block.Bytes)
	if password.Len() == 0 {
		return nil, fmt.Errorf("%w: the password is empty", ErrBadKey)
	}
	salt, iv := randomBytes(writeSaltSize), randomBytes(aes.BlockSize)
	key, err := pbkdf2.Key(sha256.New, string(password.Expose()), salt, writeIterations, writeKeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving a key from the password: %w", err)
	}
	defer clear(key)
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("encrypting a private key: %w", err)
	}
	n := aes.BlockSize - len(block.Bytes)%aes.BlockSize
	data := make([]byte, len(block.Bytes)+n)
	copy(data, block.Bytes)
	for i := len(block.Bytes); i < len(data); i++ {
		data[i] = byte(n)
	}
	cipher.NewCBCEncrypter(c, iv).CryptBlocks(data, data)
	der, err := encryptedInfo(salt, iv, data)
	if err != nil {
		return nil, fmt.Errorf("encoding an encrypted private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), nil
}

// encryptedInfo is the EncryptedPrivateKeyInfo around data.
func encryptedInfo(salt, iv, data []byte) ([]byte, error) {
	kdf, err1 := asn1.Marshal(pbkdf2Params{Salt: salt, Iterations: writeIterations, PRF: algorithmID{oidHMACSHA256, asn1.NullRawValue}})
	scheme, err2 := asn1.Marshal(iv)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	params, err := asn1.Marshal(pbes2Params{KDF: algorithmID{oidPBKDF2, asn1.RawValue{FullBytes: kdf}}, Scheme: algorithmID{oidAES256CBC, asn1.RawValue{FullBytes: scheme}}})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedKeyInfo{Algorithm: algorithmID{oidPBES2, asn1.RawValue{FullBytes: params}}, Data: data})
}
