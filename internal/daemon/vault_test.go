package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"redoubt/internal/client"
	"redoubt/internal/hsmtest"
)

// program is what azurerm does for itself: a client with the service principal's secret.
func (s *site) program(resource string) string {
	s.t.Helper()
	body := "grant_type=client_credentials&client_id=" + s.Get("ARM_CLIENT_ID") + "&client_secret=" + s.Get("ARM_CLIENT_SECRET") + "&scope=" + resource + "/.default"
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://login.microsoftonline.com/"+s.Get("ARM_TENANT_ID")+"/oauth2/v2.0/token", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var token struct {
		Access string `json:"access_token"`
	}
	s.send(r, http.StatusOK, &token)
	return token.Access
}

// send sends a request and decodes the answer.
func (s *site) send(r *http.Request, status int, into any) http.Header {
	s.t.Helper()
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		s.t.Fatalf("%s: %s %s, %v", r.URL, resp.Status, b, err)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			s.t.Fatalf("%s: %v in %s", r.URL, err, b)
		}
	}
	return resp.Header
}

// bearer is a request with a token; body may be nil.
func (s *site) bearer(method, target, token string, body any) *http.Request {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, target, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// TestActivationByCertificates does what azurerm does with security_domain_key_vault_certificate_ids: it fetches the holders'
// certificates from a key vault, and takes the security domain with a thumbprint of its own kind.
func TestActivationByCertificates(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	holders := hsmtest.Holders(3)
	var certs []map[string]any
	for i, name := range []string{"alice", "bob", "carol"} {
		if err := os.WriteFile(s.path("certificates", name+".cer"), holders[i].Certificate.PEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		target := "https://redoubt-holders.vault.azure.net/certificates/" + name + "/?api-version=7.4"
		if got := s.send(s.bearer(http.MethodGet, target, "", nil), http.StatusUnauthorized, nil).Get("Www-Authenticate"); got != `Bearer authorization="https://login.microsoftonline.com/`+s.Get("ARM_TENANT_ID")+`", resource="https://vault.azure.net"` {
			t.Fatal(got)
		}
		s.send(s.bearer(http.MethodGet, target, s.program("https://managedhsm.azure.net"), nil), http.StatusUnauthorized, nil)
		var c struct {
			Cer    []byte
			Policy struct {
				Key struct{ Kty string } `json:"key_props"`
			}
		}
		s.send(s.bearer(http.MethodGet, target, s.program("https://vault.azure.net"), nil), http.StatusOK, &c)
		x5c := base64.StdEncoding.EncodeToString(c.Cer)
		sum := sha256.Sum256([]byte(x5c))
		certs = append(certs, map[string]any{"kty": c.Policy.Key.Kty, "key_ops": []string{""}, "alg": "RSA-OAEP-256", "x5c": []string{x5c}, "x5t#S256": base64.URLEncoding.EncodeToString(sum[:])})
	}
	h := s.create("tfhsm")
	const hsm = "https://tfhsm.managedhsm.azure.net"
	var domain struct{ Value string }
	s.send(s.bearer(http.MethodPost, hsm+"/securitydomain/download?api-version=7.4", s.token("https://managedhsm.azure.net"), map[string]any{"certificates": certs, "required": 2}), http.StatusAccepted, &domain)
	var status struct{ Status string }
	s.send(s.bearer(http.MethodGet, hsm+"/securitydomain/download/pending", s.token("https://managedhsm.azure.net"), nil), http.StatusOK, &status)
	if status.Status != "Success" {
		t.Errorf("%+v", status)
	}
	must[client.RoleAssignment](t)(h.CreateRoleAssignment(t.Context(), "/", "", s.person(), "21dbd100-6940-42c2-9190-5d6cb909625b"))
	fresh := s.create("tfhsm-recovered")
	exchange := must[[]byte](t)(fresh.TransferKey(t.Context()))
	if blob := hsmtest.RestoreBlob(t, []byte(domain.Value), exchange); len(blob) == 0 {
		t.Error("the holders cannot open the security domain")
	}
}
