package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// imports brings keys of every type in, and uses here and there what was made with them there and here.
func (s *session) imports() {
	s.importRSA()
	for _, c := range []struct {
		name  string
		curve ecdh.Curve
		alg   azkeys.SignatureAlgorithm
	}{{"P-256", ecdh.P256(), azkeys.SignatureAlgorithmES256}, {"P-384", ecdh.P384(), azkeys.SignatureAlgorithmES384}, {"P-521", ecdh.P521(), azkeys.SignatureAlgorithmES512}} {
		k := must(c.curve.GenerateKey(rand.Reader))
		point := k.PublicKey().Bytes()[1:]
		s.importEC(azkeys.CurveName(c.name), k.Bytes(), point[:len(point)/2], point[len(point)/2:], c.alg)
	}
	k := must(secp256k1.GeneratePrivateKey())
	point := k.PubKey().SerializeUncompressed()[1:]
	s.importEC(azkeys.CurveNameP256K, k.Serialize(), point[:32], point[32:], azkeys.SignatureAlgorithmES256K)
	s.importOct()
}

func (s *session) importRSA() {
	k := must(rsa.GenerateKey(rand.Reader, 2048))
	name := s.key("imported-rsa")
	made := must(s.client.ImportKey(s.ctx, name, azkeys.ImportKeyParameters{HSM: to(true), Tags: map[string]*string{"from": to("elsewhere")}, Key: rsaJWK(k)}, nil)).KeyBundle
	s.checkBundle(made, name)
	want(*made.Key.Kty == azkeys.KeyTypeRSAHSM && bytes.Equal(made.Key.N, k.N.Bytes()) && tags(made.Tags) == "from=elsewhere", "%s is not what was imported", name)
	s.signWith(name, azkeys.SignatureAlgorithmPS256)
	got := must(s.client.Encrypt(s.ctx, name, "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("encrypted there")}, nil))
	want(string(must(rsa.DecryptOAEP(sha256.New(), nil, k, got.Result, nil))) == "encrypted there", "%s: what was encrypted there does not decrypt here", name)
	step("imported RSA; PS256 and RSA-OAEP-256 agree with Go's")
}

func rsaJWK(k *rsa.PrivateKey) *azkeys.JSONWebKey {
	return &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeRSA), N: k.N.Bytes(), E: []byte{1, 0, 1}, D: k.D.Bytes(), P: k.Primes[0].Bytes(), Q: k.Primes[1].Bytes(),
		DP: k.Precomputed.Dp.Bytes(), DQ: k.Precomputed.Dq.Bytes(), QI: k.Precomputed.Qinv.Bytes()}
}

func (s *session) importEC(curve azkeys.CurveName, d, x, y []byte, alg azkeys.SignatureAlgorithm) {
	name := s.key("imported-" + string(curve))
	made := must(s.client.ImportKey(s.ctx, name, azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeECHSM), Crv: &curve, D: d, X: x, Y: y, KeyOps: signVerify}}, nil)).KeyBundle
	s.checkBundle(made, name)
	want(*made.Key.Kty == azkeys.KeyTypeECHSM && bytes.Equal(made.Key.X, x) && bytes.Equal(made.Key.Y, y), "%s is not what was imported", name)
	s.signWith(name, alg)
	step("imported %s; %s agrees with the library here", curve, alg)
}

func (s *session) importOct() {
	k := random(32)
	name := s.key("imported-oct")
	made := must(s.client.ImportKey(s.ctx, name, azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeOctHSM), K: k}}, nil)).KeyBundle
	s.checkBundle(made, name)
	aad, secret := []byte("header"), []byte("encrypted there")
	got := must(s.client.Encrypt(s.ctx, name, "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmA256GCM), Value: secret, AdditionalAuthenticatedData: aad}, nil))
	gcm := must(cipher.NewGCM(must(aes.NewCipher(k))))
	plain := must(gcm.Open(nil, got.IV, append(bytes.Clone(got.Result), got.AuthenticationTag...), aad))
	want(bytes.Equal(plain, secret), "%s: what was encrypted there does not decrypt here", name)
	iv := random(12)
	sealed := gcm.Seal(nil, iv, secret, aad)
	n := len(sealed) - gcm.Overhead()
	back := must(s.client.Decrypt(s.ctx, name, "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmA256GCM), Value: sealed[:n], AuthenticationTag: sealed[n:], IV: iv, AdditionalAuthenticatedData: aad}, nil))
	want(bytes.Equal(back.Result, secret), "%s: what was encrypted here does not decrypt there", name)

	mac := s.key("imported-mac")
	must(s.client.ImportKey(s.ctx, mac, azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeOctHSM), K: k, KeyOps: signVerify}}, nil))
	digest := digestFor("HS256", "authenticated there")
	tag := must(s.client.Sign(s.ctx, mac, "", azkeys.SignParameters{Algorithm: to(azkeys.SignatureAlgorithmHS256), Value: digest}, nil)).Result
	h := hmac.New(sha256.New, k)
	h.Write(digest)
	want(hmac.Equal(tag, h.Sum(nil)), "%s: HS256 is not HMAC-SHA-256 of the value", mac)
	step("imported oct; A256GCM and HS256 agree with Go's")
}

