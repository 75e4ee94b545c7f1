package main

import (
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// verify checks what the programs left: signatures by openssl, ciphertexts and HMACs by az. az has no command that
// unwraps keys.
func (s *session) verify() {
	s.cloud()
	s.az("login", "--service-principal", "-u", env("AZURE_CLIENT_ID"), "-p", env("AZURE_CLIENT_SECRET"), "--tenant", env("AZURE_TENANT_ID"))
	for _, program := range strings.Split(env("REDOUBT_COMPAT_PROGRAMS"), ",") {
		var local, remote int
		for i, a := range readArtefacts(program) {
			what := fmt.Sprintf("%s, %s of %s with %s", program, a.Kind, a.Alg, a.Kid)
			switch {
			case a.JWK != nil && a.Alg != "RSNULL":
				s.verifyLocally(&a, s.file(fmt.Sprintf("%s-%d.pem", program, i)), what)
				local++
			case a.Kind == "signature" && a.JWK == nil:
				for _, digest := range [][]byte{a.Digest, flip(a.Digest)} {
					var answer struct{ IsValid bool }
					s.json(&answer, "keyvault", "key", "verify", "--id", a.Kid, "--algorithm", a.Alg, "--digest", base64Of(digest), "--signature", base64Of(a.Signature))
					equal(answer.IsValid, string(digest) == string(a.Digest), what)
				}
				remote++
			case a.Op == "encrypt" && a.Alg != "A256CBCPAD": // see paddingDefect
				s.decryptRemotely(&a, what)
				remote++
			}
		}
		want(local > 0 && remote > 0, "%s: %d signatures and %d other artefacts", program, local, remote)
		step("%s: %d signatures verified by openssl, %d artefacts by az", program, local, remote)
	}
}

func (s *session) verifyLocally(a *artefact, public, what string) {
	fatal(os.WriteFile(public, a.JWK.pem(), 0o600))
	if a.Data != nil {
		equal(string(digestOf(a.Alg, a.Data)), string(a.Digest), what+": digest of its data")
	}
	want(s.opensslVerifies(public, a.Alg, a.Digest, a.Signature), "%s: openssl does not verify it", what)
	want(!s.opensslVerifies(public, a.Alg, flip(a.Digest), a.Signature), "%s: openssl verifies another digest", what)
}

func (s *session) decryptRemotely(a *artefact, what string) {
	args := []string{"keyvault", "key", "decrypt", "--id", a.Kid, "--algorithm", a.Alg, "--value", base64Of(a.Ciphertext)}
	for option, value := range map[string][]byte{"--iv": a.IV, "--tag": a.Tag, "--aad": a.AAD} {
		if len(value) > 0 {
			args = append(args, option, hexOf(value))
		}
	}
	var out struct{ Result []byte }
	s.json(&out, args...)
	equal(string(out.Result), string(a.Plaintext), what)
}

// pem is the public key as openssl reads it: SubjectPublicKeyInfo (RFC 5280), with the curves of RFC 5480 and SEC 2.
func (k *jwk) pem() []byte {
	type algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters any `asn1:"optional"`
	}
	type info struct {
		Algorithm algorithm
		Key       asn1.BitString
	}
	curves := map[string]asn1.ObjectIdentifier{"P-256": {1, 2, 840, 10045, 3, 1, 7}, "P-384": {1, 3, 132, 0, 34}, "P-521": {1, 3, 132, 0, 35}, "P-256K": {1, 3, 132, 0, 10}}
	var i info
	if k.Kty == "RSA" {
		der := must(asn1.Marshal(struct{ N, E *big.Int }{new(big.Int).SetBytes(k.N), new(big.Int).SetBytes(k.E)}))
		i = info{algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue}, asn1.BitString{Bytes: der, BitLength: 8 * len(der)}}
	} else {
		point := slices.Concat([]byte{4}, k.X, k.Y)
		i = info{algorithm{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, curves[k.Crv]}, asn1.BitString{Bytes: point, BitLength: 8 * len(point)}}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(asn1.Marshal(i))})
}
