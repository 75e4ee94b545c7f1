package authn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
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
	Alg  string          `json:"alg"`
	Kid  string          `json:"kid"`
	Crit json.RawMessage `json:"crit"`
}

// claims are those of Entra's v1 and v2 access tokens and of plain OpenID Connect that matter here.
type claims struct {
	Issuer            string   `json:"iss"`
	Audience          audience `json:"aud"`
	Subject           string   `json:"sub"`
	Expires           unix     `json:"exp"`
	NotBefore         unix     `json:"nbf"`
	Tenant            string   `json:"tid"`
	ObjectID          string   `json:"oid"`
	AppID             string   `json:"appid"`
	AuthorizedParty   string   `json:"azp"`
	UPN               string   `json:"upn"`
	UniqueName        string   `json:"unique_name"`
	PreferredUsername string   `json:"preferred_username"`
	Name              string   `json:"name"`
	IDType            string   `json:"idtyp"`
	Groups            []string `json:"groups"`
}

// split reads header and claims of a compact JWS without believing them.
func split(raw string) (header, claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || parts[2] == "" {
		return header{}, claims{}, fmt.Errorf("%w: it is not a signed token", ErrBadToken)
	}
	var h header
	b, err := decode(parts[0])
	if err == nil {
		err = exactly(b, &h, headerNames)
	}
	switch {
	case err != nil:
		return header{}, claims{}, fmt.Errorf("%w: its header cannot be read", ErrBadToken)
	case h.Kid == "":
		return header{}, claims{}, fmt.Errorf("%w: it does not name its key", ErrBadToken)
	case h.Crit != nil:
		return header{}, claims{}, fmt.Errorf("%w: it demands an extension that is not known here", ErrBadToken)
	}
	b, err = decode(parts[1])
	if err != nil {
		return header{}, claims{}, fmt.Errorf("%w: its claims cannot be read", ErrBadToken)
	}
	c, err := parseClaims(b)
	return h, c, err
}

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

func parseClaims(payload []byte) (claims, error) {
	var c claims
	if err := exactly(payload, &c, claimNames); err != nil {
		return claims{}, fmt.Errorf("%w: its claims cannot be read", ErrBadToken)
	}
	return c, nil
}

var (
	headerNames = []string{"alg", "kid", "crit"}
	claimNames  = []string{"iss", "aud", "sub", "exp", "nbf", "tid", "oid", "appid", "azp", "upn", "unique_name", "preferred_username", "name", "idtyp", "groups"}
)

// exactly decodes the members of these names and no others. Names in JWTs are case-sensitive (RFC 7519,
// section 4), which encoding/json is not: to it a claim "OID", which an issuer may let a user choose, would
// do for "oid".
func exactly(b []byte, into any, names []string) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	known := make(map[string]json.RawMessage, len(names))
	for _, n := range names {
		if v, ok := all[n]; ok {
			known[n] = v
		}
	}
	b, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// audience is a string or a list of strings (RFC 7519, 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*a = audience{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("aud is neither a string nor a list of strings")
	}
	*a = many
	return nil
}

// unix is a NumericDate (RFC 7519, 2) cut to whole seconds.
type unix int64

func (u *unix) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 1<<40 {
		return errors.New("not a time")
	}
	*u = unix(f)
	return nil
}

func (u unix) time() time.Time { return time.Unix(int64(u), 0) }

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

// printable makes a claim fit for an error message: no control characters, bounded length.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
