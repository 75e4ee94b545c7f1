package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/client"
	"redoubt/internal/hsmtest"
)

// TestServeReleasesKeys: a key of an HSM is released on the word of the attestation service that the configuration names, and of no other.
func TestServeReleasesKeys(t *testing.T) {
	t.Parallel()
	const service = "https://attest.example.com"
	r := newRealm(t, "")
	f := must[*os.File](t)(os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0))
	must[int](t)(fmt.Fprintf(f, "[[attestation]]\nurl = %q\nkeys-file = %q\n", service, r.path("attest.jwks")))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.init()
	if _, err := StartServe(t.Context(), r.config(), ServeOptions{}); err == nil || !strings.Contains(err.Error(), "attestation.keys-file") {
		t.Errorf("without the key set: %v", err)
	}
	attest := newIDP(t)
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public(attest.keys["first"]), KeyID: "first", Use: "sig"}}}
	r.write("attest.jwks", must[[]byte](t)(json.Marshal(set)))
	r.serve(ServeOptions{})
	h := r.activated("one")
	yes := true
	policy := &client.ReleasePolicy{Data: []byte(`{"version":"1.0.0","anyOf":[{"authority":"` + service + `","allOf":[{"claim":"debug","equals":false}]}]}`)}
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "oct-HSM", Size: 256, Release: policy, Attributes: &client.KeyAttributes{Exportable: &yes}}))

	recipient := jose.JSONWebKey{Key: &hsmtest.Recipient().PublicKey, KeyID: "TpmEphemeralEncryptionKey", Use: "enc"}
	said := func(p *idp, debug bool) string {
		return p.sign(claims{"iss": service, "exp": time.Now().Add(time.Hour).Unix(), "debug": debug, "x-ms-runtime": map[string]any{"keys": []any{recipient}}})
	}
	ask := func(target string) (int, string) {
		body := must[[]byte](t)(json.Marshal(map[string]string{"target": target}))
		q := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL()+"/keys/k//release?api-version=7.5", bytes.NewReader(body)))
		token, _, err := r.idp.Token(t.Context(), "https://"+siteSuffix)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set("Content-Type", "application/json")
		resp := must[*http.Response](t)(r.http.Do(q))
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode, string(must[[]byte](t)(io.ReadAll(resp.Body)))
	}
	if code, body := ask(said(attest, false)); code != http.StatusOK || !strings.Contains(body, `"value":"ey`) {
		t.Errorf("%d %s", code, body)
	}
	for what, target := range map[string]string{"policy not met": said(attest, true), "an issuer of access tokens": said(r.idp, false)} {
		if code, body := ask(target); code != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, code, body)
		}
	}
	if err := os.Chmod(r.path("attest.jwks"), 0o622); err != nil {
		t.Fatal(err)
	}
	cfg := r.config()
	if err := cfg.checkFiles(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("a key set that others may write: %v", err)
	}
}
