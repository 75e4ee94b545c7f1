package hsm

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/byok"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/secret"
)

// outside are keys made elsewhere, by the standard library. They are made once.
var outside = sync.OnceValue(func() (k struct {
	rsa *rsa.PrivateKey
	ec  map[key.Curve]*ecdsa.PrivateKey
}) {
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		panic(err)
	}
	k.ec = make(map[key.Curve]*ecdsa.PrivateKey)
	for name, c := range map[key.Curve]elliptic.Curve{key.P256: elliptic.P256(), key.P384: elliptic.P384(), key.P521: elliptic.P521()} {
		if k.ec[name], err = ecdsa.GenerateKey(c, rand.Reader); err != nil {
			panic(err)
		}
	}
	return k
})

func number(n *big.Int) Secret { return NewSecret(n.Bytes()) }

func rsaMaterial() KeyMaterial {
	k := outside().rsa
	pre := k.Precomputed
	return KeyMaterial{Type: key.RSA, N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes(), D: number(k.D), P: number(k.Primes[0]), Q: number(k.Primes[1]),
		DP: number(pre.Dp), DQ: number(pre.Dq), QI: number(pre.Qinv)}
}

// ecMaterial has the shortest form of its numbers, as az sends them.
func ecMaterial(t testing.TB, c key.Curve) KeyMaterial {
	t.Helper()
	k := outside().ec[c]
	pub := must[[]byte](t)(k.PublicKey.Bytes())[1:]
	d := must[[]byte](t)(k.Bytes())
	short := func(b []byte) []byte { return bytes.TrimLeft(b, "\x00") }
	return KeyMaterial{Type: key.EC, Curve: c, X: short(pub[:len(pub)/2]), Y: short(pub[len(pub)/2:]), D: NewSecret(short(bytes.Clone(d)))}
}

// k256Material is the scalar 1 of secp256k1, whose point is the generator (SEC 2, 2.4.1).
func k256Material(t testing.TB) KeyMaterial {
	t.Helper()
	return KeyMaterial{Type: key.EC, Curve: key.P256K, D: NewSecret([]byte{1}),
		X: must[[]byte](t)(hex.DecodeString("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")),
		Y: must[[]byte](t)(hex.DecodeString("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"))}
}

func (r *testHSM) importKey(name key.Name, m KeyMaterial, ops ...string) Bundle {
	r.t.Helper()
	return must[Bundle](r.t)(r.ImportKey(r.t.Context(), user, name, ImportParams{CreateParams: key.CreateParams{Ops: ops}, Material: m}))
}

