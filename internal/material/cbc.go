package material

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"

	"redoubt/internal/key"
)

// checkCBC refuses the shapes CBC cannot take. None of this depends on secret bytes.
func checkCBC(alg key.Algorithm, in key.CipherInput, blocks bool) error {
	if len(in.AAD) != 0 || len(in.Tag) != 0 {
		return fmt.Errorf("%w: %q authenticates nothing; leave aad and tag out", key.ErrBadParameter, alg)
	}
	if len(in.IV) != aes.BlockSize {
		return fmt.Errorf("%w: %q needs an iv of %d bytes, got %d", key.ErrBadParameter, alg, aes.BlockSize, len(in.IV))
	}
	if blocks && (len(in.Value) == 0 || len(in.Value)%aes.BlockSize != 0) {
		return fmt.Errorf("%w: %q takes whole blocks of %d bytes here, got %d bytes", key.ErrBadParameter, alg, aes.BlockSize, len(in.Value))
	}
	return nil
}

func (o *octBody) encryptCBC(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	pad := modeOf(alg) == modeCBCPad
	if err := checkCBC(alg, in, !pad); err != nil {
		return key.CipherOutput{}, err
	}
	buf := bytes.Clone(in.Value)
	if pad {
		n := aes.BlockSize - len(buf)%aes.BlockSize
		buf = append(buf, bytes.Repeat([]byte{byte(n)}, n)...)
	}
	cipher.NewCBCEncrypter(o.block, in.IV).CryptBlocks(buf, buf)
	return key.CipherOutput{Value: buf, IV: in.IV}, nil
}

func (o *octBody) decryptCBC(alg key.Algorithm, in key.CipherInput) ([]byte, error) {
	if err := checkCBC(alg, in, true); err != nil {
		return nil, err
	}
	buf := make([]byte, len(in.Value))
	cipher.NewCBCDecrypter(o.block, in.IV).CryptBlocks(buf, in.Value)
	if modeOf(alg) == modeCBC {
		return buf, nil
	}
	n, ok := unpad(buf)
	if ok != 1 {
		clear(buf)
		return nil, key.ErrCryptoFailed
	}
	return buf[:n], nil
}

// unpad checks PKCS #7 padding (RFC 5652, 6.3) of a whole number of blocks, one at least. It always looks
// at all of the last block, whatever it holds. ok is 1 for good padding, and then n is the length of the
// message; otherwise n means nothing.
func unpad(b []byte) (n, ok int) {
	last := b[len(b)-aes.BlockSize:]
	p := int(last[aes.BlockSize-1])
	ok = subtle.ConstantTimeLessOrEq(1, p) & subtle.ConstantTimeLessOrEq(p, aes.BlockSize)
	for i, c := range last {
		inside := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, p) // the last p bytes
		same := subtle.ConstantTimeByteEq(c, byte(p))
		ok &= subtle.ConstantTimeSelect(inside, same, 1)
	}
	return len(b) - p, ok
}
