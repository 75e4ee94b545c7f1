package authn

import (
	"fmt"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// benchToken is an access token as Entra ID writes them, with some groups.
func benchToken(b *testing.B, alg jose.SignatureAlgorithm, key any, kid string, groups int) string {
	b.Helper()
	ids := make([]string, groups)
	for i := range ids {
		ids[i] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
	}
	return sign(b, alg, key, kid, with(map[string]any{"groups": ids, "ver": "1.0", "uti": "kY8yBfM0yUeKpVJZqf4IAA", "scp": "user_impersonation", "ipaddr": "10.1.2.3"}))
}

// BenchmarkTokenCached is the check of a token that was verified within the last minute.
func BenchmarkTokenCached(b *testing.B) {
	for _, groups := range []int{0, 200} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			v, _ := newVerifier(b, nil)
			token := benchToken(b, jose.RS256, keys().rsa, "k1", groups)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTokenCold is the check of one that was not: signature and claims.
func BenchmarkTokenCold(b *testing.B) {
	for _, c := range []struct {
		name   string
		alg    jose.SignatureAlgorithm
		key    any
		kid    string
		groups int
	}{{"RS256", jose.RS256, keys().rsa, "k1", 0}, {"ES256", jose.ES256, keys().ec, "e1", 0}, {"RS256-200groups", jose.RS256, keys().rsa, "k1", 200}} {
		b.Run(c.name, func(b *testing.B) {
			v, _ := newVerifier(b, nil)
			token := benchToken(b, c.alg, c.key, c.kid, c.groups)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.verify(b.Context(), token, start); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
