package azblob

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"redoubt/internal/blob"
)

var noon = time.Date(2025, 4, 14, 12, 0, 0, 0, time.UTC)

func TestParseSAS(t *testing.T) {
	t.Parallel()
	expiry := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, token := range []string{
		testSAS("crdw"), "?" + testSAS("crdw"),
		"se=2099-01-01&sp=crdw&sv=2026-04-06&sr=c&sig=CANARY",
		"se=2099-01-01T00%3A00%3A00Z&sp=crdw&sv=2026-04-06&sr=c&sig=CANARY&spr=https,http",
		"se=2099-01-01T00:00:00.0000000Z&sp=crdw&sv=2021-06-08&ss=bfqt&srt=sco&sig=CANARY",
		"se=2099-01-01T02:00:00%2B02:00&sp=crdw&sv=2021-06-08&sr=c&skoid=x&sktid=y&sig=CANARY",
	} {
		s, err := ParseSAS(token)
		if err != nil {
			t.Errorf("%s: %v", token, err)
			continue
		}
		if !s.Expiry.Equal(expiry) || s.Permissions != "crdw" || s.Text() != strings.TrimPrefix(token, "?") {
			t.Errorf("%s: %v", token, s)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb+verb, s, &s); strings.Contains(text, "CANARY") {
				t.Errorf("%s prints the token: %s", verb, text)
			}
		}
	}
}

func TestParseSASRefuses(t *testing.T) {
	t.Parallel()
	for token, says := range map[string]string{
		"":                                      "empty",
		"?":                                     "empty",
		"sp=rl&sv=2021&sr=c&sig=CANARY":         "does not contain the expiry field",
		"sp=rl&se=2099-01-01&sr=c&sig=CANARY":   "version",
		"sp=rl&se=2099-01-01&sv=2021&sr=c":      "signature",
		"se=2099-01-01&sv=2021&sr=c&sig=CANARY": "permissions",
		"sp=rl&se=tomorrow&sv=2021&sr=c&sig=CANARY":            "expiry (se) is not a date",
		"sp=rl&st=x&se=2099-01-01&sv=2021&sr=c&sig=CANARY":     "start",
		"sp=rl&se=2099-01-01&sv=2021&sr=b&sig=CANARY":          "not for a container",
		"sp=rl&se=2099-01-01&sv=2021&sig=CANARY":               "what it is for",
		"sp=rl&se=2099-01-01&sv=2021&ss=f&srt=co&sig=CANARY":   "blob service",
		"sp=rl&se=2099-01-01&sv=2021&ss=b&srt=s&sig=CANARY":    "containers and objects",
		"sp=rl&spr=http&se=2099-01-01&sv=2021&sr=c&sig=CANARY": "https",
		"sp=rl&sp=rwl&se=2099-01-01&sv=2021&sr=c&sig=CANARY":   "occurs 2 times",
		testSAS("rl") + "&comp=list":                           "request field",
		testSAS("rl") + " ":                                    "characters",
		`"` + testSAS("rl") + `"`:                              "characters",
		testSAS("rl") + "\r\nX: y":                             "characters",
		testSAS("rl") + "#":                                    "characters",
		"https://acct.blob.core.windows.net/c?" + testSAS("r"): "address",
		"sig=CANARY%zz":                                        "fields",
		"sig=CANARY;a":                                         "fields",
		strings.Repeat("a", maxSAS+1):                          "longer",
	} {
		_, err := ParseSAS(token)
		if !errors.Is(err, blob.ErrBadCredential) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v, want ErrBadCredential that says %q", token, err, says)
		}
		clean(t, err)
	}
}

func TestCheckSAS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fields, need string
		want         error
		says         string
	}{
		{"sp=crdw&se=2025-04-14T12:30Z", "crdw", nil, ""},
		{"sp=racwdxltmeop&se=2025-04-14T12:30Z", "crdw", nil, ""},
		{"si=policy&se=2025-04-14T12:30Z", "crdw", nil, ""},
		{"sp=crdw&se=2025-04-14T12:00Z", "crdw", blob.ErrExpired, "expired at 2025-04-14T12:00:00Z"},
		{"sp=crdw&se=2025-04-14", "crdw", blob.ErrExpired, "expired at 2025-04-14T00:00:00Z"},
		{"sp=crdw&st=2025-04-14T12:01Z&se=2025-04-15", "crdw", blob.ErrExpired, "valid from 2025-04-14T12:01:00Z"},
		{"sp=rl&se=2025-04-15", "crdw", blob.ErrDenied, "lacks create (c), delete (d), write (w)"},
		{"sp=crd&se=2025-04-15", "crdw", blob.ErrDenied, "lacks write (w)"},
		{"sp=crdw&se=2025-04-15", "rl", blob.ErrDenied, "lacks list (l)"},
	} {
		s, err := ParseSAS(tc.fields + "&sv=2021-06-08&sr=c&sig=CANARY")
		if err != nil {
			t.Errorf("%s: %v", tc.fields, err)
			continue
		}
		err = s.Check(noon, tc.need)
		if !errors.Is(err, tc.want) || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s for %s: %v, want %v with %q", tc.fields, tc.need, err, tc.want, tc.says)
		}
		clean(t, err)
	}
}

func FuzzParseSAS(f *testing.F) {
	f.Add(testSAS("crdw"))
	f.Add("?se=2099-01-01&sp=rl&sv=x&ss=b&srt=sco&sig=%41")
	f.Add("sig=a;b&se=%zz")
	f.Fuzz(func(t *testing.T, token string) {
		s, err := ParseSAS(token)
		if err != nil {
			if !errors.Is(err, blob.ErrBadCredential) {
				t.Errorf("%q: %v", token, err)
			}
			return
		}
		again, err := ParseSAS(s.Text())
		if err != nil || !again.Expiry.Equal(s.Expiry) || again.Permissions != s.Permissions {
			t.Errorf("%q: again %v, %v", token, again, err)
		}
	})
}

// FuzzRedact: whatever text carries the credential, it comes out without it.
func FuzzRedact(f *testing.F) {
	f.Add("GET https://a/b?", testSAS("r"), " failed")
	f.Add("Bearer ", canarySig, "\x00")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < 8 || strings.Contains(redacted, secret) {
			return
		}
		for _, cred := range []credential{{token: secret}, {sas: secret}} {
			if strings.Contains(redact(before+secret+after, cred), secret) {
				t.Errorf("%q shows in %q", secret, redact(before+secret+after, cred))
			}
		}
	})
}
