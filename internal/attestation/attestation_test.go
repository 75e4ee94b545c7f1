package attestation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/key"
)

var update = flag.Bool("update", false, "write the golden evidence if there is none")

// testKey is a key whose scalar is SHA-256 of its name.
func testKey(t testing.TB, name string) signer {
	t.Helper()
	d := sha256.Sum256([]byte(name))
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:])
	if err != nil {
		t.Fatal(err)
	}
	return signer{k}
}

// signer is deterministic, as those of package seal are.
type signer struct{ *ecdsa.PrivateKey }

// domainKey is the signing key of a security domain, and scheme a way to name and check it (the real one is package seal's).
func domainKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func domainIDOf(pub []byte) string { return "sd-" + Fingerprint(pub)[:32] }

var scheme = Scheme{Verify: ed25519.Verify, DomainID: domainIDOf}

func nameIn(hsm, id, domain string) Name {
	return Name{HSM: hsm, ID: id, Domain: domainIDOf(domainKey(domain).Public().(ed25519.PublicKey))}
}

var someName = nameIn("ContosoMHSM", "0f0e0d0c-0000-4000-8000-000000000001", "domain")

func identity(t testing.TB, root, leaf string, n Name) *Identity {
	return endorsedBy(t, "domain", root, leaf, n)
}

