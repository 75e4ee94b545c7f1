package material

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"hash"
	"math/big"
	"os"
	"slices"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

var transfers = []key.Transfer{key.TransferSHA1, key.TransferSHA256, key.TransferSHA384}

func publicOf(t testing.TB, k Key) *rsa.PublicKey {
	t.Helper()
	pub, err := PublicRSA(k.Public().N, k.Public().E)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// Every kind of key makes the journey and is the same key at the other end.
func TestTransfer(t *testing.T) {
	t.Parallel()
	kek := pemKey(t, "rsa2048.pem")
	for _, spec := range allSpecs {
		want := testKey(t, spec)
		payload, err := want.Export()
		if err != nil {
			t.Fatal(err)
		}
		for _, alg := range transfers {
			blob, err := WrapTo(publicOf(t, kek), alg, payload)
			if err != nil {
				t.Fatalf("%s, %s: %v", alg, spec, err)
			}
			got, err := kek.UnwrapTransfer(alg, blob)
			if err != nil || !got.Equal(payload) {
				t.Errorf("%s, %s: %d bytes, %v", alg, spec, got.Len(), err)
			}
			if again, err := WrapTo(publicOf(t, kek), alg, payload); err != nil || bytes.Equal(again, blob) {
				t.Errorf("%s, %s: wrapped twice alike, %v", alg, spec, err)
			}
		}
		if spec.Type == key.Oct && payload.Len()*8 != spec.Bits {
			t.Errorf("%s exports %d bytes", spec, payload.Len())
		}
	}
}

// What a blob is, built here from the parts: OAEP with the named hash, then AES-KWP.
func TestTransferFormat(t *testing.T) {
	t.Parallel()
	kek := pemKey(t, "rsa3072.pem")
	priv := private[*rsa.PrivateKey](t, "rsa3072.pem")
	payload := []byte("any seventeen b.s")
	for alg, h := range map[key.Transfer]func() hash.Hash{key.TransferSHA1: sha1.New, key.TransferSHA256: sha256.New, key.TransferSHA384: sha512.New384} {
		for _, size := range []int{16, 24, 32} {
			inner := bytes.Repeat([]byte{7}, size)
			block, _ := aes.NewCipher(inner)
			head, err := rsa.EncryptOAEP(h(), rand.Reader, &priv.PublicKey, inner, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := kek.UnwrapTransfer(alg, append(head, wrapPad(block, payload)...))
			if err != nil || !bytes.Equal(got.Expose(), payload) {
				t.Errorf("%s with AES-%d: %v", alg, 8*size, err)
			}
		}
		blob, err := WrapTo(&priv.PublicKey, alg, secret.New(bytes.Clone(payload)))
		if err != nil || len(blob) != 384+8+24 {
			t.Fatalf("%s: %d bytes, %v", alg, len(blob), err)
		}
		inner, err := rsa.DecryptOAEP(h(), nil, priv, blob[:384], nil)
		if err != nil || len(inner) != 32 {
			t.Fatalf("%s: inner key of %d bytes, %v", alg, len(inner), err)
		}
		block, _ := aes.NewCipher(inner)
		if out, ok := unwrapPad(block, blob[384:]); !ok || !bytes.Equal(out, payload) {
			t.Errorf("%s: %x", alg, out)
		}
	}
}

// One error, bare, for everything that can be wrong with a blob.
func TestTransferRefused(t *testing.T) {
	t.Parallel()
	kek := pemKey(t, "rsa2048.pem")
	pub := publicOf(t, kek)
	good, err := WrapTo(pub, key.TransferSHA256, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}
	other, err := WrapTo(publicOf(t, pemKey(t, "rsa3072.pem")), key.TransferSHA256, secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}
	oddKey, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, make([]byte, 20), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string][]byte{
		"empty": nil, "only OAEP": good[:256], "one block less": good[:len(good)-8], "one byte less": good[:len(good)-1],
		"one byte more": append(bytes.Clone(good), 0), "a bit of OAEP": flip(good), "a bit of KWP": func() []byte { b := bytes.Clone(good); b[260] ^= 1; return b }(),
		"another key's": other, "parts swapped": slices.Concat(good[256:], good[:256]), "inner key of 20 bytes": append(oddKey, good[256:]...),
		"huge": make([]byte, 1<<20), "zeros": make([]byte, len(good)), "above the modulus": bytes.Repeat([]byte{0xFF}, len(good)),
	} {
		if out, err := kek.UnwrapTransfer(key.TransferSHA256, blob); err != key.ErrCryptoFailed || out.Len() != 0 { //nolint:errorlint // bare on purpose
			t.Errorf("%s: %d bytes, %v", name, out.Len(), err)
		}
	}
	for _, alg := range []key.Transfer{key.TransferSHA1, key.TransferSHA384} {
		if _, err := kek.UnwrapTransfer(alg, good); err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
			t.Errorf("as %s: %v", alg, err)
		}
	}
	if _, err := kek.UnwrapTransfer("RSA_AES_KEY_WRAP_512", good); !errors.Is(err, key.ErrBadParameter) {
		t.Errorf("unknown algorithm: %v", err)
	}
	for _, k := range []Key{pemKey(t, "p256.pem"), testKey(t, allSpecs[8])} {
		if _, err := k.UnwrapTransfer(key.TransferSHA1, good); !errors.Is(err, key.ErrBadAlgorithm) {
			t.Errorf("%s: %v", k.Spec(), err)
		}
	}
	gone := pemKey(t, "rsa2048.pem")
	gone.Wipe()
	if _, err := gone.UnwrapTransfer(key.TransferSHA1, good); !errors.Is(err, ErrWiped) {
		t.Errorf("wiped: %v", err)
	}
	if _, err := gone.Export(); !errors.Is(err, ErrWiped) {
		t.Errorf("export of a wiped key: %v", err)
	}
}

