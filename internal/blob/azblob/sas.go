package azblob

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/blob"
)

// SAS is a shared access signature, read but not verified: only the account can do that. It is read so
// that a job can say before its first request what the service would refuse later, and in plainer words.
// The text itself is kept where no formatting verb reaches it.
type SAS struct {
	Start       time.Time // zero when absent
	Expiry      time.Time
	Permissions string // sp; empty when a stored access policy (si) holds them
	Policy      string // si, the name of the stored access policy, if any

	text func() string // without the leading "?"
}

const maxSAS = 4096

// ParseSAS reads the token of a request. A leading "?" is tolerated, as portals and clients differ. Errors
// are blob.ErrBadCredential and say what is missing; they never repeat the token.
func ParseSAS(token string) (SAS, error) {
	token = strings.TrimPrefix(token, "?")
	values, err := sasFields(token)
	if err != nil {
		return SAS{}, err
	}
	for _, need := range []struct{ field, name string }{{"sig", "signature"}, {"sv", "version"}, {"se", "expiry"}} {
		if values.Get(need.field) == "" {
			return SAS{}, badSAS("it does not contain the %s field (%s)", need.name, need.field)
		}
	}
	s := SAS{Permissions: values.Get("sp"), Policy: values.Get("si"), text: func() string { return token }}
	if s.Expiry, err = sasTime(values.Get("se")); err != nil {
		return SAS{}, badSAS("its expiry (se) is not a date like 2025-04-14T09:00Z")
	}
	if st := values.Get("st"); st != "" {
		if s.Start, err = sasTime(st); err != nil {
			return SAS{}, badSAS("its start (st) is not a date like 2025-04-14T09:00Z")
		}
	}
	if s.Permissions == "" && s.Policy == "" {
		return SAS{}, badSAS("it does not contain the permissions field (sp)")
	}
	return s, sasScope(values)
}

// sasFields splits the token strictly: no control characters, no field twice, nothing but fields.
func sasFields(token string) (url.Values, error) {
	if token == "" {
		return nil, badSAS("it is empty")
	}
	if len(token) > maxSAS {
		return nil, badSAS("it is longer than %d characters", maxSAS)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}#`+"`", c) >= 0 {
			return nil, badSAS("it has characters that no token has (a space or quotation mark around it, perhaps)")
		}
	}
	if strings.HasPrefix(strings.ToLower(token), "https:") || strings.Contains(token, "?") {
		return nil, badSAS("it is an address; give only the part after the question mark")
	}
	values, err := url.ParseQuery(token)
	if err != nil { // not wrapped: it quotes the token
		return nil, badSAS("it is not a list of name=value fields")
	}
	for name, v := range values {
		if len(v) != 1 || name == "" {
			return nil, badSAS("the field %.20q occurs %d times", name, len(v))
		}
		switch strings.ToLower(name) {
		case "restype", "comp", "prefix", "marker", "snapshot", "versionid", "timeout", "include":
			return nil, badSAS("it has the request field %q", name)
		}
	}
	return values, nil
}

// sasScope checks that the signature is for a whole container (service SAS, sr=c) or for the account's
// containers and blobs (account SAS, ss and srt), over https.
func sasScope(v url.Values) error {
	if p := v.Get("spr"); p != "" && p != "https" && p != "https,http" && p != "http,https" {
		return badSAS("it does not allow https (spr=%.20s)", p)
	}
	if srt, ss := v.Get("srt"), v.Get("ss"); srt != "" || ss != "" {
		if !strings.Contains(ss, "b") {
			return badSAS("it is an account token without the blob service (ss lacks b)")
		}
		if !strings.Contains(srt, "o") || !strings.Contains(srt, "c") {
			return badSAS("it is an account token that does not reach containers and objects (srt needs c and o)")
		}
		return nil
	}
	switch sr := v.Get("sr"); sr {
	case "c":
		return nil
	case "":
		return badSAS("it does not say what it is for (sr, or ss and srt)")
	default:
		return badSAS("it is not for a container (sr=%.10s); make one for the whole container", sr)
	}
}

// sasTime reads the ISO 8601 forms the service accepts.
func sasTime(s string) (time.Time, error) {
	var err error
	for _, layout := range []string{"2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z07:00", "2006-01-02"} {
		var t time.Time
		if t, err = time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, err
}

func badSAS(format string, args ...any) error {
	return fmt.Errorf("%w: the SAS token is malformed: "+format, append([]any{blob.ErrBadCredential}, args...)...)
}

// Text is the token as it goes on the wire. It is a secret.
func (s SAS) Text() string {
	if s.text == nil {
		return ""
	}
	return s.text()
}

// String hides the token.
func (s SAS) String() string {
	return fmt.Sprintf("SAS(sp=%s, until %s)", s.Permissions, s.Expiry.Format(time.RFC3339))
}

// GoString hides the token.
func (s SAS) GoString() string { return s.String() }

var permissionNames = map[rune]string{
	'r': "read", 'a': "add", 'c': "create", 'w': "write", 'd': "delete", 'l': "list",
}

// MissingPermissions returns the letters of need that the token does not grant, in need's order. With a
// stored access policy the rest of the permissions is known to the account only, and nothing is reported.
func (s SAS) MissingPermissions(need string) string {
	if s.Policy != "" {
		return ""
	}
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(s.Permissions, c) {
			return -1
		}
		return c
	}, need)
}

// Check refuses a token that is expired or not yet valid at now (blob.ErrExpired) or lacks one of the
// permissions need, letters as in sp (blob.ErrDenied).
func (s SAS) Check(now time.Time, need string) error {
	if !now.Before(s.Expiry) {
		return fmt.Errorf("%w: the SAS token expired at %s (it is %s); make a new one and start again",
			blob.ErrExpired, s.Expiry.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if now.Before(s.Start) {
		return fmt.Errorf("%w: the SAS token is valid from %s only (it is %s); wait, or make one that begins earlier",
			blob.ErrExpired, s.Start.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	missing := s.MissingPermissions(need)
	if missing == "" {
		return nil
	}
	var names []string
	for _, c := range missing {
		names = append(names, fmt.Sprintf("%s (%c)", permissionNames[c], c))
	}
	return fmt.Errorf("%w: the SAS token lacks %s; it has %q and needs %q: make a new one with these permissions",
		blob.ErrDenied, strings.Join(names, ", "), s.Permissions, need)
}