func TestImportKey(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	digest := sha256.Sum256([]byte("text"))

	r.create("k", octSpec)
	b := must[Bundle](t)(r.ImportKey(ctx, user, "K", ImportParams{Material: rsaMaterial(),
		CreateParams: key.CreateParams{Tags: map[string]string{"a": "b"}, Expires: 4_000_000_000, Ops: []string{"sign", "verify"}}}))
	if m := b.Meta; m.Name != "k" || !m.Imported || m.Spec != (key.Spec{Type: key.RSA, Bits: 2048, Exponent: 65537}) || !bytes.Equal(m.Public.N, outside().rsa.N.Bytes()) ||
		m.Tags["a"] != "b" || m.Attributes.Expires != 4_000_000_000 || !slices.Equal(m.Ops, []key.Op{key.OpSign, key.OpVerify}) || !m.Attributes.Enabled {
		t.Errorf("%+v", m)
	}
	sig := must[Result](t)(r.Sign(ctx, user, "k", "", "RS256", digest[:]))
	noErr(t, rsa.VerifyPKCS1v15(&outside().rsa.PublicKey, crypto.SHA256, digest[:], sig.Value))
	if items, _, err := r.ListVersions(ctx, user, "k", "", 0); err != nil || len(items) != 2 {
		t.Errorf("%d versions, %v", len(items), err)
	}

	for c, alg := range map[key.Curve]key.Algorithm{key.P256: "ES256", key.P384: "ES384", key.P521: "ES512"} {
		name := key.Name("ec-" + c)
		r.importKey(name, ecMaterial(t, c))
		d := make([]byte, map[key.Algorithm]int{"ES256": 32, "ES384": 48, "ES512": 64}[alg])
		sig := must[Result](t)(r.Sign(ctx, user, name, "", alg, d)).Value
		if !ecdsa.Verify(&outside().ec[c].PublicKey, d, new(big.Int).SetBytes(sig[:len(sig)/2]), new(big.Int).SetBytes(sig[len(sig)/2:])) {
			t.Errorf("%s: the signature is not the imported key's", c)
		}
	}
	if m := r.importKey("k256", k256Material(t)).Meta; m.Spec.Curve != key.P256K || !slices.Equal(m.Ops, key.DefaultOps(key.EC)) {
		t.Errorf("%+v", m)
	}
	noErr(t, second(r.Sign(ctx, user, "k256", "", "ES256K", digest[:])))

	for _, n := range []int{16, 24, 32} {
		k := bytes.Repeat([]byte{7}, n)
		name := key.Name(fmt.Sprintf("oct-%d", n))
		if m := r.importKey(name, KeyMaterial{Type: key.Oct, K: NewSecret(k)}).Meta; m.Spec != (key.Spec{Type: key.Oct, Bits: 8 * n}) || m.Public.N != nil {
			t.Errorf("%+v", m)
		}
	}
	// Known answer: what the imported key wraps, another with the same bytes unwraps (RFC 3394, 4.1).
	kek := must[[]byte](t)(hex.DecodeString("000102030405060708090a0b0c0d0e0f"))
	r.importKey("rfc3394", KeyMaterial{Type: key.Oct, K: NewSecret(kek)})
	out := must[Result](t)(r.Wrap(ctx, user, "rfc3394", "", "A128KW", key.CipherInput{Value: must[[]byte](t)(hex.DecodeString("00112233445566778899aabbccddeeff"))}))
	if got := hex.EncodeToString(out.Value); got != "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5" {
		t.Error(got)
	}
	r.restart()
	r.check()
	noErr(t, second(r.Sign(ctx, user, "k", "", "PS256", digest[:])))
}

