package authn

import (
	"errors"
	"strings"
	"testing"
)

func TestBearer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		in   []string
		want string
		err  error
	}{
		"none":       {nil, "", ErrNoToken},
		"empty":      {[]string{""}, "", ErrNoToken},
		"plain":      {[]string{"Bearer a.b.c"}, "a.b.c", nil},
		"lower":      {[]string{"bearer a.b.c"}, "a.b.c", nil},
		"spaces":     {[]string{"Bearer   a.b.c "}, "a.b.c", nil},
		"no token":   {[]string{"Bearer"}, "", ErrNoToken},
		"only space": {[]string{"Bearer "}, "", ErrNoToken},
		"other":      {[]string{"SharedKey acct:sig"}, "", ErrNoToken},
		"twice":      {[]string{"Bearer a", "Bearer b"}, "", ErrBadToken},
		"two tokens": {[]string{"Bearer a b"}, "", ErrBadToken},
		"control":    {[]string{"Bearer a\x00b"}, "", ErrBadToken},
		"long":       {[]string{"Bearer " + strings.Repeat("a", MaxTokenBytes+1)}, "", ErrBadToken},
	} {
		got, err := Bearer(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", name, got, err, tt.want, tt.err)
		}
	}
}

// The first case is the challenge of a live Managed HSM, byte for byte.
func TestChallenge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ host, login, want string }{
		{"contosomhsm2.managedhsm.azure.net", "https://login.microsoftonline.com",
			`Bearer authorization="https://login.microsoftonline.com/` + tenant + `", resource="https://managedhsm.azure.net"`},
		{"ContosoMHSM2.managedhsm.localhost:8443", "https://login.localhost:8443/",
			`Bearer authorization="https://login.localhost:8443/` + tenant + `", resource="https://managedhsm.localhost:8443"`},
		{"localhost:8443", "https://l", `Bearer authorization="https://l/` + tenant + `", resource="https://localhost:8443"`},
		{"127.0.0.1:8443", "https://l", `Bearer authorization="https://l/` + tenant + `", resource="https://127.0.0.1:8443"`},
		{"[::1]:8443", "https://l", `Bearer authorization="https://l/` + tenant + `", resource="https://[::1]:8443"`},
		{"a\", x=\"\r\n.b", "https://l", `Bearer authorization="https://l/` + tenant + `", resource="https://b"`},
	} {
		if got := Challenge(tt.host, tt.login, tenant); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.host, got, tt.want)
		}
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"", "Bearer a.b.c", "bearer  x", "Basic YTpi", "Bearer \x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := Bearer([]string{s})
		if (tok == "") != (err != nil) {
			t.Fatalf("token %q with error %v", tok, err)
		}
		if again, err := Bearer([]string{"Bearer " + tok}); tok != "" && (err != nil || again != tok) {
			t.Fatalf("%q does not come back: %q, %v", tok, again, err)
		}
	})
}

// No string of a fuzzer is a token: whatever comes in, a Verifier refuses it and does not panic.
func FuzzVerify(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL3N0cy53aW5kb3dzLm5ldC8ifQ.AAAA")
	f.Add("eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.e30.AA")
	v, _ := newVerifier(f, nil)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := v.Verify(t.Context(), s); err == nil {
			t.Fatalf("accepted %q", s)
		}
	})
}

// FuzzClaims holds the claim parser to its types: it reads or refuses, and times stay in range.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"aud":["a","b"],"exp":1.5e9,"nbf":0,"groups":["x"]}`))
	f.Add([]byte(`{"aud":"a","exp":1700000000}`))
	f.Add([]byte(`{"exp":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseClaims(b, ClaimNames{Tenant: "tid", Groups: "groups", DisplayName: "name"}, true)
		if err != nil {
			if !errors.Is(err, ErrBadToken) {
				t.Fatalf("got %v", err)
			}
			return
		}
		if c.Expires < 0 || c.NotBefore < 0 {
			t.Fatalf("negative time in %+v", c)
		}
	})
}
