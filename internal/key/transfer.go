package key

import "fmt"

// Transfer is a way to wrap a key for the journey to another place: PKCS #11's CKM_RSA_AES_KEY_WRAP, a random
// AES-256 key under RSA-OAEP and the payload under that key with AES-KWP (RFC 5649). The three differ in
// OAEP's hash. The wire calls them "enc". The zero value is invalid.
type Transfer string

// The transfer algorithms.
const (
	TransferSHA1   Transfer = "CKM_RSA_AES_KEY_WRAP" // OAEP with SHA-1: what transfer blobs (BYOK) use
	TransferSHA256 Transfer = "RSA_AES_KEY_WRAP_256"
	TransferSHA384 Transfer = "RSA_AES_KEY_WRAP_384"
)

// ParseTransfer reads a transfer algorithm's name; "" is not one.
func ParseTransfer(s string) (Transfer, error) {
	switch t := Transfer(s); t {
	case TransferSHA1, TransferSHA256, TransferSHA384:
		return t, nil
	}
	return "", fmt.Errorf("%w: enc %q; use %s, %s or %s", ErrBadParameter, s, TransferSHA1, TransferSHA256, TransferSHA384)
}