// TestImportKeyRefused: what is wrong is named, and nothing is stored.
func TestImportKeyRefused(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	r.create("gone", octSpec)
	noErr(t, second(r.DeleteKey(ctx, user, "gone")))
	before := r.raw()
	with := func(m KeyMaterial, do func(*KeyMaterial)) KeyMaterial { do(&m); return m }
	rsaKey, ec := rsaMaterial(), ecMaterial(t, key.P256)
	for what, tc := range map[string]struct {
		m     KeyMaterial
		p     key.CreateParams
		want  error
		words string
	}{
		"nothing":               {KeyMaterial{}, key.CreateParams{}, key.ErrBadKeyType, "Invalid kty"},
		"RSA without d":         {with(rsaKey, func(m *KeyMaterial) { m.D = Secret{} }), key.CreateParams{}, key.ErrBadParameter, "d is missing"},
		"RSA of another n":      {with(rsaKey, func(m *KeyMaterial) { m.N = append(slices.Clone(m.N[:255]), m.N[255]^2) }), key.CreateParams{}, key.ErrBadParameter, "n"},
		"RSA, even e":           {with(rsaKey, func(m *KeyMaterial) { m.E = []byte{1, 0, 0} }), key.CreateParams{}, key.ErrBadParameter, "e"},
		"RSA, e of 1":           {with(rsaKey, func(m *KeyMaterial) { m.E = []byte{1} }), key.CreateParams{}, key.ErrBadParameter, "e"},
		"RSA, another d":        {with(rsaKey, func(m *KeyMaterial) { m.D = NewSecret([]byte{3}) }), key.CreateParams{}, key.ErrBadParameter, "d"},
		"RSA without q":         {with(rsaKey, func(m *KeyMaterial) { m.Q = Secret{} }), key.CreateParams{}, key.ErrBadParameter, "p and q"},
		"RSA with k":            {with(rsaKey, func(m *KeyMaterial) { m.K = NewSecret([]byte{1}) }), key.CreateParams{}, key.ErrBadParameter, "member k"},
		"RSA with crv":          {with(rsaKey, func(m *KeyMaterial) { m.Curve = key.P256 }), key.CreateParams{}, key.ErrBadParameter, "member crv"},
		"RSA and a blob":        {with(rsaKey, func(m *KeyMaterial) { m.Transfer = []byte("{}") }), key.CreateParams{}, key.ErrBadParameter, "both key_hsm and n"},
		"EC without crv":        {with(ec, func(m *KeyMaterial) { m.Curve = "" }), key.CreateParams{}, key.ErrBadParameter, "crv"},
		"EC, unknown crv":       {with(ec, func(m *KeyMaterial) { m.Curve = "P-192" }), key.CreateParams{}, key.ErrBadParameter, "P-192"},
		"EC of another curve":   {with(ec, func(m *KeyMaterial) { m.Curve = key.P384 }), key.CreateParams{}, key.ErrBadParameter, "P-384"},
		"EC off the curve":      {with(ec, func(m *KeyMaterial) { m.Y = []byte{5} }), key.CreateParams{}, key.ErrBadParameter, "not on curve"},
		"EC without d":          {with(ec, func(m *KeyMaterial) { m.D = Secret{} }), key.CreateParams{}, key.ErrBadParameter, "d of"},
		"EC, d of another":      {with(ec, func(m *KeyMaterial) { m.D = NewSecret([]byte{5}) }), key.CreateParams{}, key.ErrBadParameter, "not that of d"},
		"EC, d too large":       {with(ec, func(m *KeyMaterial) { m.D = NewSecret(bytes.Repeat([]byte{255}, 32)) }), key.CreateParams{}, key.ErrBadParameter, "order"},
		"oct without k":         {KeyMaterial{Type: key.Oct}, key.CreateParams{}, key.ErrBadParameter, "k has 0 bytes"},
		"oct of 20 bytes":       {KeyMaterial{Type: key.Oct, K: NewSecret(make([]byte, 20))}, key.CreateParams{}, key.ErrBadParameter, "k has 20 bytes"},
		"oct with n":            {KeyMaterial{Type: key.Oct, K: NewSecret(make([]byte, 16)), N: []byte{1}}, key.CreateParams{}, key.ErrBadParameter, "member n"},
		"key_ops of an EC key":  {ec, key.CreateParams{Ops: []string{"encrypt"}}, key.ErrBadParameter, "encrypt"},
		"a key exchange key":    {rsaKey, key.CreateParams{Ops: []string{"import"}}, key.ErrBadParameter, "key exchange key is made inside"},
		"dates":                 {ec, key.CreateParams{NotBefore: 5, Expires: 4}, key.ErrBadParameter, "exp"},
		"blob that is not JSON": {KeyMaterial{Type: key.RSA, Transfer: []byte("x")}, key.CreateParams{}, key.ErrBadParameter, "key_hsm is not valid"},
		"empty blob":            {KeyMaterial{Type: key.RSA, Transfer: []byte{}}, key.CreateParams{}, key.ErrBadParameter, "key_hsm is not valid"},
	} {
		_, err := r.ImportKey(ctx, user, "new", ImportParams{CreateParams: tc.p, Material: tc.m})
		wantErr(t, what, err, tc.want)
		mustSay(t, err, tc.words)
		if !maps.Equal(r.raw(), before) {
			t.Fatalf("%s: something was written", what)
		}
	}
	_, err := r.ImportKey(ctx, user, "gone", ImportParams{Material: ec})
	wantErr(t, "over a deleted key", err, key.ErrDeleted)
	_, err = r.ImportKey(ctx, user, "a/b", ImportParams{Material: ec})
	wantErr(t, "bad name", err, key.ErrBadParameter)
	_, err = r.ImportKey(ctx, officer, "new", ImportParams{Material: ec})
	wantErr(t, "by an officer", err, rbac.ErrDenied)
	r.check()
}

