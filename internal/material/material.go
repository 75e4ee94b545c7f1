// Package material is the secret half of a key and everything that can be done with it: generate, parse,
// sign, encrypt, wrap. It knows nothing of names, versions, permissions or storage.
//
// Which algorithm goes with which key is decided by one table, key.Algorithm.Check; the code here is
// reached only with a pair the table allows. Digest algorithms take the digest, not the message.
//
// Errors: key.ErrBadAlgorithm when algorithm and key do not go together, key.ErrBadParameter when an
// input has a shape the algorithm cannot take (lengths, which an attacker knows anyway), and exactly
// key.ErrCryptoFailed, bare, for every failure that depends on secret bytes: padding, tag, integrity
// value. A signature that does not verify is false, not an error.
//
// What an attacker with a decryption oracle can still learn: that a decryption failed at all. For RSA1_5
// (Bleichenbacher) and A*CBCPAD (Vaudenay) that one bit is enough to decrypt chosen ciphertexts in many
// queries, whatever the timing. The algorithms exist because the wire protocol has them; new users
// should take RSA-OAEP-256 and A*GCM.
//
// Wiping is best effort: the standard library keeps key schedules and CRT values of its own that cannot
// be reached, and the runtime may have copied bytes.
package material

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"redoubt/internal/key"
)

var (
	// ErrWiped: the key was used after Wipe.
	ErrWiped = errors.New("material: key has been wiped")
	// ErrBadMaterial: the bytes given to Parse are not the material of a key of that spec.
	ErrBadMaterial = errors.New("material: not valid key material")
)

// Key is one key's material. It is a small value to be copied freely; all copies are the same key.
// Every method may be called from any goroutine; no lock is held during cryptographic work. The zero
// Key answers ErrWiped to everything.
type Key struct{ h *holder }

// body is the part that differs between key types. Its methods see only algorithms that the table in
// package key allows for the type.
type body interface {
	sign(alg key.Algorithm, digest []byte) ([]byte, error)
	verify(alg key.Algorithm, digest, sig []byte) (bool, error)
	encrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error)
	decrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error)
	payload() ([]byte, error) // the type's canonical encoding; a fresh copy
	wipe()
}

// holder is what all copies of a Key share. spec, pub and body never change.
type holder struct {
	spec key.Spec
	pub  key.Public
	body body

	// users counts operations under way; wiped is added once Wipe was called. The one that brings it
	// back to exactly wiped does the wiping, so that no operation ever computes with half-zeroed numbers
	// (a faulty RSA-CRT signature gives the key away).
	users atomic.Int64
	once  sync.Once
}

const wiped = int64(1) << 62

func (k Key) enter() (*holder, error) {
	if k.h == nil {
		return nil, ErrWiped
	}
	if k.h.users.Add(1) >= wiped {
		k.h.leave()
		return nil, ErrWiped
	}
	return k.h, nil
}

func (h *holder) leave() {
	if h.users.Add(-1) == wiped {
		h.once.Do(h.body.wipe)
	}
}

// Wipe makes every later use of the key fail with ErrWiped and overwrites what can be reached of it, at
// once or when the operations under way have ended. It does not wait for them.
func (k Key) Wipe() {
	if k.h != nil && k.h.users.Or(wiped) == 0 {
		k.h.once.Do(k.h.body.wipe)
	}
}

// Spec says what kind of key it is, in the form key.NewSpec returns.
func (k Key) Spec() key.Spec {
	if k.h == nil {
		return key.Spec{}
	}
	return k.h.spec
}

// Public returns the public part, empty for oct keys. The caller must not modify it.
func (k Key) Public() key.Public {
	if k.h == nil {
		return key.Public{}
	}
	return k.h.pub
}

// Format prints the kind of key and nothing else, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "material.Key(%s)", k.Spec()) }

// Sign signs digest (for RSNULL and HS*: the bytes themselves). ECDSA signatures are r||s, each of the
// curve's width (RFC 7518, 3.4).
func (k Key) Sign(alg key.Algorithm, digest []byte) ([]byte, error) {
	h, err := k.enter()
	if err != nil {
		return nil, err
	}
	defer h.leave()
	if err := alg.Check(h.spec, key.UseSign, len(digest)); err != nil {
		return nil, err
	}
	return h.body.sign(alg, digest)
}

// Verify tells whether sig is a signature of digest. A signature of the wrong length is just not one.
func (k Key) Verify(alg key.Algorithm, digest, sig []byte) (bool, error) {
	h, err := k.enter()
	if err != nil {
		return false, err
	}
	defer h.leave()
	if err := alg.Check(h.spec, key.UseSign, len(digest)); err != nil {
		return false, err
	}
	return h.body.verify(alg, digest, sig)
}

// Encrypt encrypts in.Value. The GCM modes make IV (12 bytes) and Tag (16 bytes) themselves and refuse a
// caller's; the CBC modes need the caller's IV (16 bytes).
func (k Key) Encrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	return k.cipher(alg, key.UseEncrypt, in, body.encrypt)
}

// Decrypt is the inverse of Encrypt; IV, AAD and Tag must be those of the encryption.
func (k Key) Decrypt(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	return k.cipher(alg, key.UseEncrypt, in, body.decrypt)
}

// Wrap encrypts another key: RSA as in Encrypt, oct with AES key wrap (RFC 3394, RFC 5649).
func (k Key) Wrap(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	return k.cipher(alg, key.UseWrap, in, body.encrypt)
}

// Unwrap is the inverse of Wrap.
func (k Key) Unwrap(alg key.Algorithm, in key.CipherInput) (key.CipherOutput, error) {
	return k.cipher(alg, key.UseWrap, in, body.decrypt)
}

func (k Key) cipher(alg key.Algorithm, use key.Use, in key.CipherInput,
	do func(body, key.Algorithm, key.CipherInput) (key.CipherOutput, error),
) (key.CipherOutput, error) {
	h, err := k.enter()
	if err != nil {
		return key.CipherOutput{}, err
	}
	defer h.leave()
	if err := alg.Check(h.spec, use, 0); err != nil {
		return key.CipherOutput{}, err
	}
	return do(h.body, alg, in)
}

// noExtras refuses the fields that only some AES modes have, so that a caller who believes they are
// authenticated learns that they are not.
func noExtras(alg key.Algorithm, in key.CipherInput) error {
	if len(in.IV) != 0 || len(in.AAD) != 0 || len(in.Tag) != 0 {
		return fmt.Errorf("%w: %q takes no iv, aad or tag; leave them out", key.ErrBadParameter, alg)
	}
	return nil
}
