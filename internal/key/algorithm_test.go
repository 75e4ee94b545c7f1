package key

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// wireAlgorithms is the service's table (Managed HSM, "key types, algorithms and operations"), written
// down once more, by key and use, so that the table in the code is checked against something.
var wireAlgorithms = map[string]map[Use]string{
	"RSA-HSM 2048": {UseSign: "PS256 PS384 PS512 RS256 RS384 RS512 RSNULL", UseEncrypt: "RSA-OAEP RSA-OAEP-256 RSA1_5", UseWrap: "RSA-OAEP RSA-OAEP-256 RSA1_5", UseSecureWrap: "RSA-OAEP-256"},
	"RSA-HSM 4096": {UseSign: "PS256 PS384 PS512 RS256 RS384 RS512 RSNULL", UseEncrypt: "RSA-OAEP RSA-OAEP-256 RSA1_5", UseWrap: "RSA-OAEP RSA-OAEP-256 RSA1_5", UseSecureWrap: "RSA-OAEP-256"},
	"EC-HSM P-256": {UseSign: "ES256"}, "EC-HSM P-256K": {UseSign: "ES256K"}, "EC-HSM P-384": {UseSign: "ES384"}, "EC-HSM P-521": {UseSign: "ES512"},
	"oct-HSM 128": {UseSign: "HS256 HS384 HS512", UseEncrypt: "A128CBC A128CBCPAD A128GCM CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD", UseWrap: "A128KW CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD", UseSecureWrap: "A128KW A128KWPAD CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD"},
	"oct-HSM 192": {UseSign: "HS256 HS384 HS512", UseEncrypt: "A192CBC A192CBCPAD A192GCM CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD", UseWrap: "A192KW CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD", UseSecureWrap: "A192KW A192KWPAD CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD"},
	"oct-HSM 256": {UseSign: "HS256 HS384 HS512", UseEncrypt: "A256CBC A256CBCPAD A256GCM CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD", UseWrap: "A256KW CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD", UseSecureWrap: "A256KW A256KWPAD CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD"},
}

var someSpecs = []Spec{
	{Type: RSA, Bits: 2048, Exponent: 65537}, {Type: RSA, Bits: 4096, Exponent: 65537},
	{Type: EC, Curve: P256}, {Type: EC, Curve: P384}, {Type: EC, Curve: P521},
	{Type: Oct, Bits: 128}, {Type: Oct, Bits: 192}, {Type: Oct, Bits: 256},
	{Type: EC, Curve: P256K},
}

// digestLen is a length the algorithm accepts.
func digestLen(alg Algorithm) int {
	switch {
	case strings.HasSuffix(string(alg), "384"):
		return 48
	case strings.HasSuffix(string(alg), "512"):
		return 64
	}
	return 32
}

func TestAlgorithmTable(t *testing.T) {
	t.Parallel()
	for _, s := range someSpecs {
		for _, use := range []Use{UseSign, UseEncrypt, UseWrap, UseSecureWrap} {
			var want []Algorithm
			for _, f := range strings.Fields(wireAlgorithms[s.String()][use]) {
				want = append(want, Algorithm(f))
			}
			slices.Sort(want)
			if got := Allowed(s, use); !slices.Equal(got, want) {
				t.Errorf("%s, use %d: %v, want %v", s, use, got, want)
			}
			for alg := range algorithms {
				err := alg.Check(s, use, digestLen(alg))
				if slices.Contains(want, alg) != (err == nil) || err != nil && !errors.Is(err, ErrBadAlgorithm) {
					t.Errorf("%s with %s, use %d: %v", alg, s, use, err)
				}
			}
		}
	}
}

func TestCheckDigestLength(t *testing.T) {
	t.Parallel()
	rsa, oct := someSpecs[0], someSpecs[7]
	for alg, s := range map[Algorithm]Spec{"ES256": someSpecs[2], "ES384": someSpecs[3], "ES512": someSpecs[4], "ES256K": someSpecs[8]} {
		for _, got := range []int{0, 20, 32, 48, 64, 66} {
			if err := alg.Check(s, UseSign, got); (err == nil) != (got == digestLen(alg)) || err != nil && !errors.Is(err, ErrBadParameter) {
				t.Errorf("%s with %d bytes: %v", alg, got, err)
			}
		}
	}
	for alg, n := range map[Algorithm]int{"RS256": 32, "RS384": 48, "RS512": 64, "PS256": 32, "PS384": 48, "PS512": 64} {
		for _, got := range []int{0, 20, 31, 32, 33, 48, 64, 65} {
			if err := alg.Check(rsa, UseSign, got); (err == nil) != (got == n) || err != nil && !errors.Is(err, ErrBadParameter) {
				t.Errorf("%s with %d bytes: %v", alg, got, err)
			}
		}
	}
	for _, got := range []int{0, 1, 1000} {
		if err := Algorithm("RSNULL").Check(rsa, UseSign, got); err != nil {
			t.Errorf("RSNULL with %d bytes: %v", got, err)
		}
		if err := Algorithm("HS256").Check(oct, UseSign, got); err != nil {
			t.Errorf("HS256 with %d bytes: %v", got, err)
		}
	}
}

// A wrong size is told apart from a wrong algorithm, and a wrong algorithm's message says what would do.
func TestCheckMessages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		alg  Algorithm
		spec Spec
		use  Use
		says string
	}{
		{"A256KW", someSpecs[5], UseWrap, "key size incorrect"},
		{"ES384", someSpecs[2], UseSign, "ES256"},
		{"RS256", someSpecs[2], UseSign, "ES256"},
		{"A256KW", someSpecs[7], UseEncrypt, "A256GCM"},
		{"rs256", someSpecs[0], UseSign, "RS256"},
		{"", someSpecs[0], UseSign, "RS256"},
		{"A256GCM", someSpecs[2], UseEncrypt, "no other algorithm"},
		{"A256KWPAD", someSpecs[7], UseWrap, "[A256KW CKM_AES_KEY_WRAP CKM_AES_KEY_WRAP_PAD]"},
		{"none", someSpecs[7], UseSign, "HS256"},
		{"ES256", someSpecs[8], UseSign, "ES256K"},
		{"ES256K", someSpecs[2], UseSign, "[ES256]"},
	} {
		err := c.alg.Check(c.spec, c.use, 32)
		if !errors.Is(err, ErrBadAlgorithm) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q with %s: %v; should mention %s", c.alg, c.spec, err, c.says)
		}
	}
}

// The package is pure: what it imports can do no I/O and has no clock.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"name.go", "spec.go", "ops.go", "attributes.go", "algorithm.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{`"os"`, `"net"`, `"time"`, `"io"`, `"log/slog"`, `"redoubt/`} {
			if strings.Contains(string(b), "\t"+bad) {
				t.Errorf("%s imports %s", file, bad)
			}
		}
	}
}
