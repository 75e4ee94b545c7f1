package release

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// MaxToken bounds an attestation token, bytes. Those of Azure Attestation have 4 to 12 KB.
const MaxToken = 64 << 10

// tokenDepth is how deep the claims of a token may be nested.
const tokenDepth = 16

// Assertion is what an attestation token says, once somebody trusted was found to have said it.
type Assertion struct {
	Issuer string
	Claims map[string]any // as parseJSON gives them: numbers are json.Number
}

// ParseClaims reads the payload of a token. The result is believed only if the token's signature was verified.
func ParseClaims(payload []byte) (Assertion, error) {
	v, err := parseJSON(payload, tokenDepth)
	if err != nil {
		return Assertion{}, badToken("its claims cannot be read: " + err.Error())
	}
	claims, ok := v.(map[string]any)
	if !ok {
		return Assertion{}, badToken("its claims are not a JSON object")
	}
	iss, ok := claims["iss"].(string)
	if !ok || iss == "" {
		return Assertion{}, badToken("it has no claim iss")
	}
	return Assertion{Issuer: iss, Claims: claims}, nil
}

func badToken(text string) error {
	return refuse(ErrBadToken, "The attestation token in target is not acceptable: "+text)
}

// Recipient is the RSA key of the attested environment, to which a released key is encrypted. N and E are big-endian.
type Recipient struct {
	Kid  string
	N, E []byte
}

// Recipient finds the first key in claim x-ms-runtime.keys that is for encryption: RSA, with a kid, and "use" (or
// "key_use") enc or "encrypt" among its key_ops. Its modulus and exponent are in n and e or in the first
// certificate of x5c. Whether the key is long enough is for the one who encrypts to judge.
func (a Assertion) Recipient() (Recipient, error) {
	v, _ := find(a.Claims, "x-ms-runtime.keys")
	keys, ok := v.([]any)
	if !ok {
		return Recipient{}, badToken("it has no list of keys in claim x-ms-runtime.keys")
	}
	for _, k := range keys {
		m, ok := k.(map[string]any)
		if !ok || m["kty"] != "RSA" || !encrypts(m) {
			continue
		}
		kid, ok := m["kid"].(string)
		if !ok || kid == "" || len(kid) > 512 {
			return Recipient{}, badToken("its encryption key in claim x-ms-runtime.keys has no kid")
		}
		return recipient(kid, m)
	}
	return Recipient{}, badToken("claim x-ms-runtime.keys has no RSA key for encryption (use enc, or encrypt in key_ops)")
}

func encrypts(m map[string]any) bool {
	if m["use"] == "enc" || m["key_use"] == "enc" {
		return true
	}
	ops, _ := m["key_ops"].([]any)
	return slices.ContainsFunc(ops, func(v any) bool {
		s, ok := v.(string)
		return ok && strings.EqualFold(s, "encrypt")
	})
}

func recipient(kid string, m map[string]any) (Recipient, error) {
	n, err1 := base64url(m["n"])
	e, err2 := base64url(m["e"])
	if err1 == nil && err2 == nil {
		return Recipient{Kid: kid, N: n, E: e}, nil
	}
	chain, _ := m["x5c"].([]any)
	if m["n"] == nil && m["e"] == nil && len(chain) > 0 {
		s, _ := chain[0].(string)
		der, err := base64.StdEncoding.DecodeString(s)
		if err == nil {
			if cert, err := x509.ParseCertificate(der); err == nil {
				if pub, ok := cert.PublicKey.(*rsa.PublicKey); ok {
					return Recipient{Kid: kid, N: pub.N.Bytes(), E: big.NewInt(int64(pub.E)).Bytes()}, nil
				}
			}
		}
	}
	return Recipient{}, badToken(fmt.Sprintf("its encryption key %s has no modulus and exponent that can be read", quote(kid)))
}

func base64url(v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok || s == "" {
		return nil, fmt.Errorf("not a string")
	}
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}
