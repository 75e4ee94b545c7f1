package material

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	decred "github.com/decred/dcrd/dcrec/secp256k1/v4"
	decredsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"gitlab.com/yawning/secp256k1-voi/secec"

	"redoubt/internal/key"
)

// sameOpinion compares k256 with an independent implementation: which scalars are keys, what their points
// are, that each verifies what the other signs with either s, and what they say of an arbitrary signature.
func sameOpinion(t testing.TB, scalar, digest, sig []byte) {
	t.Helper()
	var d decred.ModNScalar
	valid := len(scalar) == 32 && !d.SetByteSlice(scalar) && !d.IsZero()
	k, ok := readK256(scalar)
	if ok != valid {
		t.Fatalf("%x is a scalar: %v, the other says %v", scalar, ok, valid)
	}
	if !ok {
		return
	}
	other := decred.NewPrivateKey(&d)
	if !bytes.Equal(k.point(), other.PubKey().SerializeUncompressed()) || !bytes.Equal(k.scalar(), scalar) {
		t.Fatalf("%x: point %x", scalar, k.point())
	}
	ours, err := k.sign(digest)
	if err != nil || len(ours) != 64 {
		t.Fatalf("sign: %x, %v", ours, err)
	}
	if theirs := decredSignature(ours); theirs == nil || !theirs.Verify(digest, other.PubKey()) {
		t.Fatalf("%x: our signature %x of %x does not verify", scalar, ours, digest)
	}
	if high := otherS(ours); bytes.Compare(ours[32:], high[32:]) > 0 || !k.verify(digest, high) {
		t.Fatalf("%x: s is not the smaller one, or the larger one is refused: %x", scalar, ours)
	}
	made := decredsa.Sign(other, digest)
	r, s := made.R(), made.S()
	rb, sb := r.Bytes(), s.Bytes()
	if !k.verify(digest, append(rb[:], sb[:]...)) {
		t.Fatalf("%x: the other's signature of %x does not verify", scalar, digest)
	}
	theirs := decredSignature(sig)
	if want := theirs != nil && theirs.Verify(digest, other.PubKey()); k.verify(digest, sig) != want {
		t.Fatalf("%x: signature %x of %x is good: the other says %v", scalar, sig, digest, want)
	}
}

// decredSignature reads r || s, nil if one is not below the order. Zero it judges itself.
func decredSignature(sig []byte) *decredsa.Signature {
	var r, s decred.ModNScalar
	if len(sig) != 64 || r.SetByteSlice(sig[:32]) || s.SetByteSlice(sig[32:]) {
		return nil
	}
	return decredsa.NewSignature(&r, &s)
}

// otherS replaces s by the order less s, which verifies as well.
func otherS(sig []byte) []byte {
	s := new(big.Int).Sub(decred.Params().N, new(big.Int).SetBytes(sig[32:]))
	return append(bytes.Clone(sig[:32]), s.FillBytes(make([]byte, 32))...)
}

func edgeScalars() [][]byte {
	n := decred.Params().N
	var out [][]byte
	for _, v := range []*big.Int{
		new(big.Int), big.NewInt(1), big.NewInt(2), new(big.Int).Sub(n, big.NewInt(1)), n, new(big.Int).Add(n, big.NewInt(1)),
		new(big.Int).Rsh(n, 1), new(big.Int).Lsh(big.NewInt(1), 255), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)),
	} {
		out = append(out, v.FillBytes(make([]byte, 32)))
	}
	return out
}

// chained gives the i-th of a fixed sequence of 32-byte strings.
func chained(i int) []byte {
	h := sha256.Sum256([]byte{byte(i), byte(i >> 8), 'k'})
	return h[:]
}

func TestK256AgreesWithAnother(t *testing.T) {
	t.Parallel()
	scalars := append(edgeScalars(), nil, make([]byte, 31), make([]byte, 33), append([]byte{0}, chained(1)...))
	for i := range 200 {
		scalars = append(scalars, chained(i))
	}
	edge := edgeScalars()
	for i, d := range scalars {
		sig := slices.Concat(edge[i%len(edge)], edge[(i/len(edge))%len(edge)])
		sameOpinion(t, d, edge[i%len(edge)], sig)
		sameOpinion(t, d, chained(7*i), append(chained(i+1), chained(i+2)...))
		sameOpinion(t, d, chained(7*i), sig[:i%64])
	}
}

// FuzzP256K: the same under arbitrary input.
func FuzzP256K(f *testing.F) {
	for i, d := range edgeScalars() {
		f.Add(d, chained(i), append(chained(i+1), d...))
	}
	f.Fuzz(func(t *testing.T, scalar, digest, sig []byte) {
		if len(digest) != 32 {
			return // the algorithm table's business
		}
		sameOpinion(t, scalar, digest, sig)
	})
}

// moduleDir is where the build keeps the sources of the module behind k256, with the public vectors in them.
func moduleDir(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "gitlab.com/yawning/secp256k1-voi").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "secec", "testdata")
}

