package attestation

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	for _, e := range []Evidence{attest(t, i, ecMeta()), attest(t, i, octMeta())} {
		b := e.File()
		if got, err := ParseFile(b); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%d bytes, %v", len(got.Private), err)
		}
		url := strings.NewReplacer("+", "-", "=", "", "/", "_").Replace(string(b))
		if got, err := ParseFile([]byte(" " + url + "\n\n")); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("in the URL's alphabet: %d bytes, %v", len(got.Private), err)
		}
	}
	if s := string(attest(t, i, octMeta()).File()); !strings.HasPrefix(s, `{"certificatePemFile":"LS0t`) || !strings.HasSuffix(s, `","publicKeyAttestation":null,"version":"1.0"}`+"\n") {
		t.Error(s)
	}
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	good := string(attest(t, someIdentity(t), octMeta()).File())
	for what, bad := range map[string]string{
		"nothing": "", "a list": "[]", "a text": `"x"`, "two": good + good, "cut": good[:len(good)-3], "a number": strings.Replace(good, `"1.0"`, "1.0", 1),
		"an object": strings.Replace(good, `"1.0"`, "{}", 1), "a member more": strings.Replace(good, "{", `{"a":"b",`, 1), "a member twice": strings.Replace(good, "{", `{"version":"1.0",`, 1),
		"another case": strings.Replace(good, "version", "Version", 1), "null first": strings.Replace(good, "{", `{"version":null,`, 1), "too short": `{"publicKeyAttestation":"Q"}`,
		"not base64": `{"certificatePemFile":"***"}`, "loose bits": `{"certificatePemFile":"QR=="}`, "large": good + strings.Repeat(" ", MaxFile), "not JSON": `{"version" "1.0"}`,
		"a space that is not JSON's": good + "\v",
	} {
		if e, err := ParseFile([]byte(bad)); !errors.Is(err, ErrNotGenuine) {
			t.Errorf("%s: version %q, %v", what, e.Version, err)
		}
	}
}

// Every byte of the file counts.
func TestEveryByteOfAFileCounts(t *testing.T) {
	t.Parallel()
	i := someIdentity(t)
	good := attest(t, i, ecMeta()).File()
	for pos := range good {
		b := bytes.Clone(good)
		b[pos] ^= 1 << (pos % 8)
		e, err := ParseFile(b)
		if err == nil {
			_, err = Verify(e, scheme, Expect{Root: i.Root()})
		}
		if !errors.Is(err, ErrNotGenuine) {
			t.Fatalf("byte %d, bit %d: %v", pos, pos%8, err)
		}
	}
}

// FuzzFile: never panics, and what is read is written the same.
func FuzzFile(f *testing.F) {
	i := someIdentity(f)
	f.Add(attest(f, i, ecMeta()).File())
	f.Add(attest(f, i, octMeta()).File())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseFile(b)
		if err != nil {
			if !errors.Is(err, ErrNotGenuine) {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseFile(e.File()); err != nil || again.Version != e.Version ||
			!bytes.Equal(again.Certificates, e.Certificates) || !bytes.Equal(again.Private, e.Private) || !bytes.Equal(again.Public, e.Public) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}
