package authn

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
)

// Bearer takes the token out of the values of the Authorization header: exactly one value, the scheme in any
// letter case, one token. It fails with ErrNoToken when there is none and with ErrBadToken when the header is
// not as RFC 6750 has it.
func Bearer(authorization []string) (string, error) {
	switch {
	case len(authorization) == 0 || (len(authorization) == 1 && authorization[0] == ""):
		return "", ErrNoToken
	case len(authorization) > 1:
		return "", fmt.Errorf("%w: more than one Authorization header", ErrBadToken)
	}
	scheme, token, found := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrNoToken
	}
	token = strings.Trim(token, " ")
	if !found || token == "" {
		return "", ErrNoToken
	}
	if len(token) > MaxTokenBytes {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrBadToken, MaxTokenBytes)
	}
	for i := range len(token) {
		if !isTokenByte(token[i]) {
			return "", fmt.Errorf("%w: a character that no token has", ErrBadToken)
		}
	}
	return token, nil
}

// isTokenByte tells whether c may be part of a compact JWS.
func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// header is the part of the JOSE header that decides how the token is verified.
type header struct {
	Alg, Kid, Type string
	Crit           bool // there is a "crit"
}

// split reads header and issuer of a compact JWS without believing them.
func split(raw string) (h header, issuer string, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || parts[2] == "" {
		return h, "", fmt.Errorf("%w: it is not a signed token", ErrBadToken)
	}
	b, err := decode(parts[0])
	if err == nil {
		err = h.read(b)
	}
	switch {
	case err != nil:
		return h, "", fmt.Errorf("%w: its header cannot be read", ErrBadToken)
	case h.Kid == "":
		return h, "", fmt.Errorf("%w: it does not name its key", ErrBadToken)
	case h.Crit:
		return h, "", fmt.Errorf("%w: it demands an extension that is not known here", ErrBadToken)
	case !accessType(h.Type):
		return h, "", fmt.Errorf("%w: it is of type %q, not an access token", ErrBadToken, printable(h.Type))
	}
	b, err = decode(parts[1])
	if err == nil {
		var m members
		if m, err = readMembers(b); err == nil {
			issuer, err = m.text("iss")
		}
	}
	if err != nil {
		return h, "", unreadable(err)
	}
	return h, issuer, nil
}

func (h *header) read(b []byte) error {
	m, err := readMembers(b)
	if err != nil {
		return err
	}
	_, h.Crit = m["crit"]
	for name, into := range map[string]*string{"alg": &h.Alg, "kid": &h.Kid, "typ": &h.Type} {
		if *into, err = m.text(name); err != nil {
			return err
		}
	}
	return nil
}

// accessType tells whether a token whose header has this "typ" can be an access token: tokens of other kinds, such
// as those for logging out, are signed by the same keys (RFC 8725, 3.11; RFC 9068, 2.1).
func accessType(typ string) bool {
	typ = strings.ToLower(typ)
	return typ == "" || typ == "jwt" || strings.TrimPrefix(typ, "application/") == "at+jwt"
}

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// isGUID tells whether s is a GUID in its usual form, lower-case.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

// printable makes a claim fit for an error message, which may be shown on a terminal: nothing that is not shown itself, such
// as control characters and those that turn the direction of text; bounded length.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