// Project Wycheproof, ecdsa_secp256k1_sha256: through r || s, so that what only ASN.1 can get wrong is refused
// on the way.
func TestP256KWycheproof(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(moduleDir(t), "wycheproof", "ecdsa_secp256k1_sha256_test.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			Key   struct{ Uncompressed string }
			Key2  struct{ Uncompressed string } `json:"publicKey"`
			Tests []struct {
				TcID             int
				Comment          string
				Msg, Sig, Result string
			}
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, g := range file.TestGroups {
		point := unhex(t, g.Key.Uncompressed+g.Key2.Uncompressed)
		if !k256Point(point) {
			t.Errorf("not a point: %x", point)
		}
		pub, err := secec.NewPublicKey(point)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range g.Tests {
			digest := sha256.Sum256(unhex(t, v.Msg))
			raw, ok := rawSignature(unhex(t, v.Sig), 32)
			ok = ok && verifyK256(pub, digest[:], raw)
			if ok != (v.Result == "valid") {
				t.Errorf("%d (%s): %v, want %s", v.TcID, v.Comment, ok, v.Result)
			}
			if ok {
				good++
			} else {
				bad++
			}
		}
	}
	if good < 100 || bad < 100 {
		t.Errorf("%d valid and %d invalid vectors", good, bad)
	}
}

// The deterministic signatures of RFC 6979 that circulate for this curve: our nonces differ, so they prove key
// reading and verification.
func TestP256KKnownSignatures(t *testing.T) {
	t.Parallel()
	f, err := os.Open(filepath.Join(moduleDir(t), "secp256k1_rfc6979_sha256.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil || len(rows) != 20 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		d, ok := new(big.Int).SetString(row[0], 10)
		if !ok {
			t.Fatal(row)
		}
		k, ok := readK256(d.FillBytes(make([]byte, 32)))
		raw, isDER := rawSignature(unhex(t, row[2]), 32)
		digest := sha256.Sum256([]byte(row[1]))
		if !ok || !isDER || !k.verify(digest[:], raw) || k.verify(digest[:], flip(raw)) {
			t.Errorf("key %s, %q: the signature does not verify", row[0], row[1])
		}
	}
}

// What SEC 2 gives as the base point is the point of the key 1, and the key of the order less one is its mirror.
func TestP256KPoints(t *testing.T) {
	t.Parallel()
	const gx, gy = "79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798", "483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8"
	edge := edgeScalars()
	one, _ := readK256(edge[1])
	last, _ := readK256(edge[3])
	if !bytes.Equal(one.point(), unhex(t, "04"+gx+gy)) || !bytes.Equal(last.point()[:33], unhex(t, "04"+gx)) || bytes.Equal(one.point(), last.point()) {
		t.Errorf("1 has the point %x, -1 has %x", one.point(), last.point())
	}
	for name, p := range map[string]string{"compressed": "02" + gx, "off the curve": "04" + gx + gx, "infinity": "00", "hybrid": "06" + gx + gy, "empty": "", "long": "04" + gx + gy + "00"} {
		if k256Point(unhex(t, p)) {
			t.Errorf("%s is taken for a point", name)
		}
	}
}

func TestP256KKey(t *testing.T) {
	t.Parallel()
	k, fresh := pemKey(t, "p256k.pem"), testKey(t, allSpecs[9])
	made, err := Generate(key.Spec{Type: key.EC, Curve: key.P256K})
	if err != nil {
		t.Fatal(err)
	}
	digest := chained(3)
	sig, err := k.Sign("ES256K", digest)
	if err != nil || len(sig) != 64 {
		t.Fatalf("sign: %x, %v", sig, err)
	}
	for name, c := range map[string]struct {
		k    Key
		want bool
	}{"itself": {k, true}, "read again": {fresh, true}, "another": {made, false}} {
		if ok, err := c.k.Verify("ES256K", digest, sig); ok != c.want || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	again, err := k.Sign("ES256K", digest)
	if err != nil || bytes.Equal(again, sig) {
		t.Errorf("the same nonce twice: %v", err)
	}
	for _, alg := range []key.Algorithm{"ES256", "ES384", "ES512"} {
		if _, err := k.Sign(alg, digest); !errors.Is(err, key.ErrBadAlgorithm) {
			t.Errorf("%s: %v", alg, err)
		}
	}
	for _, n := range []int{0, 20, 31, 33, 48, 64} {
		if _, err := k.Sign("ES256K", make([]byte, n)); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("digest of %d bytes: %v", n, err)
		}
	}
	if _, err := pemKey(t, "p256.pem").Sign("ES256K", digest); !errors.Is(err, key.ErrBadAlgorithm) {
		t.Errorf("with P-256: %v", err)
	}
	if len(k.Public().X) != 32 || len(k.Public().Y) != 32 || !k256Point(slices.Concat([]byte{4}, k.Public().X, k.Public().Y)) {
		t.Errorf("public part %x", k.Public())
	}
}