// transfer is the blob that carries inside to the key exchange key.
func transfer(t testing.TB, kek key.Meta, inside []byte) []byte {
	t.Helper()
	pub := must[*rsa.PublicKey](t)(material.PublicRSA(kek.Public.N, kek.Public.E))
	ct := must[[]byte](t)(material.WrapTo(pub, key.TransferSHA1, secret.New(bytes.Clone(inside))))
	return must[[]byte](t)(byok.Blob{KID: kidOf(kek), Ciphertext: ct, Generator: "test 1.0"}.Encode())
}

func kidOf(m key.Meta) string {
	return fmt.Sprintf("https://contosomhsm.managedhsm.azure.net/keys/%s/%s", m.Name, m.Version)
}

func TestBYOK(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	kek := r.createWith("KEK", key.CreateParams{Spec: key.Spec{Type: key.RSA, Bits: 2048}, Ops: []string{"import"}}).Meta
	r.createWith("kek", key.CreateParams{Spec: key.Spec{Type: key.RSA, Bits: 2048}, Ops: []string{"import"}}) // blobs for the older version go on working
	send := func(name key.Name, typ key.Type, c key.Curve, inside []byte) Bundle {
		t.Helper()
		return r.importKey(name, KeyMaterial{Type: typ, Curve: c, Transfer: transfer(t, kek, inside)})
	}
	digest := make([]byte, 32)

	if m := send("r", key.RSA, "", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(outside().rsa))).Meta; !m.Imported || !bytes.Equal(m.Public.N, outside().rsa.N.Bytes()) {
		t.Errorf("%+v", m)
	}
	sig := must[Result](t)(r.Sign(ctx, user, "r", "", "RS256", digest))
	noErr(t, rsa.VerifyPKCS1v15(&outside().rsa.PublicKey, crypto.SHA256, digest, sig.Value))
	for c, k := range outside().ec {
		der := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(k))
		if m := send(key.Name("e-"+c), key.EC, c, der).Meta; m.Spec.Curve != c {
			t.Errorf("%+v", m)
		}
		send(key.Name("e-"+c), key.EC, "", der) // the curve is told inside as well
	}
	k256 := must[material.Key](t)(material.Generate(key.Spec{Type: key.EC, Curve: key.P256K}))
	inside := must[secret.Bytes](t)(k256.Export())
	if m := send("k256", key.EC, key.P256K, inside.Expose()).Meta; !bytes.Equal(m.Public.X, k256.Public().X) {
		t.Errorf("%+v", m)
	}
	for _, n := range []int{16, 24, 32} {
		if m := send(key.Name(fmt.Sprintf("o-%d", n)), key.Oct, "", bytes.Repeat([]byte{9}, n)).Meta; m.Spec.Bits != 8*n {
			t.Errorf("%+v", m)
		}
	}

	// The host in the kid may be that of the HSM the key exchange key was made on.
	blob := must[byok.Blob](t)(byok.Parse(transfer(t, kek, digest)))
	blob.KID = strings.Replace(blob.KID, "contosomhsm", "lost", 1)
	r.importKey("from-lost", KeyMaterial{Type: key.Oct, Transfer: must[[]byte](t)(blob.Encode())})

	wantErr(t, "decrypting with the KEK", second(r.Unwrap(ctx, user, "kek", kek.Version, "RSA-OAEP", key.CipherInput{Value: blob.Ciphertext[:256]})), key.ErrOperationForbidden)
	wantErr(t, "turning the KEK into another", second(r.UpdateKey(ctx, user, "kek", kek.Version, key.Change{Ops: []string{"unwrapKey"}})), key.ErrBadParameter)
	r.check()
	r.stop()
	noted := 0
	for _, e := range r.auditLog() {
		if e.Operation == "KeyImport" && e.Details["kek"] == "/keys/KEK/"+string(kek.Version) && e.Details["generator"] == "test 1.0" && e.Details["keyVersion"] != string(kek.Version) {
			noted++
		}
	}
	if noted != 12 {
		t.Errorf("%d imports note their key exchange key", noted)
	}
}

