package daemon

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"redoubt/internal/release"
)

// The test attestation service answers under both its names, with the issuer that a policy must name, and its tokens are believed
// after a restart.
func TestAttestationService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, DevConfig{Dir: dir})
	get := func(url string, into any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d, %v", url, resp.StatusCode, err)
		}
	}
	var tokens []string
	for _, base := range []string{s.Get("REDOUBT_ATTESTATION"), s.Get("REDOUBT_ATTESTATION_LOCAL")} {
		var meta struct{ Issuer string }
		get(base+"/.well-known/openid-configuration", &meta)
		var out struct{ Token string }
		get(base+"//generate-test-token", &out)
		token, err := release.ParseToken(out.Token)
		if err != nil || base == "" || meta.Issuer != base || token.Issuer != base {
			t.Errorf("%q: issuer %q, token by %q, %v", base, meta.Issuer, token.Issuer, err)
		}
		tokens = append(tokens, out.Token)
	}
	s.stop()
	s = start(t, DevConfig{Dir: dir})
	trusted, err := s.trustedAttestation()
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if _, err := trusted.Verify(token, time.Now()); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
}
