package backup

import (
	"errors"
	"strings"
	"testing"
)

// TestCanonical: the signature covers what was decoded, so every other spelling of the same content must
// be refused by its form.
func TestCanonical(t *testing.T) {
	t.Parallel()
	c, m := write1(t)
	text := string(c.Objects()[m.Object(ManifestName)])
	for name, other := range map[string]string{
		"compact":            strings.ReplaceAll(text, "\n  ", ""),
		"no final newline":   strings.TrimSuffix(text, "\n"),
		"unknown member":     strings.Replace(text, `  "folder"`, `  "extra": 1,`+"\n"+`  "folder"`, 1),
		"repeated member":    strings.Replace(text, `  "epoch": 3,`, `  "epoch": 4,`+"\n"+`  "epoch": 3,`, 1),
		"letter case":        strings.Replace(text, `"epoch"`, `"Epoch"`, 1),
		"escape":             strings.Replace(text, `"hsm_name": "C`, `"hsm_name": "\u0043`, 1),
		"number":             strings.Replace(text, `"epoch": 3`, `"epoch": 3.0`, 1),
		"exponent":           strings.Replace(text, `"revision": 42`, `"revision": 42e0`, 1),
		"zone":               strings.Replace(text, `.123Z"`, `.123+00:00"`, 1),
		"digest in capitals": strings.Replace(text, m.Blocks[0].SHA256, strings.ToUpper(m.Blocks[0].SHA256), 1),
		"base64 bits":        strings.Replace(text, m.PublicKey, m.PublicKey[:len(m.PublicKey)-2]+nextBase64(m.PublicKey[len(m.PublicKey)-2])+"=", 1),
		"two documents":      text + text,
		"null":               "null\n",
		"list":               "[]\n",
		"byte order mark":    "\ufeff" + text,
	} {
		if other == text {
			t.Fatalf("%s changes nothing", name)
		}
		bad := c.Clone()
		bad.Corrupt(m.Object(ManifestName), func([]byte) []byte { return []byte(other) })
		if _, err := ReadManifest(t.Context(), bad, m.Folder, anchorA); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// nextBase64 is the next digit: where the last one carries unused bits, they become other unused bits.
func nextBase64(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(digits[(strings.IndexByte(digits, c)+1)%64])
}
