package hsm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"sync/atomic"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/store"
	"redoubt/internal/store/mem"
)

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	d256, d384, d512 := sha256.Sum256([]byte("x")), sha512.Sum384([]byte("x")), sha512.Sum512([]byte("x"))
	for _, tc := range []struct {
		spec   key.Spec
		ops    []string
		alg    key.Algorithm
		digest []byte
	}{
		{rsaSpec, nil, "RS256", d256[:]}, {rsaSpec, nil, "PS512", d512[:]}, {rsaSpec, nil, "RSNULL", []byte("anything short")},
		{ecSpec, nil, "ES256", d256[:]}, {key.Spec{Type: key.EC, Curve: key.P384}, nil, "ES384", d384[:]}, {key.Spec{Type: key.EC, Curve: key.P521}, nil, "ES512", d512[:]},
		{key.Spec{Type: key.EC, Curve: key.P256K}, nil, "ES256K", d256[:]},
		{octSpec, []string{"sign", "verify"}, "HS256", []byte("a message of any length")},
	} {
		name := key.Name("sign-" + string(tc.alg))
		b := r.createWith(name, key.CreateParams{Spec: tc.spec, Ops: tc.ops})
		res, err := r.Sign(ctx, user, name, "", tc.alg, tc.digest)
		if err != nil {
			t.Errorf("%s: %v", tc.alg, err)
			continue
		}
		if res.Name != name || res.Version != b.Meta.Version {
			t.Errorf("%s: result is of %s/%s", tc.alg, res.Name, res.Version)
		}
		r.create(name, octSpec) // the signing version is the old one from here on
		r.restart()
		for sig, want := range map[string]bool{string(res.Value): true, string(res.Value[1:]): false, "": false, string(append([]byte{res.Value[0] ^ 1}, res.Value[1:]...)): false} {
			ok, err := r.Verify(ctx, user, name, b.Meta.Version, tc.alg, tc.digest, []byte(sig))
			if err != nil || ok != want {
				t.Errorf("%s: verify: %v, %v; want %v", tc.alg, ok, err, want)
			}
		}
	}
	r.check()
}

func TestEncryptAndWrap(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("rsa", rsaSpec)
	r.create("oct", octSpec)
	iv := bytes.Repeat([]byte{7}, 16)
	type cipherFunc func(context.Context, Caller, key.Name, key.Version, key.Algorithm, key.CipherInput) (Result, error)
	for _, tc := range []struct {
		name key.Name
		alg  key.Algorithm
		wrap bool
		in   key.CipherInput
	}{
		{"rsa", "RSA-OAEP-256", false, key.CipherInput{Value: []byte("secret")}},
		{"rsa", "RSA-OAEP", true, key.CipherInput{Value: []byte("secret")}},
		{"rsa", "RSA1_5", true, key.CipherInput{Value: []byte("secret")}},
		{"oct", "A256KW", true, key.CipherInput{Value: bytes.Repeat([]byte{1}, 32)}},
		{"oct", "CKM_AES_KEY_WRAP_PAD", true, key.CipherInput{Value: []byte("13 bytes long")}},
		{"oct", "A256GCM", false, key.CipherInput{Value: []byte("secret"), AAD: []byte("bound")}},
		{"oct", "A256CBC", false, key.CipherInput{Value: bytes.Repeat([]byte{2}, 32), IV: iv}},
		{"oct", "A256CBCPAD", false, key.CipherInput{Value: []byte("secret"), IV: iv}},
	} {
		forth, back := cipherFunc(r.Encrypt), cipherFunc(r.Decrypt)
		if tc.wrap {
			forth, back = r.Wrap, r.Unwrap
		}
		res, err := forth(ctx, user, tc.name, "", tc.alg, tc.in)
		if err != nil {
			t.Errorf("%s: %v", tc.alg, err)
			continue
		}
		in := key.CipherInput{Value: res.Value, IV: res.IV, AAD: tc.in.AAD, Tag: res.Tag}
		if in.IV == nil {
			in.IV = tc.in.IV
		}
		out, err := back(ctx, user, tc.name, res.Version, tc.alg, in)
		if err != nil || !bytes.Equal(out.Value, tc.in.Value) {
			t.Errorf("%s: came back as %q, %v", tc.alg, out.Value, err)
		}
		in.Value = bytes.Clone(in.Value)
		in.Value[len(in.Value)-1] ^= 1
		if out, err := back(ctx, user, tc.name, res.Version, tc.alg, in); err == nil && bytes.Equal(out.Value, tc.in.Value) {
			t.Errorf("%s: a changed ciphertext came back as the plaintext", tc.alg)
		}
	}
}

