package material

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
	"strings"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

const (
	gcmNonceSize = 12
	gcmTagSize   = 16
)

type octBody struct {
	raw   secret.Bytes
	block cipher.Block
	gcm   cipher.AEAD // takes no nonce: draws one and puts it in front
}

func newOct(spec key.Spec, raw secret.Bytes) (Key, error) {
	block, err := aes.NewCipher(raw.Expose())
	if err != nil {
		return Key{}, fmt.Errorf("%w: %d bytes for %s", ErrBadMaterial, raw.Len(), spec)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return Key{}, fmt.Errorf("prepare %s: %w", spec, err)
	}
	return Key{&holder{spec: spec, body: &octBody{raw: raw, block: block, gcm: gcm}}}, nil
}

// mode is how an oct algorithm uses AES; the key size in the name is the table's business.
type mode int

const (
	modeNone mode = iota
	modeKW
	modeKWP
	modeGCM
	modeCBC
	modeCBCPad
)

func modeOf(alg key.Algorithm) mode {
	s := string(alg)
	switch {
	case s == "CKM_AES_KEY_WRAP_PAD" || strings.HasSuffix(s, "KWPAD"):
		return modeKWP
	case s == "CKM_AES_KEY_WRAP" || strings.HasSuffix(s, "KW"):
		return modeKW
	case strings.HasSuffix(s, "GCM"):
		return modeGCM
	case strings.HasSuffix(s, "CBC"):
		return modeCBC
	case strings.HasSuffix(s, "CBCPAD"):
		return modeCBCPad
	}
	return modeNone
}

// hmacHash maps HS* to its hash (RFC 7518, 3.2).
var hmacHash = map[key.Algorithm]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

func hmacSum(alg key.Algorithm, k, msg []byte) ([]byte, error) {
	h, ok := hmacHash[alg]
	if !ok {
		return nil, fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
	m := hmac.New(h, k)
	m.Write(msg)
	return m.Sum(nil), nil
}

func (o *octBody) sign(alg key.Algorithm, msg []byte) ([]byte, error) {
	return hmacSum(alg, o.raw.Expose(), msg)
}

func (o *octBody) verify(alg key.Algorithm, msg, mac []byte) (bool, error) {
	want, err := hmacSum(alg, o.raw.Expose(), msg)
	return err == nil && hmac.Equal(want, mac), err
}

func (o *octBody) encrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	switch modeOf(alg) {
	case modeKW, modeKWP:
		if err := noExtras(alg, in); err != nil {
			return key.CipherOutput{}, err
		}
		out, err := o.wrap(alg, in.Value)
		return key.CipherOutput{Value: out}, err
	case modeGCM:
		return o.sealGCM(alg, in)
	case modeCBC, modeCBCPad:
		return o.encryptCBC(alg, in)
	default:
		return key.CipherOutput{}, fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
}

func (o *octBody) decrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	var out []byte
	var err error
	switch modeOf(alg) {
	case modeKW, modeKWP:
		if err = noExtras(alg, in); err == nil {
			out, err = o.unwrap(alg, in.Value)
		}
	case modeGCM:
		out, err = o.openGCM(alg, in)
	case modeCBC, modeCBCPad:
		out, err = o.decryptCBC(alg, in)
	default:
		err = fmt.Errorf("%w: %q", key.ErrBadAlgorithm, alg)
	}
	if err != nil {
		return key.CipherOutput{}, err
	}
	return key.CipherOutput{Value: out}, nil
}

func (o *octBody) wrap(alg key.Algorithm, v []byte) ([]byte, error) {
	if modeOf(alg) == modeKWP {
		if len(v) == 0 {
			return nil, fmt.Errorf("%w: %q needs at least one byte", key.ErrBadParameter, alg)
		}
		return wrapPad(o.block, v), nil
	}
	if len(v) < 16 || len(v)%8 != 0 {
		return nil, fmt.Errorf("%w: %q wraps a multiple of 8 bytes, 16 at least; got %d (CKM_AES_KEY_WRAP_PAD takes any length)", key.ErrBadParameter, alg, len(v))
	}
	return wrapKey(o.block, v), nil
}

func (o *octBody) unwrap(alg key.Algorithm, v []byte) ([]byte, error) {
	out, ok := []byte(nil), false
	if modeOf(alg) == modeKWP {
		out, ok = unwrapPad(o.block, v)
	} else {
		out, ok = unwrapKey(o.block, v)
	}
	if !ok {
		return nil, key.ErrCryptoFailed
	}
	return out, nil
}

// sealGCM draws the IV at random: at most 2^32 messages may be encrypted under one key (NIST SP 800-38D,
// 8.3); nobody counts them here.
func (o *octBody) sealGCM(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	if len(in.IV) != 0 || len(in.Tag) != 0 {
		return key.CipherOutput{}, fmt.Errorf("%w: for %q the HSM makes iv and tag; leave them out", key.ErrBadParameter, alg)
	}
	s := o.gcm.Seal(nil, nil, in.Value, in.AAD)
	end := len(s) - gcmTagSize
	return key.CipherOutput{
		IV:    slices.Clip(s[:gcmNonceSize]),
		Value: slices.Clip(s[gcmNonceSize:end]),
		Tag:   s[end:],
		AAD:   in.AAD,
	}, nil
}

func (o *octBody) openGCM(alg key.Algorithm, in key.CipherInput) ([]byte, error) {
	if len(in.IV) != gcmNonceSize || len(in.Tag) != gcmTagSize {
		return nil, fmt.Errorf("%w: %q needs the iv (%d bytes) and tag (%d bytes) that encrypt returned", key.ErrBadParameter, alg, gcmNonceSize, gcmTagSize)
	}
	out, err := o.gcm.Open(nil, nil, slices.Concat(in.IV, in.Value, in.Tag), in.AAD)
	if err != nil {
		return nil, key.ErrCryptoFailed
	}
	return out, nil
}

func (o *octBody) payload() ([]byte, error) { return bytes.Clone(o.raw.Expose()), nil }

func (o *octBody) wipe() {
	o.raw.Wipe()
	o.block, o.gcm = nil, nil // their key schedules cannot be reached to be overwritten
}
