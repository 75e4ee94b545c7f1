package securitydomain

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"
)

// TestAgainstGoJose has an independent implementation read what we write and write what we read.
func TestAgainstGoJose(t *testing.T) {
	t.Parallel()
	key := wrapKey(t, 0)
	private := key.private.f()
	algs := []jose.KeyAlgorithm{jose.DIRECT, jose.RSA_OAEP_256}
	encs := []jose.ContentEncryption{jose.A256CBC_HS512}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "plain")
		cek := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "cek")

		direct, err := sealDirect(cek, "redoubt-root", plain)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := sealRSA(key.Public, plain)
		if err != nil {
			t.Fatal(err)
		}
		for compact, k := range map[string]any{direct: cek, wrapped: private} {
			o, err := jose.ParseEncryptedCompact(compact, algs, encs)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := o.Decrypt(k); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("go-jose reads %x, %v", got, err)
			}
		}

		for alg, r := range map[string]jose.Recipient{
			algDirect: {Algorithm: jose.DIRECT, Key: cek, KeyID: "redoubt-root"},
			algRSA:    {Algorithm: jose.RSA_OAEP_256, Key: key.Public, KeyID: kidRSA},
		} {
			e, err := jose.NewEncrypter(jose.A256CBC_HS512, r, nil)
			if err != nil {
				t.Fatal(err)
			}
			o, err := e.Encrypt(plain)
			if err != nil {
				t.Fatal(err)
			}
			compact, err := o.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			j, err := parseJWE(compact, alg)
			if err != nil || j.kid != r.KeyID {
				t.Fatal(j.kid, err)
			}
			var got []byte
			if alg == algDirect {
				got, err = j.openDirect(cek)
			} else {
				got, err = j.openRSA(private)
			}
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%s of go-jose: %x, %v", alg, got, err)
			}
		}
	})
}