func endorsedBy(t testing.TB, domain, root, leaf string, n Name) *Identity {
	t.Helper()
	k := domainKey(domain)
	i, err := NewIdentity(testKey(t, root), testKey(t, leaf), n, func(text []byte) Endorsement {
		return Endorsement{Key: k.Public().(ed25519.PublicKey), Signature: ed25519.Sign(k, text)}
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func someIdentity(t testing.TB) *Identity { return identity(t, "root", "leaf", someName) }

func ecMeta() key.Meta {
	return key.Meta{Name: "Signing", Version: "0123456789abcdef0123456789abcdef", Spec: key.Spec{Type: key.EC, Curve: key.P256}, Ops: []key.Op{key.OpSign, key.OpVerify},
		Attributes: key.Attributes{Enabled: true, Created: 1700000000, Exportable: true},
		Public:     key.Public{X: bytes.Repeat([]byte{1}, 32), Y: bytes.Repeat([]byte{2}, 32)}, Release: &key.ReleasePolicy{Data: []byte("{}"), Immutable: true}}
}

func octMeta() key.Meta {
	return key.Meta{Name: "oct", Version: "0123456789abcdef0123456789abcdef", Spec: key.Spec{Type: key.Oct, Bits: 256}, Imported: true}
}

func attest(t testing.TB, i *Identity, m key.Meta) Evidence {
	t.Helper()
	e, err := i.Attest(i.Describe(m, 1767323045))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestVerify(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	e := attest(t, i, ecMeta())
	p, err := Verify(e, scheme, Expect{Root: i.Root(), DomainID: someName.Domain})
	if err != nil {
		t.Fatal(err)
	}
	if p.Key != "/keys/Signing/0123456789abcdef0123456789abcdef" || p.Origin != "generated" || !p.Exportable || p.Crv != "P-256" || p.HSMID != someName.ID || p.Time != 1767323045 ||
		p.Public == nil || p.Public.Crv != "P-256" || p.Thumbprint != p.Public.Thumbprint() || p.Policy == nil || !p.Policy.Immutable || p.Root != i.Root() {
		t.Errorf("%+v", p)
	}
	e = attest(t, i, octMeta())
	if p, err = Verify(e, scheme, Expect{}); err != nil || p.Origin != "imported" || p.Public != nil || p.Thumbprint != "" || e.Public != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// RFC 7638, 3.1 is the known answer.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	k := JWK{Kty: "RSA", E: "AQAB", N: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
	if got := k.Thumbprint(); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Error(got)
	}
}

// Every byte counts: whichever one of the three parts is changed, the evidence fails.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	want := Expect{Root: i.Root()}
	bits := map[string][]byte{"certificates": {0x01}, "private": {0x01, 0x20, 0x80}, "public": {0x01, 0x20, 0x80}}
	for name, m := range map[string]key.Meta{"ec": ecMeta(), "oct": octMeta()} {
		good := attest(t, i, m)
		for part, at := range map[string]func(e *Evidence) *[]byte{
			"certificates": func(e *Evidence) *[]byte { return &e.Certificates },
			"private":      func(e *Evidence) *[]byte { return &e.Private },
			"public":       func(e *Evidence) *[]byte { return &e.Public },
		} {
			n := len(*at(&good))
			for pos := range n {
				for _, bit := range bits[part] {
					e := good
					b := bytes.Clone(*at(&e))
					b[pos] ^= bit
					*at(&e) = b
					if _, err := Verify(e, scheme, want); !errors.Is(err, ErrNotGenuine) {
						t.Fatalf("%s: byte %d of %s with bit %#x: %v", name, pos, part, bit, err)
					}
				}
			}
			for cut := range n {
				e := good
				*at(&e) = bytes.Clone((*at(&e))[:cut])
				if _, err := Verify(e, scheme, want); !errors.Is(err, ErrNotGenuine) {
					t.Fatalf("%s: %s cut to %d bytes: %v", name, part, cut, err)
				}
			}
			e := good
			*at(&e) = append(bytes.Clone(*at(&e)), '\n')
			if _, err := Verify(e, scheme, want); !errors.Is(err, ErrNotGenuine) {
				t.Fatalf("%s: %s with a byte more: %v", name, part, err)
			}
		}
	}
}

// certificateBytes flips every byte below the PEM, which a change of the text hardly reaches.
func TestEveryByteOfTheCertificatesCounts(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	good := attest(t, i, octMeta())
	for which, der := range [][]byte{i.leaf, i.root} {
		for pos := range der {
			bad := bytes.Clone(der)
			bad[pos] ^= 0x01
			e := good
			e.Certificates = chainPEM(bad, i.root)
			if which == 1 {
				e.Certificates = chainPEM(i.leaf, bad)
			}
			if _, err := Verify(e, scheme, Expect{Root: i.Root()}); !errors.Is(err, ErrNotGenuine) {
				t.Fatalf("certificate %d, byte %d: %v", which, pos, err)
			}
		}
	}
}

// other makes what somebody else, or the same HSM about something else, could put in.
func TestMixedEvidence(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	good := attest(t, i, ecMeta())
	stranger := endorsedBy(t, "their domain", "their root", "their leaf", nameIn("ContosoMHSM", someName.ID, "their domain"))
	otherHSM := identity(t, "root", "leaf", Name{HSM: "Other", ID: "0f0e0d0c-0000-4000-8000-000000000002", Domain: someName.Domain})
	pretender := endorsedBy(t, "their domain", "their root", "their leaf", someName)
	m := ecMeta()
	m.Version = "ffffffffffffffffffffffffffffffff"
	older := attest(t, i, m)
	imposter := attest(t, stranger, ecMeta())
	mixed := func(change func(e *Evidence)) Evidence {
		e := good
		change(&e)
		return e
	}
	highS := func(b []byte) []byte {
		b = bytes.Clone(b)
		s := new(big.Int).SetBytes(b[len(b)-32:])
		s.Sub(elliptic.P256().Params().N, s).FillBytes(b[len(b)-32:])
		return b
	}
	for what, e := range map[string]Evidence{
		"another version's private part": mixed(func(e *Evidence) { e.Private = older.Private }),
		"another version's public part":  mixed(func(e *Evidence) { e.Public = older.Public }),
		"parts exchanged":                mixed(func(e *Evidence) { e.Private, e.Public = e.Public, e.Private }),
		"no public part":                 mixed(func(e *Evidence) { e.Public = nil }),
		"a public part too many":         mixed(func(e *Evidence) { e.Private = attest(t, i, octMeta()).Private }),
		"a stranger's certificates":      mixed(func(e *Evidence) { e.Certificates = imposter.Certificates }),
		"a stranger altogether":          imposter,
		"a stranger's leaf":              mixed(func(e *Evidence) { e.Certificates = chainPEM(stranger.leaf, i.root) }),
		"our leaf under their root":      mixed(func(e *Evidence) { e.Certificates = chainPEM(i.leaf, stranger.root) }),
		"the root as leaf":               mixed(func(e *Evidence) { e.Certificates = chainPEM(i.root, i.root) }),
		"the leaf as root":               mixed(func(e *Evidence) { e.Certificates = chainPEM(i.leaf, i.leaf) }),
		"one certificate":                mixed(func(e *Evidence) { e.Certificates = chainPEM(i.leaf) }),
		"three certificates":             mixed(func(e *Evidence) { e.Certificates = chainPEM(i.leaf, i.root, i.root) }),
		"another HSM's names":            mixed(func(e *Evidence) { e.Certificates = otherHSM.Certificates() }),
		"another version of the format":  mixed(func(e *Evidence) { e.Version = "2.0" }),
		"the signature's other form":     mixed(func(e *Evidence) { e.Private = highS(e.Private) }),
		"nothing":                        {},
	} {
		if _, err := Verify(e, scheme, Expect{Root: i.Root()}); !errors.Is(err, ErrNotGenuine) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, e := range map[string]Evidence{"a stranger in our domain's name": attest(t, pretender, ecMeta()), "a stranger with our domain's endorsement of another root": func() Evidence {
		pretender.endorsed = i.endorsed
		return attest(t, pretender, ecMeta())
	}()} {
		if _, err := Verify(e, scheme, Expect{}); !errors.Is(err, ErrNotGenuine) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Verify(good, scheme, Expect{DomainID: "sd-ffffffffffffffffffffffffffffffff"}); !errors.Is(err, ErrNotGenuine) {
		t.Errorf("another domain: %v", err)
	}
	if p, err := Verify(imposter, scheme, Expect{}); err != nil || p.Root == i.Root() {
		t.Errorf("without a pin a stranger's evidence holds together: %v", err)
	}
}

// Statements that are signed but that no HSM makes.
func TestSignedNonsense(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	base := i.Describe(octMeta(), 1)
	base.Purpose = purposePrivate
	for what, change := range map[string]func(s *Statement){
		"purpose": func(s *Statement) { s.Purpose = "else" }, "origin": func(s *Statement) { s.Origin = "found" }, "key": func(s *Statement) { s.Key = "oct" },
		"no ops": func(s *Statement) { s.KeyOps = nil }, "public key": func(s *Statement) { s.Public = &JWK{Kty: "RSA"} },
		"names of another": func(s *Statement) { s.HSM = "Other" },
	} {
		s := base
		change(&s)
		b, err := i.seal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(Evidence{Certificates: i.Certificates(), Private: b, Version: Version}, scheme, Expect{}); !errors.Is(err, ErrNotGenuine) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// not canonical: another order of members, white space, an unknown member
	good, err := i.seal(base)
	if err != nil {
		t.Fatal(err)
	}
	text := string(good[8 : len(good)-64])
	moved := strings.Replace(text, `"purpose":"private-key",`, "", 1)
	moved = strings.TrimSuffix(moved, "}") + `,"purpose":"private-key"}`
	for _, bad := range []string{strings.Replace(text, ",", ", ", 1), strings.Replace(text, "{", `{"x":1,`, 1), text + " ", moved, strings.ReplaceAll(text, "keyOps", "KeyOps")} {
		sig, err := i.sign([]byte(label + bad))
		if err != nil {
			t.Fatal(err)
		}
		b := append(append([]byte(magic), binary.BigEndian.AppendUint32(nil, uint32(len(bad)))...), bad...)
		if _, err := Verify(Evidence{Certificates: i.Certificates(), Private: append(b, sig...), Version: Version}, scheme, Expect{}); !errors.Is(err, ErrNotGenuine) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	if !bytes.Equal(i.Certificates(), someIdentity(t).Certificates()) {
		t.Error("the certificates are not the same a second time")
	}
	if fp, err := RootOf(i.Certificates()); err != nil || fp != i.Root() {
		t.Errorf("root of the chain: %s, %v", fp, err)
	}
	if _, err := RootOf([]byte("nothing")); err == nil {
		t.Error("a root was found in nothing")
	}
	leaf, err := x509.ParseCertificate(i.leaf)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(i.root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		t.Errorf("the standard library's verifier: %v", err)
	}
	if s := leaf.Subject.String(); !strings.Contains(s, "ContosoMHSM") || !strings.Contains(s, someName.Domain) || !strings.Contains(s, someName.ID) {
		t.Error(s)
	}
	for in, ok := range map[string]bool{i.Root(): true, strings.ToUpper(i.Root()): true, strings.Repeat("ab:", 31) + "ab": true, "": false, i.Root()[1:]: false, strings.Repeat("x", 64): false} {
		if got, err := ParseFingerprint(in); (err == nil) != ok || ok && len(got) != 64 {
			t.Errorf("fingerprint %q: %q, %v", in, got, err)
		}
	}
}

// A signed answer verifies with what stands in its own header, as clients do it.
func TestJWS(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	jws, err := i.JWS([]byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(jws, ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	var h struct {
		Alg, Kid string
		X5C      [][]byte
		X5T      string `json:"x5t#S256"`
	}
	if err := json.Unmarshal(header, &h); err != nil || h.Alg != "ES256" || len(h.X5C) != 2 || h.Kid != h.X5T {
		t.Fatalf("%s, %v", header, err)
	}
	leaf, err := x509.ParseCertificate(h.X5C[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(h.X5C[0])
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !verify(leaf.PublicKey.(*ecdsa.PublicKey), []byte(parts[0]+"."+parts[1]), sig) || h.X5T != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("signature or thumbprint: %v", err)
	}
}

// testdata/golden.json opens for ever, and the certificates of its HSM stay what people have pinned.
func TestGolden(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "golden.json")
	i := someIdentity(t)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		if b, err = json.MarshalIndent(attest(t, i, ecMeta()), "", " "); err == nil {
			err = errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, append(b, '\n'), 0o644))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var e Evidence
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	p, err := Verify(e, scheme, Expect{Root: i.Root()})
	if err != nil || p.HSM != "ContosoMHSM" || p.Public == nil {
		t.Errorf("%+v, %v", p, err)
	}
	if now := attest(t, i, ecMeta()); !bytes.Equal(now.Certificates, e.Certificates) || !bytes.Equal(now.Private, e.Private) || !bytes.Equal(now.Public, e.Public) {
		t.Error("the same HSM makes other certificates or evidence than it did: pins of operators would break")
	}
}

// FuzzStatement: what is accepted is written back the same.
func FuzzStatement(f *testing.F) {
	i := someIdentity(f)
	for _, m := range []key.Meta{ecMeta(), octMeta()} {
		e := attest(f, i, m)
		f.Add(e.Private)
		f.Add(e.Public)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, signed, sig, err := parse(b)
		if err != nil {
			return
		}
		text, err := s.encode()
		if err != nil || !bytes.Equal(signed, append([]byte(label), text...)) || len(sig) != 64 || len(b) != overhead+len(text) {
			t.Fatalf("%q was accepted and is %q", b, text)
		}
	})
}

// FuzzCertificates: never panics, and a chain that is accepted is the whole text.
func FuzzCertificates(f *testing.F) {
	i := someIdentity(f)
	f.Add(i.Certificates())
	f.Add(append(i.Certificates(), chainPEM(i.root)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		leaf, root, err := chain(b)
		if err != nil {
			if !errors.Is(err, ErrNotGenuine) {
				t.Fatal(err)
			}
			return
		}
		first, _ := pem.Decode(b)
		if !bytes.Equal(first.Bytes, leaf.Raw) || !bytes.Equal(chainPEM(leaf.Raw, root.Raw), b) {
			t.Fatal("accepted something else")
		}
	})
}
