package securitydomain

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
)

const (
	kdfName       = "sp108_kdf"
	masterKeySize = 32
	cekSize       = 64 // content encryption key of A256CBC-HS512
)

// datumKey derives the content encryption key of the datum with this tag. The caller clears it.
func datumKey(master []byte, tag string) []byte {
	return sp800108(master, tag, "", cekSize)
}

// sp800108 is the counter-mode KDF of NIST SP 800-108 section 4.1 with HMAC-SHA-512 and a 32-bit counter,
// restricted to n <= 64 bytes of output: one block. The genuine client is wrong beyond that, so nobody may ask for more.
func sp800108(key []byte, label, context string, n int) []byte {
	if n < 1 || n > sha512.Size {
		panic("securitydomain: KDF output of more than one block")
	}
	mac := hmac.New(sha512.New, key)
	in := binary.BigEndian.AppendUint32(nil, 1)
	in = append(in, label...)
	in = append(in, 0)
	in = append(in, context...)
	in = binary.BigEndian.AppendUint32(in, uint32(8*n))
	mac.Write(in)
	return mac.Sum(nil)[:n:n]
}
