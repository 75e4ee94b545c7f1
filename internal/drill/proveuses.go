package drill

import (
	"bytes"
	"context"
	"crypto"

	"redoubt/internal/client"
)

// proveUses goes through the evidence once and has the rebuilt HSM do with every version what its fate
// allows.
func (d *drill) proveUses(ctx context.Context, s *step) error {
	s.expect(d.report.Keys.Versions)
	sigs, ciphers, news, off := d.proofs.of(proofOldSigs), d.proofs.of(proofOldCiphers), d.proofs.of(proofNewSigs), d.proofs.of(proofDisabled)
	err := each(ctx, readSpool[record](d.file(evidenceFile)), func(ctx context.Context, r record) error {
		defer s.add(len(r.Versions))
		switch r.Fate {
		case fateNone:
			return d.checkUses(ctx, r, sigs, ciphers, news)
		case fateDisabled:
			return d.checkRefused(ctx, r, off, "KeyDisabled")
		case fateExpired:
			if err := d.checkUses(ctx, r, sigs, ciphers, nil); err != nil {
				return err
			}
			return d.checkRefused(ctx, r, off, "KeyExpired")
		default:
			return d.checkDeleted(ctx, r)
		}
	})
	if err != nil {
		return err
	}
	for _, t := range []*tally{sigs, ciphers, news, off} {
		t.done()
	}
	s.note("%d old signatures, %d old ciphertexts, %d new ones under old public keys", sigs.count(), ciphers.count(), news.count())
	return nil
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.checked
}

// checkUses verifies and opens what one key made before the disaster, and, unless news is nil, makes the
// same anew. Only the end of ctx is an error.
func (d *drill) checkUses(ctx context.Context, r record, sigs, ciphers, news *tally) error {
	for _, v := range r.Versions {
		public, err := publicKey(v.Public)
		if err != nil {
			sigs.check(false, "%s/%s: the public key written down is bad: %v", r.Name, v.Version, err)
			continue
		}
		c := usedVersion{h: d.rebuilt, name: r.Name, version: v.Version, public: public, negative: len(v.Uses) > 2}
		for _, u := range v.Uses {
			if u.Op == opSign {
				c.oldSignature(ctx, u, sigs)
			} else {
				c.oldCiphertext(ctx, u, ciphers)
			}
			if news != nil {
				c.again(ctx, u, news)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// usedVersion is a version of which there is evidence.
type usedVersion struct {
	h             *client.HSM
	name, version string
	public        crypto.PublicKey // nil for oct keys
	negative      bool             // of a sample key: a yes is worth something only from who can say no
}

// oldSignature checks one signature on the HSM and, if there is a public key, outside; for sample keys also
// that the HSM takes it for no other digest's.
func (c usedVersion) oldSignature(ctx context.Context, u use, t *tally) {
	ok, err := c.h.Verify(ctx, c.name, c.version, u.Alg, u.Input, u.Output)
	t.check(ok && err == nil, "%s/%s: the HSM does not verify an old %s signature (%v)", c.name, c.version, u.Alg, err)
	if c.negative {
		other := bytes.Clone(u.Input)
		other[0] ^= 1
		ok, err := c.h.Verify(ctx, c.name, c.version, u.Alg, other, u.Output)
		t.check(!ok && err == nil, "%s/%s: the HSM takes a %s signature for that of another digest (%v)", c.name, c.version, u.Alg, err)
	}
	if c.public != nil {
		err := verifyOutside(c.public, u.Alg, u.Input, u.Output)
		t.check(err == nil, "%s/%s: an old %s signature does not verify outside: %v", c.name, c.version, u.Alg, err)
	}
}

func (c usedVersion) oldCiphertext(ctx context.Context, u use, t *tally) {
	plain, err := u.undo(ctx, c.h, c.name, c.version)
	t.check(err == nil && bytes.Equal(plain, u.Input), "%s/%s: an old %s ciphertext does not open to what it was (%v)", c.name, c.version, u.Alg, err)
}

// again uses the rebuilt key and checks the result with what was written down before the disaster: the
// public key, or for HMAC the value itself. Ciphertexts are made outside under the old public key.
func (c usedVersion) again(ctx context.Context, u use, t *tally) {
	if u.Op != opSign {
		out, ok, err := encryptOutside(c.public, u.Alg, u.Input)
		if !ok {
			return
		}
		fresh := u
		fresh.Output = out
		var plain []byte
		if err == nil {
			plain, err = fresh.undo(ctx, c.h, c.name, c.version)
		}
		t.check(err == nil && bytes.Equal(plain, u.Input), "%s/%s: a %s ciphertext made under the old public key does not open (%v)", c.name, c.version, u.Alg, err)
		return
	}
	fresh := use{Op: opSign, Alg: u.Alg, Input: u.Input}
	err := fresh.make(ctx, c.h, c.name, c.version)
	switch {
	case err != nil:
		t.check(false, "%s/%s: %v", c.name, c.version, err)
	case c.public == nil:
		t.check(bytes.Equal(fresh.Output, u.Output), "%s/%s: %s gives another value than before", c.name, c.version, u.Alg)
	default:
		err := verifyOutside(c.public, u.Alg, u.Input, fresh.Output)
		t.check(err == nil, "%s/%s: a new %s signature does not verify under the old public key: %v", c.name, c.version, u.Alg, err)
	}
}

// checkRefused tries the first use of every version, which must be refused with the code.
func (d *drill) checkRefused(ctx context.Context, r record, t *tally, code string) error {
	for _, v := range r.Versions {
		for _, u := range v.Uses[:min(1, len(v.Uses))] {
			fresh := u
			err := fresh.make(ctx, d.rebuilt, r.Name, v.Version)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.check(refusedWith(err, 403, code), "%s/%s: %s was not refused with %s: %v", r.Name, v.Version, u.Op, code, err)
		}
	}
	return nil
}

// checkDeleted looks at a soft-deleted key: it must not be usable before it is recovered.
func (d *drill) checkDeleted(ctx context.Context, r record) error {
	_, err := d.rebuilt.GetKey(ctx, r.Name, "")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.proofs.of(proofDeleted).check(client.IsNotFound(err), "%s is soft-deleted and answers as a live key: %v", r.Name, err)
	return nil
}
