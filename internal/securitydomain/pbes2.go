package securitydomain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // old key files are encrypted with 3DES; it is only read
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // the default PRF of PBKDF2, only read
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"

	"redoubt/internal/secret"
)

// Encrypted PKCS #8 (RFC 5958) with PBES2 (RFC 8018 section 6.2): what openssl, az and other tools write for a
// private key with a password. Reading only.

var (
	errNeedsPassword = errors.New("it is encrypted: give its password")
	errWrongPassword = errors.New("the password does not open it")
	errPBES2         = errors.New("its encryption is not supported; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW.key")
)

// A hostile file may ask for any amount of work; these bounds are far above what tools write.
const (
	maxIterations = 10_000_000
	maxScryptMem  = 256 << 20
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
)

type algorithmID struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type encryptedKeyInfo struct {
	Algorithm algorithmID
	Data      []byte
}

type pbes2Params struct{ KDF, Scheme algorithmID }

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int         `asn1:"optional"`
	PRF        algorithmID `asn1:"optional"`
}

type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// scheme is a block cipher in CBC mode.
type scheme struct {
	keySize int
	block   func([]byte) (cipher.Block, error)
}

func schemeOf(oid asn1.ObjectIdentifier) (scheme, bool) {
	switch oid.String() {
	case "2.16.840.1.101.3.4.1.2":
		return scheme{16, aes.NewCipher}, true
	case "2.16.840.1.101.3.4.1.22":
		return scheme{24, aes.NewCipher}, true
	case "2.16.840.1.101.3.4.1.42":
		return scheme{32, aes.NewCipher}, true
	case "1.2.840.113549.3.7":
		return scheme{24, des.NewTripleDESCipher}, true
	}
	return scheme{}, false
}

func prfOf(oid asn1.ObjectIdentifier) (func() hash.Hash, bool) {
	switch oid.String() {
	case "", "1.2.840.113549.2.7": // absent means HMAC-SHA-1
		return sha1.New, true
	case "1.2.840.113549.2.8":
		return sha256.New224, true
	case "1.2.840.113549.2.9":
		return sha256.New, true
	case "1.2.840.113549.2.10":
		return sha512.New384, true
	case "1.2.840.113549.2.11":
		return sha512.New, true
	}
	return nil, false
}

// unmarshal is asn1.Unmarshal that refuses what follows the value.
func unmarshal(der []byte, v any) bool {
	rest, err := asn1.Unmarshal(der, v)
	return err == nil && len(rest) == 0
}

// decryptPKCS8 returns the PKCS #8 key inside; the caller clears it.
func decryptPKCS8(der []byte, password secret.Bytes) ([]byte, error) {
	var info encryptedKeyInfo
	if !unmarshal(der, &info) {
		return nil, errors.New("its content is not an encrypted PKCS #8 key: truncated or altered")
	}
	var params pbes2Params
	if !info.Algorithm.Algorithm.Equal(oidPBES2) || !unmarshal(info.Algorithm.Parameters.FullBytes, &params) {
		return nil, errPBES2
	}
	s, ok := schemeOf(params.Scheme.Algorithm)
	if !ok {
		return nil, errPBES2
	}
	var iv []byte
	if !unmarshal(params.Scheme.Parameters.FullBytes, &iv) {
		return nil, errPBES2
	}
	if password.Len() == 0 {
		return nil, errNeedsPassword
	}
	key, err := passwordKey(params.KDF, password, s.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := s.block(key)
	if err != nil {
		return nil, fmt.Errorf("its cipher: %w", err)
	}
	size := block.BlockSize()
	if len(iv) != size || len(info.Data) == 0 || len(info.Data)%size != 0 {
		return nil, errPBES2
	}
	plain := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, info.Data)
	n, ok := unpad(plain, size)
	var inner asn1.RawValue // a wrong password passes the padding now and then, but not as a DER value
	if !ok || !unmarshal(plain[:n], &inner) {
		clear(plain)
		return nil, errWrongPassword
	}
	return plain[:n], nil
}

// passwordKey derives the key of size bytes with PBKDF2 or scrypt.
func passwordKey(kdf algorithmID, password secret.Bytes, size int) ([]byte, error) {
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		var p pbkdf2Params
		if !unmarshal(kdf.Parameters.FullBytes, &p) || p.Iterations < 1 || p.Iterations > maxIterations || (p.KeyLength != 0 && p.KeyLength != size) {
			return nil, errPBES2
		}
		prf, ok := prfOf(p.PRF.Algorithm)
		if !ok {
			return nil, errPBES2
		}
		return pbkdf2.Key(prf, string(password.Expose()), p.Salt, p.Iterations, size)
	case kdf.Algorithm.Equal(oidScrypt):
		var p scryptParams
		if !unmarshal(kdf.Parameters.FullBytes, &p) || (p.KeyLength != 0 && p.KeyLength != size) ||
			p.N < 2 || p.R < 1 || p.P < 1 || p.N > maxScryptMem/128 || p.R > maxScryptMem/128/p.N || p.P > 16 {
			return nil, errPBES2
		}
		return scrypt.Key(password.Expose(), p.Salt, p.N, p.R, p.P, size)
	}
	return nil, errPBES2
}