func TestBYOKRefused(t *testing.T) {
	t.Parallel()
	r := newTestHSM(t)
	ctx := t.Context()
	spec := key.Spec{Type: key.RSA, Bits: 2048}
	only := key.CreateParams{Spec: spec, Ops: []string{"import"}}
	kek, other := r.createWith("kek", only).Meta, r.createWith("kek", only).Meta
	wrapKey := r.create("wrap", spec).Meta
	off, late := r.createWith("off", only).Meta, r.createWith("late", key.CreateParams{Spec: spec, Ops: []string{"import"}, Expires: r.now() + 60}).Meta
	noErr(t, second(r.UpdateKey(ctx, user, "off", "", key.Change{Enabled: ptr(false)})))
	r.clock.advance(2 * time.Minute)
	gone := kek
	gone.Version = key.NewVersion()
	octet, der := bytes.Repeat([]byte{1}, 16), must[[]byte](t)(x509.MarshalPKCS8PrivateKey(outside().ec[key.P256]))
	good := must[byok.Blob](t)(byok.Parse(transfer(t, kek, octet)))
	change := func(do func(*byok.Blob)) []byte {
		b := good
		b.Ciphertext = bytes.Clone(b.Ciphertext)
		do(&b)
		return must[[]byte](t)(b.Encode())
	}
	ed := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1536))
	before := r.raw()
	var unwrapping []string
	for what, tc := range map[string]struct {
		typ   key.Type
		curve key.Curve
		blob  []byte
		want  error
		words string // "": could not be unwrapped
	}{
		"first byte":      {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext[0] ^= 1 }), key.ErrBadParameter, ""},
		"wrapped key":     {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext[255] ^= 1 }), key.ErrBadParameter, ""},
		"payload":         {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext[256] ^= 1 }), key.ErrBadParameter, ""},
		"last byte":       {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext[len(b.Ciphertext)-1] ^= 1 }), key.ErrBadParameter, ""},
		"cut":             {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext = b.Ciphertext[:256] }), key.ErrBadParameter, ""},
		"one byte":        {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext = b.Ciphertext[:1] }), key.ErrBadParameter, ""},
		"longer":          {key.Oct, "", change(func(b *byok.Blob) { b.Ciphertext = append(b.Ciphertext, 0) }), key.ErrBadParameter, ""},
		"other version":   {key.Oct, "", change(func(b *byok.Blob) { b.KID = kidOf(other) }), key.ErrBadParameter, ""},
		"no such version": {key.Oct, "", change(func(b *byok.Blob) { b.KID = kidOf(gone) }), key.ErrBadParameter, "is not on HSM ContosoMHSM"},
		"no such key":     {key.Oct, "", change(func(b *byok.Blob) { b.KID = strings.Replace(b.KID, "/kek/", "/kek2/", 1) }), key.ErrBadParameter, "is not on HSM ContosoMHSM"},
		"versionless":     {key.Oct, "", change(func(b *byok.Blob) { b.KID = b.KID[:strings.LastIndex(b.KID, "/")] }), key.ErrBadParameter, "header.kid"},
		"not a URL":       {key.Oct, "", change(func(b *byok.Blob) { b.KID = "kek" }), key.ErrBadParameter, "header.kid"},
		"bad version":     {key.Oct, "", change(func(b *byok.Blob) { b.KID += "0" }), key.ErrBadParameter, "header.kid"},
		"not https":       {key.Oct, "", change(func(b *byok.Blob) { b.KID = strings.Replace(b.KID, "https", "http", 1) }), key.ErrBadParameter, "header.kid"},
		"a wrapping key":  {key.Oct, "", transfer(t, wrapKey, octet), key.ErrOperationForbidden, "Operation import is not permitted"},
		"disabled":        {key.Oct, "", transfer(t, off, octet), key.ErrDisabled, "/keys/off/"},
		"expired":         {key.Oct, "", transfer(t, late, octet), key.ErrExpired, "/keys/late/"},
		"oct as RSA":      {key.RSA, "", transfer(t, kek, octet), key.ErrBadParameter, "The key in the transfer blob is not valid"},
		"EC as RSA":       {key.RSA, "", transfer(t, kek, der), key.ErrBadParameter, "the request says RSA-HSM"},
		"EC as oct":       {key.Oct, "", transfer(t, kek, der), key.ErrBadParameter, "bytes"},
		"other curve":     {key.EC, key.P384, transfer(t, kek, der), key.ErrBadParameter, "the request says EC-HSM P-384"},
		"oct of 8 bytes":  {key.Oct, "", transfer(t, kek, octet[:8]), key.ErrBadParameter, "8 bytes"},
		"X25519":          {key.EC, "", transfer(t, kek, must[[]byte](t)(x509.MarshalPKCS8PrivateKey(ed))), key.ErrBadParameter, "not valid"},
		"RSA 1536":        {key.RSA, "", transfer(t, kek, must[[]byte](t)(x509.MarshalPKCS8PrivateKey(small))), key.ErrBadParameter, "not valid"},
		"crv with RSA":    {key.RSA, key.P256, transfer(t, kek, der), key.ErrBadParameter, "both key_hsm and crv"},
	} {
		_, err := r.ImportKey(ctx, user, "new", ImportParams{Material: KeyMaterial{Type: tc.typ, Curve: tc.curve, Transfer: tc.blob}})
		wantErr(t, what, err, tc.want)
		if tc.words == "" {
			unwrapping = append(unwrapping, strings.ReplaceAll(err.Error(), string(other.Version), string(kek.Version)))
		} else {
			mustSay(t, err, tc.words)
		}
		if !maps.Equal(r.raw(), before) {
			t.Fatalf("%s: something was written", what)
		}
	}
	slices.Sort(unwrapping)
	if got := slices.Compact(unwrapping); len(got) != 1 || !strings.Contains(got[0], "could not be unwrapped with "+kidOf(kek)) {
		t.Errorf("failures to unwrap differ: %q", got)
	}
	r.check()
}

