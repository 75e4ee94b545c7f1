package key

import (
	"fmt"
	"slices"
)

// Algorithm is an algorithm name as on the wire.
type Algorithm string

// Use says which pair of operations an algorithm serves. An algorithm may serve more than one.
type Use uint8

// The uses.
const (
	UseSign       Use = 1 << iota // sign, verify
	UseEncrypt                    // encrypt, decrypt
	UseWrap                       // wrapKey, unwrapKey
	UseSecureWrap                 // secure wrap and unwrap of keys made by the HSM
)

// rule is one row of the algorithm table: which keys, which uses, and the exact digest length in bytes
// (0: not a digest algorithm; -1: any length).
type rule struct {
	typ    Type
	bits   int   // oct: exact key size; 0: any
	curve  Curve // EC: exact curve
	uses   Use
	digest int
}

// algorithms is the one table of which algorithm goes with which key (spec 1.9). HS* go with every oct key: the
// service wants size and algorithm to match without saying how (docs/azure-divergences.md). The A*KWPAD names
// exist in secure wrap alone.
var algorithms = map[Algorithm]rule{
	"RS256": {typ: RSA, uses: UseSign, digest: 32}, "RS384": {typ: RSA, uses: UseSign, digest: 48}, "RS512": {typ: RSA, uses: UseSign, digest: 64},
	"PS256": {typ: RSA, uses: UseSign, digest: 32}, "PS384": {typ: RSA, uses: UseSign, digest: 48}, "PS512": {typ: RSA, uses: UseSign, digest: 64},
	"RSNULL":   {typ: RSA, uses: UseSign, digest: -1},
	"RSA-OAEP": {typ: RSA, uses: UseEncrypt | UseWrap}, "RSA-OAEP-256": {typ: RSA, uses: UseEncrypt | UseWrap | UseSecureWrap}, "RSA1_5": {typ: RSA, uses: UseEncrypt | UseWrap},
	"ES256": {typ: EC, curve: P256, uses: UseSign, digest: 32}, "ES256K": {typ: EC, curve: P256K, uses: UseSign, digest: 32}, "ES384": {typ: EC, curve: P384, uses: UseSign, digest: 48}, "ES512": {typ: EC, curve: P521, uses: UseSign, digest: 64},
	"A128KW": {typ: Oct, bits: 128, uses: UseWrap | UseSecureWrap}, "A192KW": {typ: Oct, bits: 192, uses: UseWrap | UseSecureWrap}, "A256KW": {typ: Oct, bits: 256, uses: UseWrap | UseSecureWrap},
	"A128KWPAD": {typ: Oct, bits: 128, uses: UseSecureWrap}, "A192KWPAD": {typ: Oct, bits: 192, uses: UseSecureWrap}, "A256KWPAD": {typ: Oct, bits: 256, uses: UseSecureWrap},
	"CKM_AES_KEY_WRAP": {typ: Oct, uses: UseEncrypt | UseWrap | UseSecureWrap}, "CKM_AES_KEY_WRAP_PAD": {typ: Oct, uses: UseEncrypt | UseWrap | UseSecureWrap},
	"A128GCM": {typ: Oct, bits: 128, uses: UseEncrypt}, "A192GCM": {typ: Oct, bits: 192, uses: UseEncrypt}, "A256GCM": {typ: Oct, bits: 256, uses: UseEncrypt},
	"A128CBC": {typ: Oct, bits: 128, uses: UseEncrypt}, "A192CBC": {typ: Oct, bits: 192, uses: UseEncrypt}, "A256CBC": {typ: Oct, bits: 256, uses: UseEncrypt},
	"A128CBCPAD": {typ: Oct, bits: 128, uses: UseEncrypt}, "A192CBCPAD": {typ: Oct, bits: 192, uses: UseEncrypt}, "A256CBCPAD": {typ: Oct, bits: 256, uses: UseEncrypt},
	"HS256": {typ: Oct, uses: UseSign, digest: -1}, "HS384": {typ: Oct, uses: UseSign, digest: -1}, "HS512": {typ: Oct, uses: UseSign, digest: -1},
}

// Check tells whether alg may serve use with a key of spec s, and for signing whether the digest has
// the right length. The error names what would be accepted.
func (alg Algorithm) Check(s Spec, use Use, digestLen int) error {
	r, ok := algorithms[alg]
	if !ok || r.typ != s.Type || r.uses&use == 0 || (r.curve != "" && r.curve != s.Curve) {
		allowed := Allowed(s, use)
		if len(allowed) == 0 {
			return fmt.Errorf("%w: %q cannot be used with %s, and no other algorithm can here", ErrBadAlgorithm, alg, s)
		}
		return fmt.Errorf("%w: %q cannot be used with %s; allowed: %v", ErrBadAlgorithm, alg, s, allowed)
	}
	if r.bits != 0 && r.bits != s.Bits {
		return fmt.Errorf("%w: key size incorrect: %q needs a %d-bit key, this one has %d bits", ErrBadAlgorithm, alg, r.bits, s.Bits)
	}
	if use == UseSign && r.digest > 0 && digestLen != r.digest {
		return fmt.Errorf("%w: %q signs a digest of %d bytes, got %d", ErrBadParameter, alg, r.digest, digestLen)
	}
	return nil
}

// Allowed lists the algorithms that serve use with a key of spec s, in name order.
func Allowed(s Spec, use Use) []Algorithm {
	var out []Algorithm
	for alg, r := range algorithms {
		if r.typ == s.Type && r.uses&use != 0 && (r.bits == 0 || r.bits == s.Bits) && (r.curve == "" || r.curve == s.Curve) {
			out = append(out, alg)
		}
	}
	slices.Sort(out)
	return out
}

// String names the kind of key for messages.
func (s Spec) String() string {
	if s.Type == EC {
		return fmt.Sprintf("%s %s", s.Type, s.Curve)
	}
	return fmt.Sprintf("%s %d", s.Type, s.Bits)
}

// CipherInput is what encrypt, decrypt, wrap and unwrap take. Value is plaintext or ciphertext; IV, AAD
// and Tag are for the AES modes that have them.
type CipherInput struct{ Value, IV, AAD, Tag []byte }

// CipherOutput is what they give back. IV and Tag are set by the GCM and CBC modes only.
type CipherOutput struct{ Value, IV, AAD, Tag []byte }