// TestEveryCharacterCounts changes each character of each part of both kinds of JWE: all must be refused.
func TestEveryCharacterCounts(t *testing.T) {
	t.Parallel()
	key := wrapKey(t, 0).private.f()
	cek := randomBytes(cekSize)
	direct, err := sealDirect(cek, "tag", []byte("a secret of some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := sealRSA(&key.PublicKey, []byte("a secret of some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	openDirect := func(s string) error {
		j, err := parseJWE(s, algDirect)
		if err == nil {
			_, err = j.openDirect(cek)
		}
		return err
	}
	openRSA := func(s string) error {
		j, err := parseJWE(s, algRSA)
		if err == nil {
			_, err = j.openRSA(key)
		}
		return err
	}
	for compact, open := range map[string]func(string) error{direct: openDirect, wrapped: openRSA} {
		if err := open(compact); err != nil {
			t.Fatal(err)
		}
		for i := range compact {
			changed := []string{compact[:i], compact[:i] + compact[i+1:], compact[:i] + "\n" + compact[i:]}
			if compact[i] != '.' {
				changed = append(changed, flipChar(compact, i))
			} else {
				changed = append(changed, compact[:i]+"="+compact[i:], compact[:i]+"."+compact[i:])
			}
			for _, c := range changed {
				if open(c) == nil {
					t.Errorf("accepted with a change at %d: %s", i, c)
				}
			}
		}
		for _, c := range []string{compact + "=", compact + "\n", compact + "A", compact + ".", " " + compact} {
			if open(c) == nil {
				t.Errorf("accepted %q", c)
			}
		}
	}
}

func TestHeaderIsExact(t *testing.T) {
	t.Parallel()
	cek := randomBytes(cekSize)
	good, err := sealDirect(cek, "tag", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	rest := good[strings.IndexByte(good, '.'):]
	for name, header := range map[string]string{
		"other order is fine":    `{"kid":"tag","alg":"dir","enc":"A256CBC-HS512"}`,
		"no kid":                 `{"alg":"dir","enc":"A256CBC-HS512"}`,
		"no enc":                 `{"alg":"dir","kid":"tag"}`,
		"kid is a number":        `{"alg":"dir","enc":"A256CBC-HS512","kid":1}`,
		"kid is null":            `{"alg":"dir","enc":"A256CBC-HS512","kid":null}`,
		"zip":                    `{"alg":"dir","enc":"A256CBC-HS512","kid":"tag","zip":"DEF"}`,
		"crit":                   `{"alg":"dir","enc":"A256CBC-HS512","kid":"tag","crit":["x"]}`,
		"kid twice":              `{"alg":"dir","enc":"A256CBC-HS512","kid":"tag","kid":"tag"}`,
		"alg in capitals":        `{"ALG":"dir","enc":"A256CBC-HS512","kid":"tag"}`,
		"alg none":               `{"alg":"none","enc":"A256CBC-HS512","kid":"tag"}`,
		"alg RSA1_5":             `{"alg":"RSA1_5","enc":"A256CBC-HS512","kid":"tag"}`,
		"alg RSA-OAEP with SHA1": `{"alg":"RSA-OAEP","enc":"A256CBC-HS512","kid":"tag"}`,
		"alg RSA for a datum":    `{"alg":"RSA-OAEP-256","enc":"A256CBC-HS512","kid":"tag"}`,
		"enc GCM":                `{"alg":"dir","enc":"A256GCM","kid":"tag"}`,
		"enc shorter":            `{"alg":"dir","enc":"A128CBC-HS256","kid":"tag"}`,
		"trailing":               `{"alg":"dir","enc":"A256CBC-HS512","kid":"tag"} {}`,
		"not an object":          `["dir"]`,
		"null":                   `null`,
		"truncated":              `{"alg":"dir","enc":"A256CBC-HS512","kid":"tag"`,
		"not UTF-8":              "{\"alg\":\"dir\",\"enc\":\"A256CBC-HS512\",\"kid\":\"\xff\"}",
	} {
		_, err := parseJWE(b64.EncodeToString([]byte(header))+rest, algDirect)
		if (err == nil) != strings.HasSuffix(name, "is fine") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJWELengths(t *testing.T) {
	t.Parallel()
	cek := randomBytes(cekSize)
	good, err := sealDirect(cek, "tag", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(part int, b []byte) string {
		p := strings.Split(good, ".")
		p[part] = b64.EncodeToString(b)
		return strings.Join(p, ".")
	}
	j, err := parseJWE(good, algDirect)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]string{
		"key with dir":     with(1, []byte{1}),
		"no IV":            with(2, nil),
		"IV of 12":         with(2, j.iv[:12]),
		"IV of 17":         with(2, append(bytes.Clone(j.iv), 0)),
		"no ciphertext":    with(3, nil),
		"part of a block":  with(3, j.ciphertext[:15]),
		"no tag":           with(4, nil),
		"tag of 16":        with(4, j.tag[:16]),
		"tag of 31":        with(4, j.tag[:31]),
		"tag of 33":        with(4, append(bytes.Clone(j.tag), 0)),
		"tag of 64":        with(4, append(bytes.Clone(j.tag), j.tag...)),
		"four parts":       good[:strings.LastIndexByte(good, '.')],
		"six parts":        good + ".",
		"empty":            "",
		"standard base64":  with(2, j.iv) + "+",
		"padded part":      good + "=",
		"line break in it": good[:20] + "\r\n" + good[20:],
	} {
		if _, err := parseJWE(c, algDirect); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestOneErrorForTagAndPadding seals wrong padding under a right tag: the error is that of a wrong tag.
func TestOneErrorForTagAndPadding(t *testing.T) {
	t.Parallel()
	cek := randomBytes(cekSize)
	for name, last := range map[string]byte{"zero": 0, "too long": 17, "does not match": 2} {
		// Sealing 31 bytes puts one byte of padding at the end. The CBC trick: changing the block before changes it.
		plain := bytes.Repeat([]byte{9}, 31)
		s, err := sealDirect(cek, "tag", plain)
		if err != nil {
			t.Fatal(err)
		}
		j, err := parseJWE(s, algDirect)
		if err != nil {
			t.Fatal(err)
		}
		j.ciphertext[15] ^= 1 ^ last
		j.tag = contentTag(cek, j.aad, j.iv, j.ciphertext)
		if _, err := j.openDirect(cek); !errors.Is(err, errDecrypt) {
			t.Errorf("padding %s: %v", name, err)
		}
		j.tag[0] ^= 1
		if _, err := j.openDirect(cek); !errors.Is(err, errDecrypt) {
			t.Errorf("tag: %v", err)
		}
	}
	j := jwe{tag: make([]byte, 32)}
	if _, err := j.openDirect(cek[:32]); !errors.Is(err, errDecrypt) {
		t.Errorf("short key: %v", err)
	}
}

func TestPadding(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		b := bytes.Repeat([]byte{0xaa}, n)
		p := pad(b, 16)
		if got, ok := unpad(p, 16); !ok || got != n || len(p)%16 != 0 {
			t.Errorf("%d bytes: %d, %v", n, got, ok)
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 15), make([]byte, 16), bytes.Repeat([]byte{17}, 16), append(bytes.Repeat([]byte{3}, 13), 2, 3, 3)} {
		if n, ok := unpad(bad, 16); ok {
			t.Errorf("%x: unpadded to %d", bad, n)
		}
	}
}

func FuzzParseJWE(f *testing.F) {
	cek := bytes.Repeat([]byte{7}, cekSize)
	good, err := sealContent(algDirect, "tag", "", cek, make([]byte, 16), []byte("plain"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("....")
	f.Fuzz(func(t *testing.T, s string) {
		for _, alg := range []string{algDirect, algRSA} {
			j, err := parseJWE(s, alg)
			if err != nil {
				continue
			}
			parts := []string{j.aad, b64.EncodeToString(j.encryptedKey), b64.EncodeToString(j.iv), b64.EncodeToString(j.ciphertext), b64.EncodeToString(j.tag)}
			if strings.Join(parts, ".") != s {
				t.Fatalf("two spellings of one JWE: %q", s)
			}
			if _, err := j.openDirect(cek); err == nil && j.aad != strings.Split(good, ".")[0] {
				t.Fatalf("forged: %q", s)
			}
		}
	})
}