func TestCryptoRefusals(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	now := r.clock.Now().Unix()
	off := false
	digest := make([]byte, 32)
	r.create("ec", ecSpec)
	r.create("oct", octSpec)
	r.createWith("disabled", key.CreateParams{Spec: ecSpec, Enabled: &off})
	r.createWith("expired", key.CreateParams{Spec: ecSpec, Expires: now})
	r.createWith("early", key.CreateParams{Spec: ecSpec, NotBefore: now + 1})
	r.createWith("verify-only", key.CreateParams{Spec: ecSpec, Ops: []string{"verify"}})
	r.createWith("expired-oct", key.CreateParams{Spec: octSpec, Expires: now})
	sig := make([]byte, 64)
	wrapped := make([]byte, 24)
	in := func(b []byte) key.CipherInput { return key.CipherInput{Value: b} }
	sign := func(n key.Name, v key.Version, alg key.Algorithm, d []byte) func() error {
		return func() error { _, err := r.Sign(ctx, user, n, v, alg, d); return err }
	}
	for name, tc := range map[string]struct {
		do   func() error
		want error
	}{
		"no key":          {sign("none", "", "ES256", digest), key.ErrNotFound},
		"no version":      {sign("ec", key.NewVersion(), "ES256", digest), key.ErrNotFound},
		"disabled":        {sign("disabled", "", "ES256", digest), key.ErrDisabled},
		"expired":         {sign("expired", "", "ES256", digest), key.ErrExpired},
		"not yet valid":   {sign("early", "", "ES256", digest), key.ErrNotYetValid},
		"not listed":      {sign("verify-only", "", "ES256", digest), key.ErrOperationForbidden},
		"algorithm":       {sign("ec", "", "RS256", digest), key.ErrBadAlgorithm},
		"no algorithm":    {sign("ec", "", "", digest), key.ErrBadAlgorithm},
		"digest length":   {sign("ec", "", "ES256", digest[1:]), key.ErrBadParameter},
		"wrap an expired": {func() error { _, err := r.Wrap(ctx, user, "expired-oct", "", "A256KW", in(digest)); return err }, key.ErrExpired},
		"key size":        {func() error { _, err := r.Wrap(ctx, user, "oct", "", "A128KW", in(digest)); return err }, key.ErrBadAlgorithm},
		"integrity":       {func() error { _, err := r.Unwrap(ctx, user, "oct", "", "A256KW", in(wrapped)); return err }, key.ErrCryptoFailed},
		"use of the type": {func() error { _, err := r.Encrypt(ctx, user, "ec", "", "RSA-OAEP", in(digest)); return err }, key.ErrOperationForbidden},
		"disabled verify": {func() error { _, err := r.Verify(ctx, user, "disabled", "", "ES256", digest, sig); return err }, key.ErrDisabled},
		// Outside its dates a key still gives old data back.
		"expired verify":    {func() error { _, err := r.Verify(ctx, user, "expired", "", "ES256", digest, sig); return err }, nil},
		"early verify":      {func() error { _, err := r.Verify(ctx, user, "early", "", "ES256", digest, sig); return err }, nil},
		"unwrap an expired": {func() error { _, err := r.Unwrap(ctx, user, "expired-oct", "", "A256KW", in(wrapped)); return err }, key.ErrCryptoFailed},
	} {
		wantErr(t, name, tc.do(), tc.want)
	}
	if _, err := r.DeleteKey(ctx, user, "ec"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "deleted", sign("ec", "", "ES256", digest)(), key.ErrNotFound)
	if _, err := r.RecoverKey(ctx, officer, "ec"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "recovered", sign("ec", "", "ES256", digest)(), nil)
}

// countingStore counts reads.
type countingStore struct {
	store.Store
	gets, ranges atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, k string) (store.KV, store.Rev, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, k)
}

func (s *countingStore) Range(ctx context.Context, q store.Query) (store.Page, error) {
	s.ranges.Add(1)
	return s.Store.Range(ctx, q)
}

// A signature reads the device, the head and, for an older version, its record; nothing else.
func TestSignReadsLittle(t *testing.T) {
	t.Parallel()
	below := &countingStore{Store: mem.New()}
	r := newTestHSMOn(t, below)
	r.testOnlyActivate()
	old := r.create("k", ecSpec).Meta.Version
	current := r.create("k", ecSpec).Meta.Version
	digest := make([]byte, 32)
	sign := func(v key.Version) {
		t.Helper()
		if _, err := r.Sign(t.Context(), user, "k", v, "ES256", digest); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []key.Version{"", old, current} {
		sign(v)
	}
	for v, most := range map[key.Version]int64{"": 2, current: 2, old: 3} {
		gets, ranges := below.gets.Load(), below.ranges.Load()
		sign(v)
		// The sequencer may look at the outbox, by Range, once a second.
		if n := below.gets.Load() - gets; n > most {
			t.Errorf("version %q: %d reads; want at most %d", v, n, most)
		}
		if n := below.ranges.Load() - ranges; n > 1 {
			t.Errorf("version %q: %d ranges", v, n)
		}
	}
}

func TestConcurrentCryptoWhileKeysChange(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	v := r.create("k", ecSpec).Meta.Version
	digest := make([]byte, 32)
	parallel(8, func(i int) {
		for n := range 20 {
			var err error
			switch i {
			case 0:
				_, err = r.CreateKey(ctx, user, "k", key.CreateParams{Spec: ecSpec})
			case 1:
				_, err = r.UpdateKey(ctx, user, "k", v, key.Change{Tags: map[string]string{"n": fmt.Sprint(n)}})
			default:
				var res Result
				if res, err = r.Sign(ctx, user, "k", v, "ES256", digest); err == nil {
					var ok bool
					if ok, err = r.Verify(ctx, auditedUser(i), "k", v, "ES256", digest, res.Value); err == nil && !ok {
						t.Error("a signature does not verify")
					}
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	r.check()
}

// auditedUser is the user on another connection.
func auditedUser(i int) Caller {
	u := user
	u.RequestID = fmt.Sprintf("request-%d", i)
	return u
}
