package hsm

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
)

// Result is the outcome of a cryptographic operation, and which version of the key did it.
type Result struct {
	Name    key.Name
	Version key.Version
	key.CipherOutput
}

// keyFor finds a version of a key ("" being the current one), checks that it may do op now and gives its
// material. It costs at most two reads of the store: the head and, for an older version, its record.
// Opened records and parsed keys come from the cache, and no lock is held when it returns.
func (c *call) keyFor(ctx context.Context, name key.Name, version key.Version, op key.Op, alg key.Algorithm) (key.Meta, material.Key, error) {
	m, k, err := c.usable(ctx, name, version, op)
	c.note("algorithm", string(alg))
	c.note("keyVersion", string(m.Version))
	return m, k, err
}

// usable is keyFor without its notes.
func (c *call) usable(ctx context.Context, name key.Name, version key.Version, op key.Op) (m key.Meta, k material.Key, err error) {
	err = c.read(ctx, func() error {
		hd, _, err := c.v.loadHead(ctx, name)
		if err != nil {
			return err
		}
		if m, err = c.v.loadVersion(ctx, hd, version); err != nil {
			return err
		}
		if err := m.CheckUse(op, c.h.now()); err != nil {
			return err
		}
		k, err = c.v.loadMaterial(ctx, hd.Incarnation, m)
		if isAbsent(err) {
			return c.v.missingMaterial(ctx, hd, m)
		}
		return err
	})
	return m, k, err
}

// missingMaterial tells a key that was purged a moment ago from a damaged one.
func (v *view) missingMaterial(ctx context.Context, was head, m key.Meta) error {
	hd, _, err := v.loadHead(ctx, was.Meta.Name)
	if err != nil {
		return err
	}
	if hd.Incarnation != was.Incarnation {
		return v.h.keyNotFound(m.Name, m.Version)
	}
	return fmt.Errorf("%w: the material of %s/%s is missing", ErrCorrupt, m.Name, m.Version)
}

// result closes a cryptographic operation. Material is wiped only when its key is purged.
func (c *call) result(m key.Meta, out key.CipherOutput, err error) (Result, error) {
	if errors.Is(err, material.ErrWiped) {
		err = c.h.keyNotFound(m.Name, m.Version)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Name: m.Name, Version: m.Version, CipherOutput: out}, nil
}

// Sign signs digest (for RSNULL and HS*: the bytes themselves); the signature is the result's Value.
func (h *HSM) Sign(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm, digest []byte) (r Result, err error) {
	c, err := h.begin(ctx, who, OpKeySign, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	m, k, err := c.keyFor(ctx, name, version, key.OpSign, alg)
	if err != nil {
		return Result{}, err
	}
	sig, err := k.Sign(alg, digest)
	return c.result(m, key.CipherOutput{Value: sig}, err)
}

// Verify tells whether sig is a signature of digest. A wrong signature is false and no error.
func (h *HSM) Verify(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm, digest, sig []byte) (ok bool, err error) {
	c, err := h.begin(ctx, who, OpKeyVerify, rbac.KeyScope(name))
	if err != nil {
		return false, err
	}
	defer c.end(&err)
	m, k, err := c.keyFor(ctx, name, version, key.OpVerify, alg)
	if err != nil {
		return false, err
	}
	ok, err = k.Verify(alg, digest, sig)
	_, err = c.result(m, key.CipherOutput{}, err)
	return ok && err == nil, err
}

// Encrypt encrypts in.Value. IV and tag of the GCM modes are made here.
func (h *HSM) Encrypt(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm, in key.CipherInput) (r Result, err error) {
	c, err := h.begin(ctx, who, OpKeyEncrypt, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	return c.cipher(ctx, name, version, key.OpEncrypt, alg, in, material.Key.Encrypt)
}

// Decrypt is the inverse of Encrypt.
func (h *HSM) Decrypt(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm, in key.CipherInput) (r Result, err error) {
	c, err := h.begin(ctx, who, OpKeyDecrypt, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	return c.cipher(ctx, name, version, key.OpDecrypt, alg, in, material.Key.Decrypt)
}

// Wrap encrypts another key.
func (h *HSM) Wrap(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm, in key.CipherInput) (r Result, err error) {
	c, err := h.begin(ctx, who, OpKeyWrap, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	return c.cipher(ctx, name, version, key.OpWrap, alg, in, material.Key.Wrap)
}

// Unwrap is the inverse of Wrap.
func (h *HSM) Unwrap(ctx context.Context, who Caller, name key.Name, version key.Version, alg key.Algorithm, in key.CipherInput) (r Result, err error) {
	c, err := h.begin(ctx, who, OpKeyUnwrap, rbac.KeyScope(name))
	if err != nil {
		return Result{}, err
	}
	defer c.end(&err)
	return c.cipher(ctx, name, version, key.OpUnwrap, alg, in, material.Key.Unwrap)
}

func (c *call) cipher(ctx context.Context, name key.Name, version key.Version, op key.Op, alg key.Algorithm, in key.CipherInput,
	do func(material.Key, key.Algorithm, key.CipherInput) (key.CipherOutput, error),
) (Result, error) {
	m, k, err := c.keyFor(ctx, name, version, op, alg)
	if err != nil {
		return Result{}, err
	}
	if err := c.allows(ctx, alg); err != nil {
		return Result{}, err
	}
	out, err := do(k, alg, in)
	return c.result(m, out, err)
}
