package securitydomain

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// JWE compact serialisation (RFC 7516) in the two shapes a security domain uses: content encryption
// A256CBC-HS512 (RFC 7518 section 5.2.5) with the key given (alg "dir") or encrypted with RSA-OAEP and SHA-256.
// It is written here because the order of checks is a promise: exact header, exact lengths, tag in
// constant time before any decryption, and one error for whatever is wrong behind the header.
const (
	algDirect   = "dir"
	algRSA      = "RSA-OAEP-256"
	encName     = "A256CBC-HS512"
	kidRSA      = "not used" // what the genuine client writes where no key id is needed
	jweTagSize  = 32
	macKeySize  = 32
	jwePartsNum = 5
)

// errDecrypt is the only error of decryption: a wrong key, a wrong tag and wrong padding look the same.
var errDecrypt = errors.New("it does not decrypt: damaged, altered, or made for another key")

var b64 = base64.RawURLEncoding.Strict()

// decodeB64 is base64url without padding, with zero trailing bits and, unlike the standard decoder, no line breaks.
func decodeB64(s string) ([]byte, error) {
	b, err := b64.DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("not strict base64url")
	}
	return b, nil
}

// jwe is a parsed compact JWE.
type jwe struct {
	alg, kid     string
	aad          string // the encoded header
	encryptedKey []byte
	iv           []byte
	ciphertext   []byte
	tag          []byte
}

// parseJWE reads a compact JWE whose alg must be the one given.
func parseJWE(compact, alg string) (jwe, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != jwePartsNum {
		return jwe{}, fmt.Errorf("a compact JWE has %d parts, this text has %d", jwePartsNum, len(parts))
	}
	var raw [jwePartsNum][]byte
	for i, p := range parts {
		b, err := decodeB64(p)
		if err != nil {
			return jwe{}, fmt.Errorf("part %d of the JWE is %w", i+1, err)
		}
		raw[i] = b
	}
	h, err := parseObject(raw[0], "the JWE header")
	if err != nil {
		return jwe{}, err
	}
	if err := cmp.Or(h.only("alg", "enc", "kid"), h.fixed("alg", alg), h.fixed("enc", encName)); err != nil {
		return jwe{}, err
	}
	kid, err := h.text("kid")
	if err != nil {
		return jwe{}, err
	}
	j := jwe{alg: alg, kid: kid, aad: parts[0], encryptedKey: raw[1], iv: raw[2], ciphertext: raw[3], tag: raw[4]}
	switch {
	case alg == algDirect && len(j.encryptedKey) != 0:
		return jwe{}, errors.New(`the JWE carries an encrypted key although its alg is "dir"`)
	case len(j.iv) != aes.BlockSize:
		return jwe{}, fmt.Errorf("the JWE's IV has %d bytes, not %d", len(j.iv), aes.BlockSize)
	case len(j.ciphertext) == 0 || len(j.ciphertext)%aes.BlockSize != 0:
		return jwe{}, errors.New("the JWE's ciphertext is not whole blocks")
	case len(j.tag) != jweTagSize:
		return jwe{}, fmt.Errorf("the JWE's tag has %d bytes, not %d", len(j.tag), jweTagSize)
	}
	return j, nil
}

// openDirect decrypts with the content encryption key itself.
func (j jwe) openDirect(cek []byte) ([]byte, error) {
	if len(cek) != cekSize {
		return nil, errDecrypt
	}
	if subtle.ConstantTimeCompare(contentTag(cek, j.aad, j.iv, j.ciphertext), j.tag) != 1 {
		return nil, errDecrypt
	}
	block, err := aes.NewCipher(cek[macKeySize:])
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(j.ciphertext))
	cipher.NewCBCDecrypter(block, j.iv).CryptBlocks(plain, j.ciphertext)
	n, ok := unpad(plain, aes.BlockSize)
	if !ok {
		clear(plain)
		return nil, errDecrypt
	}
	return plain[:n:n], nil
}

// openRSA decrypts the content encryption key, then the content.
func (j jwe) openRSA(key *rsa.PrivateKey) ([]byte, error) {
	cek, err := rsa.DecryptOAEP(sha256.New(), nil, key, j.encryptedKey, nil)
	if err != nil {
		return nil, errDecrypt
	}
	defer clear(cek)
	return j.openDirect(cek)
}

// sealDirect makes a compact JWE under cek. The kid must need no escaping in JSON (checkTag sees to it).
func sealDirect(cek []byte, kid string, plain []byte) (string, error) {
	return sealContent(algDirect, kid, "", cek, randomBytes(aes.BlockSize), plain)
}

// sealRSA makes a compact JWE under a fresh content encryption key that only the holder of pub's private key gets.
func sealRSA(pub *rsa.PublicKey, plain []byte) (string, error) {
	cek := randomBytes(cekSize)
	defer clear(cek)
	encryptedKey, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, cek, nil)
	if err != nil {
		return "", fmt.Errorf("encrypting to a certificate: %w", err)
	}
	return sealContent(algRSA, kidRSA, b64.EncodeToString(encryptedKey), cek, randomBytes(aes.BlockSize), plain)
}

func sealContent(alg, kid, encryptedKey string, cek, iv, plain []byte) (string, error) {
	block, err := aes.NewCipher(cek[macKeySize:])
	if err != nil {
		return "", err
	}
	aad := b64.EncodeToString(fmt.Appendf(nil, `{"alg":"%s","enc":"%s","kid":"%s"}`, alg, encName, kid))
	padded := pad(plain, aes.BlockSize)
	ciphertext := make([]byte, len(padded))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(ciphertext, padded)
	clear(padded)
	tag := contentTag(cek, aad, iv, ciphertext)
	return strings.Join([]string{aad, encryptedKey, b64.EncodeToString(iv), b64.EncodeToString(ciphertext), b64.EncodeToString(tag)}, "."), nil
}

// contentTag is the authentication tag of RFC 7518 section 5.2.2.1: HMAC-SHA-512 under the first half of cek
// over header, IV, ciphertext and the header's length in bits, cut to 32 bytes.
func contentTag(cek []byte, aad string, iv, ciphertext []byte) []byte {
	mac := hmac.New(sha512.New, cek[:macKeySize])
	mac.Write([]byte(aad))
	mac.Write(iv)
	mac.Write(ciphertext)
	mac.Write(binary.BigEndian.AppendUint64(nil, 8*uint64(len(aad))))
	return mac.Sum(nil)[:jweTagSize]
}

// pad is the padding of PKCS #7 (RFC 5652 section 6.3) into a new slice.
func pad(b []byte, block int) []byte {
	n := block - len(b)%block
	padded := make([]byte, len(b)+n)
	copy(padded, b)
	for i := len(b); i < len(padded); i++ {
		padded[i] = byte(n)
	}
	return padded
}

// unpad returns the length of b without its padding, looking at the whole last block whatever it holds.
func unpad(b []byte, block int) (n int, ok bool) {
	if len(b) < block {
		return 0, false
	}
	p := int(b[len(b)-1])
	good := subtle.ConstantTimeLessOrEq(1, p) & subtle.ConstantTimeLessOrEq(p, block)
	for i := 1; i <= block; i++ {
		outside := subtle.ConstantTimeLessOrEq(p+1, i)
		good &= outside | subtle.ConstantTimeByteEq(b[len(b)-i], byte(p))
	}
	if good != 1 {
		return 0, false
	}
	return len(b) - p, true
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand aborts the process instead
	return b
}
