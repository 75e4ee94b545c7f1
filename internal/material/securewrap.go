package material

import (
	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// secureWrapSize is the length of the AES key that secure wrap makes, bytes.
const secureWrapSize = 32

// SecureWrap makes a random 256-bit AES key that nobody sees and returns it wrapped under k with one of the
// algorithms that key.Allowed lists for key.UseSecureWrap.
func (k Key) SecureWrap(alg key.Algorithm) ([]byte, error) {
	fresh := secret.Random(secureWrapSize)
	defer fresh.Wipe()
	out, err := k.cipher(alg, key.UseSecureWrap, key.CipherInput{Value: fresh.Expose()}, body.encrypt)
	return out.Value, err
}

// SecureUnwrap opens what SecureWrap made; the caller wipes the result. Anything that does not open, or does
// not hold a 256-bit key, is key.ErrCryptoFailed.
func (k Key) SecureUnwrap(alg key.Algorithm, wrapped []byte) (secret.Bytes, error) {
	out, err := k.cipher(alg, key.UseSecureWrap, key.CipherInput{Value: wrapped}, body.decrypt)
	if err != nil {
		return secret.Bytes{}, err
	}
	if len(out.Value) != secureWrapSize {
		clear(out.Value)
		return secret.Bytes{}, key.ErrCryptoFailed
	}
	return secret.New(out.Value), nil
}
