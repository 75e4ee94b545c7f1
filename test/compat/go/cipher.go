package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// cipherCase is one algorithm with one key, for encryption, for wrapping, or for both.
type cipherCase struct {
	key           string
	alg           azkeys.EncryptionAlgorithm
	encrypt, wrap bool
	size          int  // of the plaintext; ciphers without padding want whole blocks
	iv, aad       bool // the caller gives them
}

var cipherCases = []cipherCase{
	{key: "rsa-2048", alg: azkeys.EncryptionAlgorithmRSAOAEP, encrypt: true, wrap: true, size: 20},
	{key: "rsa-2048", alg: azkeys.EncryptionAlgorithmRSAOAEP256, encrypt: true, wrap: true, size: 32},
	{key: "rsa-2048", alg: azkeys.EncryptionAlgorithmRSA15, encrypt: true, wrap: true, size: 24},
	{key: "oct-128", alg: azkeys.EncryptionAlgorithmA128GCM, encrypt: true, size: 13, aad: true},
	{key: "oct-192", alg: azkeys.EncryptionAlgorithmA192GCM, encrypt: true, size: 16},
	{key: "oct-256", alg: azkeys.EncryptionAlgorithmA256GCM, encrypt: true, size: 1000, aad: true},
	{key: "oct-128", alg: azkeys.EncryptionAlgorithmA128CBC, encrypt: true, size: 32, iv: true},
	{key: "oct-192", alg: azkeys.EncryptionAlgorithmA192CBC, encrypt: true, size: 16, iv: true},
	{key: "oct-256", alg: azkeys.EncryptionAlgorithmA256CBC, encrypt: true, size: 48, iv: true},
	{key: "oct-128", alg: azkeys.EncryptionAlgorithmA128CBCPAD, encrypt: true, size: 5, iv: true},
	{key: "oct-192", alg: azkeys.EncryptionAlgorithmA192CBCPAD, encrypt: true, size: 16, iv: true},
	{key: "oct-256", alg: azkeys.EncryptionAlgorithmA256CBCPAD, encrypt: true, size: 33, iv: true},
	{key: "oct-128", alg: azkeys.EncryptionAlgorithmA128KW, wrap: true, size: 16},
	{key: "oct-192", alg: azkeys.EncryptionAlgorithmA192KW, wrap: true, size: 24},
	{key: "oct-256", alg: azkeys.EncryptionAlgorithmA256KW, wrap: true, size: 32},
	{key: "oct-256", alg: azkeys.EncryptionAlgorithmCKMAESKEYWRAP, wrap: true, size: 32},
	{key: "oct-128", alg: azkeys.EncryptionAlgorithmCKMAESKEYWRAPPAD, wrap: true, size: 21},
}

// ciphers encrypts and wraps with every algorithm, and gets the plaintext back; what the public key encrypts here
// decrypts there.
func (s *session) ciphers() {
	for _, c := range cipherCases {
		if c.encrypt {
			s.cipherWith(c, "encrypt")
		}
		if c.wrap {
			s.cipherWith(c, "wrap")
		}
		step("%s with %s: encrypt %v, wrap %v", c.alg, c.key, c.encrypt, c.wrap)
	}
	pub := public(must(s.client.GetKey(s.ctx, s.key("rsa-2048"), "", nil)).Key).rsa()
	secret := []byte("encrypted outside")
	for alg, ciphertext := range map[azkeys.EncryptionAlgorithm][]byte{
		azkeys.EncryptionAlgorithmRSAOAEP:    must(rsa.EncryptOAEP(sha1.New(), rand.Reader, pub, secret, nil)),
		azkeys.EncryptionAlgorithmRSAOAEP256: must(rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, secret, nil)),
	} {
		p := azkeys.KeyOperationParameters{Algorithm: &alg, Value: ciphertext}
		want(bytes.Equal(must(s.client.Decrypt(s.ctx, s.key("rsa-2048"), "", p, nil)).Result, secret), "%s: what was encrypted here does not decrypt there", alg)
		want(bytes.Equal(must(s.client.UnwrapKey(s.ctx, s.key("rsa-2048"), "", p, nil)).Result, secret), "%s: what was encrypted here does not unwrap there", alg)
	}
	step("what the public key encrypts here decrypts there")
}

func (s *session) cipherWith(c cipherCase, op string) {
	plaintext := random(c.size)
	p := azkeys.KeyOperationParameters{Algorithm: &c.alg, Value: plaintext}
	if c.iv {
		p.IV = random(16)
	}
	if c.aad {
		p.AdditionalAuthenticatedData = []byte("not secret")
	}
	var got azkeys.KeyOperationResult
	if op == "encrypt" {
		got = must(s.client.Encrypt(s.ctx, s.key(c.key), "", p, nil)).KeyOperationResult
	} else {
		got = must(s.client.WrapKey(s.ctx, s.key(c.key), "", p, nil)).KeyOperationResult
	}
	want(!bytes.Equal(got.Result, plaintext), "%s gives back the plaintext", c.alg)
	a := artefact{Kind: "ciphertext", Op: op, Kid: string(*got.KID), Alg: string(c.alg), Plaintext: plaintext, Ciphertext: got.Result, IV: got.IV, Tag: got.AuthenticationTag, AAD: p.AdditionalAuthenticatedData}
	if c.iv {
		want(bytes.Equal(got.IV, p.IV), "%s: another iv came back", c.alg)
	}
	s.opens(s.client, a)
	s.written = append(s.written, a)
}

// opens lets the service decrypt or unwrap an artefact.
func (s *session) opens(c *azkeys.Client, a artefact) {
	id := azkeys.ID(a.Kid)
	p := azkeys.KeyOperationParameters{Algorithm: to(azkeys.EncryptionAlgorithm(a.Alg)), Value: a.Ciphertext, IV: a.IV, AuthenticationTag: a.Tag, AdditionalAuthenticatedData: a.AAD}
	var got []byte
	if a.Op == "encrypt" {
		got = must(c.Decrypt(s.ctx, id.Name(), id.Version(), p, nil)).Result
	} else {
		got = must(c.UnwrapKey(s.ctx, id.Name(), id.Version(), p, nil)).Result
	}
	want(bytes.Equal(got, a.Plaintext), "%s %s: the plaintext does not come back", a.Kid, a.Alg)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
