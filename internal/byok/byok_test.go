package byok

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const kid = "https://contosomhsm.managedhsm.azure.net/keys/kek/0123456789abcdef0123456789abcdef"

// golden is the form of the writer, which may never change.
const golden = `{
  "schema_version": "1.0.0",
  "header": {
    "kid": "` + kid + `",
    "alg": "dir",
    "enc": "CKM_RSA_AES_KEY_WRAP"
  },
  "ciphertext": "AAEC_f7_",
  "generator": "a <tool> & an HSM"
}
`

var someBlob = Blob{KID: kid, Ciphertext: []byte{0, 1, 2, 0xfd, 0xfe, 0xff}, Generator: "a <tool> & an HSM"}

func TestGolden(t *testing.T) {
	t.Parallel()
	b, err := someBlob.Encode()
	if err != nil || string(b) != golden {
		t.Errorf("%s, %v", b, err)
	}
	got, err := Parse([]byte(golden))
	if err != nil || !reflect.DeepEqual(got, someBlob) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestOtherWriters: what tools of others write differently and means the same.
func TestOtherWriters(t *testing.T) {
	t.Parallel()
	for what, s := range map[string]string{
		"one line":        strings.NewReplacer("\n", "", "  ", "").Replace(golden),
		"byte order mark": "\ufeff" + golden,
		"spaces around":   " \r\n" + golden + "\n\n",
		"escapes":         strings.Replace(golden, "/keys/", `\/keys\/`, 1),
		"more members":    strings.Replace(golden, `"header"`, `"version": {"a": [1]}, "header"`, 1),
		"more in header":  strings.Replace(golden, `"alg"`, `"typ": "x", "alg"`, 1),
		"another order":   `{"ciphertext":"AAEC_f7_","generator":"a <tool> & an HSM","header":{"enc":"CKM_RSA_AES_KEY_WRAP","alg":"dir","kid":"` + kid + `"},"schema_version":"1.0.0"}`,
	} {
		if got, err := Parse([]byte(s)); err != nil || !reflect.DeepEqual(got, someBlob) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	padded := strings.Replace(golden, "AAEC_f7_", "AA==", 1)
	if got, err := Parse([]byte(padded)); err != nil || !bytes.Equal(got.Ciphertext, []byte{0}) {
		t.Errorf("padding: %+v, %v", got, err)
	}
	unnamed := strings.Replace(golden, `"generator"`, `"other"`, 1)
	if got, err := Parse([]byte(unnamed)); err != nil || got.Generator != "" {
		t.Errorf("no generator: %+v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	change := func(from, to string) string {
		s := strings.Replace(golden, from, to, 1)
		if s == golden {
			t.Fatalf("%q does not occur", from)
		}
		return s
	}
	for what, s := range map[string]string{
		"nothing": "", "text": "hello", "list": "[" + golden + "]", "null": "null", "cut": golden[:len(golden)-3], "two": golden + golden,
		"schema": change("1.0.0", "1.0.1"), "schema missing": change(`"schema_version"`, `"schema"`), "schema a number": change(`"1.0.0"`, `1`),
		"alg": change(`"dir"`, `"RSA-OAEP"`), "enc": change(`WRAP"`, `WRAP_PAD"`), "enc missing": change(`"enc"`, `"Enc"`),
		"crit": change(`"alg"`, `"crit": ["x"], "alg"`), "no header": change(`"header"`, `"Header"`), "header a text": change(`"header": {`, `"header": "x", "y": {`),
		"no kid": change(`"kid"`, `"KID"`), "empty kid": change(kid, ""), "long kid": change(kid, strings.Repeat("k", maxText+1)), "kid null": change(`"`+kid+`"`, "null"),
		"no ciphertext": change(`"ciphertext"`, `"cipher"`), "empty ciphertext": change("AAEC_f7_", ""), "ciphertext null": change(`"AAEC_f7_"`, "null"),
		"other alphabet": change("AAEC_f7_", "AAEC/f7+"), "stray bits": change("AAEC_f7_", "AAEC_f7_AB"), "bad padding": change("AAEC_f7_", "AAEC_f7_="),
		"line end in it": change("AAEC_f7_", `AAEC\n_f7_`), "generator a number": change(`"a <tool> & an HSM"`, "1"), "long generator": change("a <tool>", strings.Repeat("g", maxText)),
		"twice":        change(`"generator"`, `"schema_version": "1.0.0", "generator"`),
		"twice inside": change(`"alg"`, `"kid": "x", "alg"`), "not UTF-8": change("tool", "t\xffool"), "too long": golden + strings.Repeat(" ", MaxBlob),
	} {
		if got, err := Parse([]byte(s)); !errors.Is(err, ErrBadBlob) || !reflect.DeepEqual(got, Blob{}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		} else if strings.Contains(err.Error(), "AAEC") {
			t.Errorf("%s: the error shows the ciphertext: %v", what, err)
		}
	}
	for what, b := range map[string]Blob{
		"no kid": {Ciphertext: []byte("x")}, "no ciphertext": {KID: kid}, "not UTF-8": {KID: "\xff", Ciphertext: []byte("x")},
		"too long": {KID: kid, Ciphertext: make([]byte, MaxBlob)},
	} {
		if _, err := b.Encode(); !errors.Is(err, ErrBadBlob) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzParse: what is read can be written, and then reads the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte(strings.Replace(golden, "AAEC_f7_", "AA==", 1)))
	f.Add([]byte(`{"schema_version":"1.0.0","header":{"kid":"k","alg":"dir","enc":"CKM_RSA_AES_KEY_WRAP"},"ciphertext":"AA"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrBadBlob) {
				t.Error(err)
			}
			return
		}
		out, err := b.Encode()
		if err != nil {
			if len(raw) < MaxBlob/8 {
				t.Fatal(err)
			}
			return // escapes can make it longer than it was
		}
		if again, err := Parse(out); err != nil || !reflect.DeepEqual(again, b) {
			t.Errorf("%+v became %+v, %v", b, again, err)
		}
	})
}

func TestKID(t *testing.T) {
	t.Parallel()
	if k, err := ParseKID(kid); err != nil || k != (KID{"contosomhsm.managedhsm.azure.net", "kek", "0123456789abcdef0123456789abcdef"}) {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := ParseKID("https://h:8443/Keys/k/v"); err != nil || k != (KID{"h:8443", "k", "v"}) {
		t.Errorf("%+v, %v", k, err)
	}
	for _, bad := range []string{"", "kek", "http://h/keys/k/v", "https:///keys/k/v", "https://h/keys/k", "https://h/keys/k/", "https://h/keys//v", "https://h/keys/k/v/", "https://h//keys/k/v",
		"https://h/keys/k/v?x", "https://h/keys/k/v#x", "https://u@h/keys/k/v", "https://h/secrets/k/v", "https://h/%zz/k/v"} {
		if k, err := ParseKID(bad); !errors.Is(err, ErrBadBlob) || k != (KID{}) {
			t.Errorf("%q: %+v, %v", bad, k, err)
		}
	}
}
