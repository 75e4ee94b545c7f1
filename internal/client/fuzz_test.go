package client

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzParseChallenge: a server's challenge is hostile input to the client.
func FuzzParseChallenge(f *testing.F) {
	for _, s := range []string{`Bearer authorization="https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111", resource="https://managedhsm.azure.net"`,
		`Bearer authorization=x`, `Basic realm="x"`, `Bearer `, `bearer resource="a=b", scope=""`, ``} {
		f.Add(s)
	}
	const host = "h.managedhsm.azure.net"
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseChallenge(host, http.Header{"Www-Authenticate": {s}})
		if err == nil && !strings.HasSuffix("https://"+host, "."+strings.TrimPrefix(c.Resource, "https://")) {
			t.Fatalf("%q: resource %q is no parent of the host", s, c.Resource)
		}
	})
}