// FuzzParseKID: a kid gives a name and a version that can exist, and no path beyond them.
func FuzzParseKID(f *testing.F) {
	f.Add("https://contosomhsm.managedhsm.azure.net/keys/kek/0123456789abcdef0123456789abcdef")
	f.Add("https://h/KEYS/k%2Fx/0123456789ABCDEF0123456789ABCDEF")
	f.Add("https://u@h/keys/../0123456789abcdef0123456789abcdef?x#y")
	f.Fuzz(func(t *testing.T, kid string) {
		name, version, err := parseKID(kid)
		if err != nil {
			if !errors.Is(err, key.ErrBadParameter) {
				t.Error(err)
			}
			return
		}
		if _, err := key.ParseName(string(name)); err != nil || !isID(string(version)) {
			t.Errorf("%q: %q, %q", kid, name, version)
		}
	})
}

// TestSecretsOfAnImportDoNotPrint in any of the ways in which a struct gets into a log.
func TestSecretsOfAnImportDoNotPrint(t *testing.T) {
	t.Parallel()
	p := ImportParams{Material: KeyMaterial{Type: key.Oct, K: NewSecret([]byte("0123456789abcdef")), D: NewSecret([]byte("0123456789abcdef"))}}
	text := ""
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text += fmt.Sprintf(verb, p) + fmt.Sprintf(verb, &p) + fmt.Sprintf(verb, p.Material.K)
	}
	b, err := json.Marshal(p)
	if err != nil && !errors.Is(err, secret.ErrEncode) {
		t.Error(err)
	}
	text += string(b)
	for _, bad := range []string{"0123456789", "30313233", "[48 49 50", "MDEyMzQ1"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q shows in %s", bad, text)
		}
	}
	p.Material.K.Wipe()
	if !bytes.Equal(p.Material.K.b.Expose(), make([]byte, 16)) {
		t.Error("not wiped")
	}
}