func TestWrapToRefuses(t *testing.T) {
	t.Parallel()
	pub := publicOf(t, pemKey(t, "rsa2048.pem"))
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	with := func(e int) *rsa.PublicKey { return &rsa.PublicKey{N: pub.N, E: e} }
	for name, c := range map[string]struct {
		pub     *rsa.PublicKey
		alg     key.Transfer
		payload secret.Bytes
	}{
		"no key":           {nil, key.TransferSHA1, secret.Random(32)},
		"no modulus":       {&rsa.PublicKey{E: 65537}, key.TransferSHA1, secret.Random(32)},
		"1024 bits":        {&short.PublicKey, key.TransferSHA1, secret.Random(32)},
		"even modulus":     {&rsa.PublicKey{N: new(big.Int).Add(pub.N, big.NewInt(1)), E: 65537}, key.TransferSHA1, secret.Random(32)},
		"huge modulus":     {&rsa.PublicKey{N: new(big.Int).Lsh(pub.N, 8192), E: 65537}, key.TransferSHA1, secret.Random(32)},
		"exponent 1":       {with(1), key.TransferSHA1, secret.Random(32)},
		"even exponent":    {with(65536), key.TransferSHA1, secret.Random(32)},
		"huge exponent":    {with(1<<32 + 1), key.TransferSHA1, secret.Random(32)},
		"nothing to wrap":  {pub, key.TransferSHA1, secret.Bytes{}},
		"too much to wrap": {pub, key.TransferSHA1, secret.Random(maxTransfer + 1)},
		"no algorithm":     {pub, "", secret.Random(32)},
		"unknown":          {pub, "RSA-OAEP", secret.Random(32)},
	} {
		if out, err := WrapTo(c.pub, c.alg, c.payload); !errors.Is(err, key.ErrBadParameter) || out != nil {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
	for _, e := range [][]byte{nil, {1}, {4}, {0x80, 0, 0, 1}, bytes.Repeat([]byte{0xFF}, 9)} {
		if _, err := PublicRSA(pub.N.Bytes(), e); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("exponent %x: %v", e, err)
		}
	}
	if got, err := PublicRSA(append([]byte{0, 0}, pub.N.Bytes()...), []byte{0, 1, 0, 1}); err != nil || !got.Equal(crypto.PublicKey(pub)) {
		t.Errorf("leading zeros: %v", err)
	}
}

func TestSecureWrap(t *testing.T) {
	t.Parallel()
	for _, spec := range []key.Spec{allSpecs[0], {Type: key.Oct, Bits: 128}, {Type: key.Oct, Bits: 192}, {Type: key.Oct, Bits: 256}} {
		k := testKey(t, spec)
		algs := key.Allowed(spec, key.UseSecureWrap)
		if want := map[key.Type]int{key.RSA: 1, key.Oct: 4}[spec.Type]; len(algs) != want {
			t.Errorf("%s: %v", spec, algs)
		}
		for _, alg := range algs {
			a, err := k.SecureWrap(alg)
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			b, err := k.SecureWrap(alg)
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			x, err := k.SecureUnwrap(alg, a)
			if err != nil || x.Len() != 32 {
				t.Errorf("%s: %d bytes, %v", alg, x.Len(), err)
			}
			if y, err := k.SecureUnwrap(alg, b); err != nil || y.Equal(x) {
				t.Errorf("%s: the same key twice, %v", alg, err)
			}
			for name, bad := range map[string][]byte{"empty": nil, "changed": flip(a), "short": a[:len(a)-8], "long": append(bytes.Clone(a), make([]byte, 8)...)} {
				if _, err := k.SecureUnwrap(alg, bad); err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
					t.Errorf("%s, %s: %v", alg, name, err)
				}
			}
		}
	}
	oct := octKey(t, kwVectors[5].kek)
	short, err := oct.Wrap("A256KW", key.CipherInput{Value: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oct.SecureUnwrap("A256KW", short.Value); err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
		t.Errorf("a key of 128 bits: %v", err)
	}
	for alg, k := range map[key.Algorithm]Key{"A256KWPAD": testKey(t, key.Spec{Type: key.Oct, Bits: 128}), "RSA-OAEP": pemKey(t, "rsa2048.pem"), "A256GCM": oct, "ES256": pemKey(t, "p256.pem"), "": oct} {
		if _, err := k.SecureWrap(alg); !errors.Is(err, key.ErrBadAlgorithm) {
			t.Errorf("%q with %s: %v", alg, k.Spec(), err)
		}
	}
	if _, err := oct.Wrap("A256KWPAD", key.CipherInput{Value: make([]byte, 16)}); !errors.Is(err, key.ErrBadAlgorithm) {
		t.Errorf("A256KWPAD as an ordinary wrap: %v", err)
	}
}

// What OpenSSL wrapped to the test keys (testdata/README.md).
func TestOpenSSLTransfers(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/openssl-transfer.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Key, Payload, Blob, Bad string
		Alg                     key.Transfer
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	seen := map[key.Transfer]int{}
	for _, v := range vectors {
		got, err := pemKey(t, v.Key).UnwrapTransfer(v.Alg, unhex(t, v.Blob))
		if v.Bad != "" {
			wantFailed(t, v.Bad, err)
			continue
		}
		if err != nil || !bytes.Equal(got.Expose(), unhex(t, v.Payload)) {
			t.Errorf("%s %s: %x, %v", v.Key, v.Alg, got.Expose(), err)
		}
		seen[v.Alg]++
	}
	for _, alg := range transfers {
		if seen[alg] != 4 {
			t.Errorf("%d vectors of %s, want 4", seen[alg], alg)
		}
	}
}
