package securitydomain

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/secret"
)

const testDomainID = "sd-00112233445566778899aabbccddeeff"

func read(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, v any, elem ...string) {
	t.Helper()
	if err := json.Unmarshal(read(t, elem...), v); err != nil {
		t.Fatal(err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wrapKey returns wrapping key i (0..2) of the vectors.
func wrapKey(t testing.TB, i int) WrappingKey {
	t.Helper()
	name := fmt.Sprintf("wrap_%d", i)
	k, err := ParseWrappingKey(name+".key", read(t, "vectors", name+".cer"), read(t, "vectors", name+".key"), secret.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wrapCerts(t testing.TB) []Certificate {
	t.Helper()
	var certs []Certificate
	for i := range 3 {
		certs = append(certs, wrapKey(t, i).Certificate)
	}
	return certs
}

// vectorExchange returns the exchange key of the vectors.
func vectorExchange(t testing.TB) *ExchangeKey {
	t.Helper()
	k, err := ParseWrappingKey("exchange.key", read(t, "vectors", "exchange.cer"), read(t, "vectors", "exchange.key"), secret.Bytes{})
	if err != nil {
		t.Fatal(err)
	}
	return &ExchangeKey{cert: k.Certificate, private: k.private}
}

// pool makes ten wrapping keys once for all tests.
var pool = sync.OnceValue(func() []WrappingKey {
	keys := make([]WrappingKey, MaxCertificates)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			name := fmt.Sprintf("holder-%d", i+1)
			cert, key, err := NewWrappingKeyPair(name, 2048, 1767225600, 1893456000)
			if err == nil {
				keys[i], err = ParseWrappingKey(name+".key", cert, key.Expose(), secret.Bytes{})
			}
			if err != nil {
				panic(err)
			}
		})
	}
	wg.Wait()
	return keys
})

func certsOf(keys []WrappingKey) []Certificate {
	var certs []Certificate
	for _, k := range keys {
		certs = append(certs, k.Certificate)
	}
	return certs
}

func text(s string) secret.Bytes { return secret.New([]byte(s)) }

// ourData is a complete content as the device writes it.
func ourData() []Datum {
	return []Datum{
		{TagRoot, secret.Random(32)},
		{TagSigningSeed, secret.Random(32)},
		{TagInfo, EncodeInfo(Info{Epoch: 3, DomainID: testDomainID})},
	}
}

// reporter is what testing.TB and rapid.T have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func sameData(t reporter, got, want []Datum) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d data, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Tag != want[i].Tag || !got[i].Value.Equal(want[i].Value) {
			t.Errorf("datum %d: %s, want %s or another value", i, got[i].Tag, want[i].Tag)
		}
	}
}

// wantError checks the sentinel and that the message holds every part.
func wantError(t reporter, err, sentinel error, parts ...string) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("error is %v, want %v", err, sentinel)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the message %q does not say %q", err, p)
		}
	}
}

// remarshal decodes JSON into a tree, lets edit change it and encodes it again.
func remarshal(t testing.TB, file []byte, edit func(map[string]any)) []byte {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(file, &tree); err != nil {
		t.Fatal(err)
	}
	edit(tree)
	b, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at walks a JSON tree: strings are names, ints are indices.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

// rawDER encodes v as the parameters of an algorithm.
func rawDER(t testing.TB, v any) asn1.RawValue {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{FullBytes: der}
}

func rsaOAEP(pub *rsa.PublicKey, plain []byte) ([]byte, error) {
	return rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, plain, nil)
}

// flipChar returns s with another base64url character at i.
func flipChar(s string, i int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, s[i])
	return s[:i] + string(alphabet[(at+1)%64]) + s[i+1:]
}
