package material

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"redoubt/internal/key"
	"redoubt/internal/secret"
)

// allSpecs is every spec the HSM makes.
var allSpecs = []key.Spec{
	{Type: key.RSA, Bits: 2048, Exponent: 65537}, {Type: key.RSA, Bits: 3072, Exponent: 65537}, {Type: key.RSA, Bits: 4096, Exponent: 65537},
	{Type: key.EC, Curve: key.P256}, {Type: key.EC, Curve: key.P384}, {Type: key.EC, Curve: key.P521},
	{Type: key.Oct, Bits: 128}, {Type: key.Oct, Bits: 192}, {Type: key.Oct, Bits: 256},
	{Type: key.EC, Curve: key.P256K},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encoded puts our header before a payload.
func encoded(typ key.Type, payload []byte) secret.Bytes {
	return secret.New(append(append([]byte(magic), typeByte[typ]), payload...))
}

func octKey(t testing.TB, hexKey string) Key {
	t.Helper()
	raw := unhex(t, hexKey)
	k, err := Parse(key.Spec{Type: key.Oct, Bits: 8 * len(raw)}, encoded(key.Oct, raw))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func readPEM(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s is not PEM", name)
	}
	return block.Bytes
}

// pemSpec is the spec of each test key.
var pemSpec = map[string]key.Spec{
	"rsa2048.pem": allSpecs[0], "rsa3072.pem": allSpecs[1], "rsa4096.pem": allSpecs[2],
	"p256.pem": allSpecs[3], "p384.pem": allSpecs[4], "p521.pem": allSpecs[5],
	"p256k.pem": allSpecs[9],
}

func pemKey(t testing.TB, name string) Key {
	t.Helper()
	spec := pemSpec[name]
	k, err := Parse(spec, encoded(spec.Type, readPEM(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// testKey is a key of any spec, without the time to make one.
func testKey(t testing.TB, spec key.Spec) Key {
	t.Helper()
	if spec.Type == key.Oct {
		k, err := Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, s := range pemSpec {
		if s == spec {
			return pemKey(t, name)
		}
	}
	t.Fatalf("no test key of spec %s", spec)
	return Key{}
}

// private is the standard library's view of a test key, for doing by hand what the package would not do.
func private[T any](t testing.TB, name string) T {
	t.Helper()
	k, err := x509.ParsePKCS8PrivateKey(readPEM(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return k.(T)
}

// someRSA is one fresh RSA key for all tests that want one.
var someRSA = sync.OnceValues(func() (Key, error) { return Generate(allSpecs[0]) })