// transfers brings keys in as blobs that only the HSM can open (BYOK), as other HSMs' tools make them.
func (s *session) transfers() {
	kek := s.key("kek")
	made := must(s.client.CreateKey(s.ctx, kek, azkeys.CreateKeyParameters{Kty: to(azkeys.KeyTypeRSAHSM), KeySize: to[int32](2048), KeyOps: []*azkeys.KeyOperation{to(azkeys.KeyOperationImport)}}, nil)).Key
	wrap := func(payload []byte) []byte {
		aesKey := random(32)
		ciphertext := append(must(rsa.EncryptOAEP(sha1.New(), rand.Reader, public(made).rsa(), aesKey, nil)), keyWrapPadded(aesKey, payload)...)
		return must(json.Marshal(map[string]any{"schema_version": "1.0.0", "generator": "the Go program of the compat run", "ciphertext": raw(ciphertext),
			"header": map[string]string{"kid": string(*made.KID), "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}}))
	}
	r := must(rsa.GenerateKey(rand.Reader, 2048))
	in := must(s.client.ImportKey(s.ctx, s.key("byok-rsa"), azkeys.ImportKeyParameters{HSM: to(true), Key: &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeRSAHSM), T: wrap(must(x509.MarshalPKCS8PrivateKey(r)))}}, nil))
	want(bytes.Equal(in.Key.N, r.N.Bytes()), "byok-rsa: another key came out of the blob")
	s.signWith(s.key("byok-rsa"), azkeys.SignatureAlgorithmRS256)

	e := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	in = must(s.client.ImportKey(s.ctx, s.key("byok-ec"), azkeys.ImportKeyParameters{HSM: to(true), Key: &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeECHSM), Crv: to(azkeys.CurveNameP384), T: wrap(must(x509.MarshalPKCS8PrivateKey(e)))}}, nil))
	want(bytes.Equal(must(e.PublicKey.Bytes())[1:], append(bytes.Clone(in.Key.X), in.Key.Y...)), "byok-ec: another key came out of the blob")
	s.signWith(s.key("byok-ec"), azkeys.SignatureAlgorithmES384)

	k := random(32)
	must(s.client.ImportKey(s.ctx, s.key("byok-oct"), azkeys.ImportKeyParameters{HSM: to(true), Key: &azkeys.JSONWebKey{Kty: to(azkeys.KeyTypeOctHSM), T: wrap(k)}}, nil))
	got := must(s.client.WrapKey(s.ctx, s.key("byok-oct"), "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmCKMAESKEYWRAPPAD), Value: []byte("wrapped there")}, nil))
	want(bytes.Equal(got.Result, keyWrapPadded(k, []byte("wrapped there"))), "byok-oct: another key came out of the blob")
	_, err := s.client.Encrypt(s.ctx, kek, "", azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithmRSAOAEP), Value: k}, nil)
	refused(err, 403, "Forbidden", "encrypt with a key exchange key")
	step("RSA, EC and oct keys brought in as transfer blobs")
}

// keyWrapPadded is AES key wrap with padding (RFC 5649), of payloads longer than eight bytes.
func keyWrapPadded(kek, payload []byte) []byte {
	block := must(aes.NewCipher(kek))
	n := (len(payload) + 7) / 8
	out := make([]byte, 8+8*n)
	binary.BigEndian.PutUint32(out, 0xa65959a6)
	binary.BigEndian.PutUint32(out[4:], uint32(len(payload)))
	copy(out[8:], payload)
	var b [16]byte
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(b[:], out[:8])
			copy(b[8:], out[8*i:])
			block.Encrypt(b[:], b[:])
			binary.BigEndian.PutUint64(out, binary.BigEndian.Uint64(b[:8])^uint64(n*j+i))
			copy(out[8*i:], b[8:])
		}
	}
	return out
}
