package release

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Token is a compact JWS taken apart; nothing of it is verified.
type Token struct {
	Alg, Kid string
	Assertion
}

// ParseToken reads a token without believing it. It is strict: three parts of canonical base64url, a header that names algorithm
// and key and demands no extension, claims as in ParseClaims.
func ParseToken(token string) (Token, error) {
	if len(token) > MaxToken {
		return Token{}, badToken(fmt.Sprintf("it has more than %d bytes", MaxToken))
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] == "" {
		return Token{}, badToken("it is not a signed JSON Web Token in compact form")
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(p); err != nil || strings.ContainsAny(p, "\r\n") {
			return Token{}, badToken("it is not base64url without padding")
		}
	}
	v, err := parseJSON(raw[0], 4)
	if err != nil {
		return Token{}, badToken("its header cannot be read: " + err.Error())
	}
	header, _ := v.(map[string]any)
	var t Token
	t.Alg, _ = header["alg"].(string)
	t.Kid, _ = header["kid"].(string)
	_, crit := header["crit"]
	switch {
	case t.Alg == "":
		return Token{}, badToken("its header has no alg")
	case t.Kid == "":
		return Token{}, badToken("its header has no kid")
	case crit:
		return Token{}, badToken("its header demands an extension (crit)")
	}
	t.Assertion, err = ParseClaims(raw[1])
	return t, err
}

// skew is how far the clock of an issuer may be ahead, seconds.
const skew = 60

// CheckTimes tells whether the assertion holds at now, Unix seconds: exp is needed and in the future; nbf and iat, if
// there, are not in the future.
func (a Assertion) CheckTimes(now int64) error {
	for _, name := range []string{"exp", "nbf", "iat"} {
		v, there := a.Claims[name]
		if !there && name != "exp" {
			continue
		}
		n, ok := v.(json.Number)
		t, err := strconv.ParseFloat(string(n), 64)
		switch {
		case !ok || err != nil || math.IsNaN(t) || t < 0 || t > 1<<40:
			return badToken("its claim " + name + " is not a time in seconds")
		case name == "exp" && int64(t) <= now:
			return Untrusted("it has expired")
		case name != "exp" && int64(t) > now+skew:
			return Untrusted("it is not valid yet (claim " + name + ")")
		}
	}
	return nil
}

// Untrusted is the error of a token that nobody trusted vouches for; why goes behind the service's words.
func Untrusted(why string) error {
	return refuse(ErrUntrusted, "Target environment attestation statement cannot be verified. The token: "+why)
}
