package securitydomain

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"redoubt/internal/secret"
)

// azPEM writes a certificate as the genuine client's init-recovery does: 65 characters a line, no final newline.
func azPEM(t *testing.T, transferKey string) []byte {
	t.Helper()
	var jwk struct{ X5C []string }
	if err := json.Unmarshal([]byte(transferKey), &jwk); err != nil {
		t.Fatal(err)
	}
	lines := []string{"-----BEGIN CERTIFICATE-----"}
	for b := jwk.X5C[0]; len(b) > 0; {
		n := min(65, len(b))
		lines, b = append(lines, b[:n]), b[n:]
	}
	return []byte(strings.Join(append(lines, "-----END CERTIFICATE-----"), "\n"))
}

func TestExchangeKey(t *testing.T) {
	t.Parallel()
	xk, err := NewExchangeKey("contosomhsm2", 1767225600, 1769904000)
	if err != nil {
		t.Fatal(err)
	}
	jwk := xk.TransferKeyJSON()
	envelope, err := json.Marshal(map[string]string{"key_format": "jwk", "transfer_key": jwk})
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"PEM": xk.CertificatePEM(), "az": azPEM(t, jwk), "az with CRLF": bytes.ReplaceAll(azPEM(t, jwk), []byte("\n"), []byte("\r\n")),
		"JWK": []byte(jwk), "JWK with spaces": []byte("\n " + jwk + "\n"), "answer": envelope,
	} {
		c, err := ParseExchangeCertificate(file)
		if err != nil || !reflect.DeepEqual(c, xk.Certificate()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := xk.Certificate()
	if c.Public.N.BitLen() != 2048 || c.Subject != "CN=contosomhsm2" || c.NotBefore != 1767225600 || c.NotAfter != 1769904000 || xk.Fingerprint() != thumbprint(c.DER) {
		t.Errorf("%+v", c)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(jwk), &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kty", "alg", "key_ops", "n", "e", "kid", "x5c", "x5t", "x5t#S256"} {
		if m[name] == nil {
			t.Errorf("the transfer key has no %s", name)
		}
	}
	if len(m) != 9 || strings.Contains(fmt.Sprintf("%v %+v %#v", xk, *xk, xk), xk.private.f().D.String()) {
		t.Error("the transfer key or a print shows more than the public half")
	}

	exported := xk.Export()
	back, err := ImportExchangeKey(exported)
	if err != nil || back.Fingerprint() != xk.Fingerprint() || !back.Export().Equal(exported) {
		t.Fatal(err)
	}
	data := ourData()
	blob, err := Reencrypt(data, c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Accept(blob, back, Tags())
	if err != nil {
		t.Fatal(err)
	}
	sameData(t, got, data)
	xk.Wipe()
	if xk.private.f().D.Sign() != 0 && xk.private.f().D.Bits()[0] != 0 {
		t.Error("Wipe left the private exponent")
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	good := vectorExchange(t).Export().Expose()
	for n := 0; n < len(good); n += 7 {
		_, err := ImportExchangeKey(secret.New(bytes.Clone(good[:n])))
		wantError(t, err, ErrBadExchangeKey)
	}
	other := wrapKey(t, 0)
	mixed := (&ExchangeKey{cert: other.Certificate, private: vectorExchange(t).private}).Export()
	for _, bad := range []secret.Bytes{
		mixed, secret.New(append(bytes.Clone(good), 0)), secret.New(append([]byte("RDX2"), good[4:]...)), {},
		secret.New([]byte("RDX1\xff\xff\xff\xff")), secret.New([]byte("RDX1\x00\x00\x00\x00\x00\x00\x00\x00")),
	} {
		_, err := ImportExchangeKey(bad)
		wantError(t, err, ErrBadExchangeKey)
	}
}

func TestExchangeCertificateRefused(t *testing.T) {
	t.Parallel()
	jwk := vectorExchange(t).TransferKeyJSON()
	for name, bad := range map[string]string{
		"empty": "", "text": "hello", "key": string(read(t, "vectors", "exchange.key")), "EC": string(read(t, "keys", "ec.cer")),
		"cut JWK": jwk[:len(jwk)-1], "JWK and more": jwk + "{}", "transfer key an object": `{"key_format":"jwk","transfer_key":` + jwk + `}`,
		"n of another": string(remarshal(t, []byte(jwk), func(m map[string]any) { m["n"] = b64.EncodeToString(wrapKey(t, 0).Public.N.Bytes()) })),
		"private":      string(remarshal(t, []byte(jwk), func(m map[string]any) { m["p"] = "AQAB" })),
	} {
		_, err := ParseExchangeCertificate([]byte(bad))
		t.Run(name, func(t *testing.T) { wantError(t, err, ErrBadCertificate) })
	}
}

func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	xk := vectorExchange(t)
	data := ourData()
	blob, err := Reencrypt(data, xk.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	other, err := Reencrypt(data, wrapKey(t, 0).Certificate)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Accept(other, xk, Tags())
	wantError(t, err, ErrWrongExchangeKey, xk.Fingerprint(), wrapKey(t, 0).X5TS256, "init-recovery")

	list := func(tree map[string]any) []any { return at(tree, "EncData", "data").([]any) }
	setList := func(tree map[string]any, l []any) { at(tree, "EncData").(map[string]any)["data"] = l }
	jweEdit := func(part int, f func(string) string) func(map[string]any) {
		return func(tree map[string]any) {
			d := list(tree)[1].(map[string]any)
			p := strings.Split(d["compact_jwe"].(string), ".")
			p[part] = f(p[part])
			d["compact_jwe"] = strings.Join(p, ".")
		}
	}
	cutTag := func(n int) func(string) string {
		return func(s string) string {
			b, _ := base64.RawURLEncoding.DecodeString(s)
			return b64.EncodeToString(append(b, b...)[:n])
		}
	}
	for name, c := range map[string]struct {
		edit     func(map[string]any)
		sentinel error
		parts    []string
	}{
		"missing datum": {func(m map[string]any) { setList(m, list(m)[:2]) }, ErrBadRestoreBlob, []string{`"redoubt-info" is missing`}},
		"added datum": {func(m map[string]any) {
			setList(m, append(list(m), map[string]any{"tag": "extra", "compact_jwe": at(m, "EncData", "data", 0, "compact_jwe")}))
		}, ErrBadRestoreBlob, []string{`"extra"`, "does not know"}},
		"repeated datum": {func(m map[string]any) { setList(m, append(list(m), list(m)[0])) }, ErrBadRestoreBlob, []string{"two data have the tag"}},
		"renamed datum": {func(m map[string]any) { list(m)[0].(map[string]any)["tag"] = "redoubt-toor" },
			ErrBadRestoreBlob, []string{"redoubt-toor"}},
		"swapped data": {func(m map[string]any) {
			a, b := list(m)[0].(map[string]any), list(m)[1].(map[string]any)
			a["compact_jwe"], b["compact_jwe"] = b["compact_jwe"], a["compact_jwe"]
		}, ErrTampered, []string{"its key id is"}},
		"no data":              {func(m map[string]any) { setList(m, nil) }, ErrBadRestoreBlob, nil},
		"altered ciphertext":   {jweEdit(3, func(s string) string { return flipChar(s, 5) }), ErrTampered, []string{TagSigningSeed}},
		"tag of 31 bytes":      {jweEdit(4, cutTag(31)), ErrTampered, []string{"31 bytes"}},
		"tag of 16 bytes":      {jweEdit(4, cutTag(16)), ErrTampered, []string{"16 bytes"}},
		"tag of 64 bytes":      {jweEdit(4, cutTag(64)), ErrTampered, []string{"64 bytes"}},
		"no tag":               {jweEdit(4, cutTag(0)), ErrTampered, []string{"0 bytes"}},
		"other KDF":            {func(m map[string]any) { at(m, "EncData").(map[string]any)["kdf"] = "x" }, ErrBadRestoreBlob, nil},
		"unknown member":       {func(m map[string]any) { m["version"] = 2 }, ErrBadRestoreBlob, nil},
		"no wrapped key":       {func(m map[string]any) { delete(m, "WrappedKey") }, ErrBadRestoreBlob, nil},
		"unknown in the key":   {func(m map[string]any) { at(m, "WrappedKey").(map[string]any)["x"] = 1 }, ErrBadRestoreBlob, nil},
		"thumbprint cut":       {func(m map[string]any) { at(m, "WrappedKey").(map[string]any)["x5t_256"] = "AAAA" }, ErrBadRestoreBlob, nil},
		"key of another blob":  {rewrap(t, xk, make([]byte, 32), algRSA, kidRSA), ErrTampered, nil},
		"master key too short": {rewrap(t, xk, make([]byte, 31), algRSA, kidRSA), ErrTampered, []string{"wrong length"}},
		"key id of its own":    {rewrap(t, xk, make([]byte, 32), algRSA, "used"), ErrTampered, []string{"key id"}},
		"RSA1_5":               {rewrap(t, xk, make([]byte, 32), "RSA1_5", kidRSA), ErrTampered, []string{"RSA1_5"}},
		"RSA-OAEP with SHA-1":  {rewrap(t, xk, make([]byte, 32), "RSA-OAEP", kidRSA), ErrTampered, []string{"RSA-OAEP"}},
	} {
		got, err := Accept(remarshal(t, blob, c.edit), xk, Tags())
		t.Run(name, func(t *testing.T) {
			if got != nil {
				t.Error("data came with the error")
			}
			wantError(t, err, c.sentinel, c.parts...)
		})
	}
	file, err := Create(data, wrapCerts(t), 2, testDomainID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Accept(file, xk, Tags())
	wantError(t, err, ErrBadRestoreBlob, "security domain file, not a restore blob")
	for n := range blob {
		_, err := Accept(blob[:n], xk, Tags())
		wantError(t, err, ErrBadRestoreBlob)
	}
	_, err = Accept(bytes.Repeat([]byte{' '}, maxFile+1), xk, Tags())
	wantError(t, err, ErrBadRestoreBlob, "1 MiB")
	_, err = Accept(blob, xk, Tags()[:2])
	wantError(t, err, ErrBadRestoreBlob, TagInfo)
}

// rewrap replaces the wrapped key by another plaintext and header, with a right tag.
func rewrap(t *testing.T, xk *ExchangeKey, master []byte, alg, kid string) func(map[string]any) {
	t.Helper()
	return func(m map[string]any) {
		good, err := sealRSA(xk.cert.Public, master)
		if err != nil {
			t.Fatal(err)
		}
		if alg != algRSA || kid != kidRSA {
			cek := randomBytes(cekSize)
			if good, err = sealContent(alg, kid, strings.Split(good, ".")[1], cek, make([]byte, 16), master); err != nil {
				t.Fatal(err)
			}
			if alg == algRSA { // keep it decryptable, so that the key id alone is wrong
				if good, err = sealRSAWithKid(xk, master, kid); err != nil {
					t.Fatal(err)
				}
			}
		}
		at(m, "WrappedKey").(map[string]any)["enc_key"] = good
	}
}

func sealRSAWithKid(xk *ExchangeKey, plain []byte, kid string) (string, error) {
	cek := randomBytes(cekSize)
	inner, err := rsaOAEP(xk.cert.Public, cek)
	if err != nil {
		return "", err
	}
	return sealContent(algRSA, kid, b64.EncodeToString(inner), cek, make([]byte, 16), plain)
}

// TestBlobBitFlips flips one bit of every byte of a blob: all are refused, with one of the three errors.
func TestBlobBitFlips(t *testing.T) {
	t.Parallel()
	xk := vectorExchange(t)
	blob, err := Reencrypt(ourData(), xk.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1 << (i % 7)
		if data, err := Accept(bad, xk, Tags()); err == nil || data != nil {
			t.Errorf("accepted with byte %d changed from %q to %q", i, blob[i], bad[i])
		}
	}
}

func FuzzAccept(f *testing.F) {
	xk := vectorExchange(f)
	f.Add(read(f, "vectors", "restore_blob.json"))
	f.Add([]byte(`{"EncData":{"data":[{"compact_jwe":"....","tag":"a"}],"kdf":"sp108_kdf"},"WrappedKey":{"enc_key":"....","x5t_256":"` + xk.Fingerprint() + `"}}`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		b, err := parseBlob(blob)
		if err == nil {
			again, err := marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			if b2, err := parseBlob(again); err != nil || !reflect.DeepEqual(b, b2) {
				t.Fatalf("not the same after encoding: %v", err)
			}
		}
		if data, err := Accept(blob, xk, []string{"sd-data-1", "sd-data-2"}); err == nil && len(data) != 2 {
			t.Fatal("accepted without its data")
		}
	})
}

func FuzzImportExchangeKey(f *testing.F) {
	f.Add(vectorExchange(f).Export().Expose())
	f.Add([]byte("RDX1\x00\x00\x00\x01x\x00\x00\x00\x01y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		xk, err := ImportExchangeKey(secret.New(bytes.Clone(b)))
		if err != nil {
			wantError(t, err, ErrBadExchangeKey)
			return
		}
		if !bytes.Equal(xk.Export().Expose(), b) {
			t.Fatal("two spellings of one exchange key")
		}
	})
}
