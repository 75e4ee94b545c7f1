package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxFileName keeps encoded names, with a suffix, inside the 255 bytes a file name may have.
const maxFileName = 200

// encodeName turns a blob name into a file name: lower-case letters, digits, "-", "_" and inner dots
// stay, every other byte becomes %xx. So there is no separator, no leading dot and nothing that a
// file system without case would merge. A name too long for that becomes "~" and its SHA-256; the
// record inside the file tells the real one.
func encodeName(name string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if lowerOrDigit(c) || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	if b.Len() <= maxFileName {
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return "~" + hex.EncodeToString(sum[:])
}

// decodeName is the inverse of encodeName. ok is false for a hashed name and for anything encodeName
// does not produce.
func decodeName(file string) (name string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(file); i++ {
		if file[i] != '%' {
			b.WriteByte(file[i])
			continue
		}
		if i+2 >= len(file) {
			return "", false
		}
		v, err := hex.DecodeString(file[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.WriteByte(v[0])
		i += 2
	}
	name = b.String()
	return name, name != "" && encodeName(name) == file
}
