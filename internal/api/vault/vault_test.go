package vault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/authn"
	"redoubt/internal/hsmtest"
	"redoubt/internal/securitydomain"
)

// signedIn takes one token.
type signedIn struct{}

func (signedIn) Verify(_ context.Context, raw string) (authn.Identity, error) {
	if raw != "token" {
		return authn.Identity{}, authn.ErrBadToken
	}
	return authn.Identity{}, nil
}

const (
	host      = "redoubt-holders.vault.azure.net"
	challenge = `Bearer authorization="https://login.example/tenant", resource="https://vault.azure.net"`
)

type fixture struct {
	*Handler
	t   *testing.T
	dir string
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	dir := t.TempDir()
	return fixture{New(Config{Dir: dir, Verifier: signedIn{}, Challenge: func(h string) string {
		if h != host {
			t.Errorf("challenge for %q", h)
		}
		return challenge
	}, Log: slog.New(slog.DiscardHandler)}), t, dir}
}

// put writes a file, dated so that its answer is known.
func (f fixture) put(name string, content []byte) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1767323045, 0)); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) ask(target, token string) (*http.Response, []byte) {
	f.t.Helper()
	method, path, _ := strings.Cut(target, " ")
	r := httptest.NewRequestWithContext(f.t.Context(), method, "https://"+host+path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result(), w.Body.Bytes()
}

// refused wants an error of that status and code whose text has all the words.
func (f fixture) refused(target string, status int, code string, words ...string) {
	f.t.Helper()
	resp, body := f.ask(target, "token")
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &e); err != nil || resp.StatusCode != status || e.Error.Code != code {
		f.t.Errorf("%s: %d %s, %v", target, resp.StatusCode, body, err)
	}
	for _, w := range words {
		if !strings.Contains(e.Error.Message, w) {
			f.t.Errorf("%s: %q does not say %q", target, e.Error.Message, w)
		}
	}
}

// TestSignIn: the certificates are for whoever has signed in, and a client is told where to.
func TestSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, token := range []string{"", "other"} {
		for _, target := range []string{"GET /certificates", "GET /certificates/x", "POST /certificates/x/create", "GET /nonsense"} {
			resp, _ := f.ask(target, token)
			if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Www-Authenticate") != challenge {
				t.Errorf("%s with token %q: %d %q", target, token, resp.StatusCode, resp.Header.Get("Www-Authenticate"))
			}
		}
	}
}

// TestCertificates: what the files say is what the clients get, by every address.
func TestCertificates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	holders := hsmtest.Holders(2)
	first, second := holders[0].Certificate, holders[1].Certificate
	f.put("cert_0.cer", first.PEM())
	f.put("Second.pem", append([]byte("words around it\n"), second.PEM()...))
	f.put("second.crt", []byte("another file of that name, which does not count")) // but .crt comes before .pem
	f.refused("GET /certificates/second", http.StatusConflict, "Conflict", "second.crt", "neither PEM nor DER")
	f.put("second.crt", second.DER)
	for target, want := range map[string]securitydomain.Certificate{"cert-0": first, "CERT-0/": first, "second": second} {
		resp, body := f.ask("GET /certificates/"+target+"?api-version=7.4", "token")
		var got bundle
		if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", target, resp.StatusCode, body, err)
		}
		name := strings.TrimSuffix(strings.ToLower(target), "/")
		if got.Cer != base64.StdEncoding.EncodeToString(want.DER) || !strings.HasPrefix(got.ID, "https://"+host+"/certificates/"+name+"/") {
			t.Errorf("%s: %+v", target, got)
		}
		if got.Policy.Key != (keyProperties{Kty: "RSA", Size: want.Public.N.BitLen()}) || got.Attributes != (attributes{true, want.NotBefore, want.NotAfter, 1767323045, 1767323045}) {
			t.Errorf("%s: %+v %+v", target, got.Policy, got.Attributes)
		}
		_, path, _ := strings.Cut(got.ID, host)
		if _, again := f.ask("GET "+path, "token"); !bytes.Equal(again, body) {
			t.Errorf("%s: by its address %s", target, again)
		}
	}
	_, body := f.ask("GET /certificates", "token")
	var all struct{ Value []bundle }
	if err := json.Unmarshal(body, &all); err != nil || len(all.Value) != 2 || all.Value[0].ID != "https://"+host+"/certificates/cert-0" || all.Value[1].ID != "https://"+host+"/certificates/second" {
		t.Errorf("list: %s, %v", body, err)
	}
}

// TestRefusals: what is not there, what must not be there, and what a vault of Azure's would do besides.
func TestRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	holder := hsmtest.Holders(1)[0]
	f.put("holder.cer", holder.Certificate.PEM())
	f.refused("GET /certificates/other", http.StatusNotFound, "CertificateNotFound", "A certificate with (name/id) other was not found in this key vault")
	old := strings.Repeat("0", 32)
	f.refused("GET /certificates/holder/"+old, http.StatusNotFound, "CertificateNotFound", "holder/"+old, "The file holds version")
	for _, name := range []string{"..%2Fvault", "..", "%2e%2e%2Fholder", "holder.cer", "holder%00", "%2Fetc%2Fpasswd"} {
		f.refused("GET /certificates/"+name, http.StatusNotFound, "CertificateNotFound")
	}
	for _, target := range []string{"GET /", "GET /keys/holder", "GET /secrets/holder", "POST /certificates/x/create", "POST /certificates/x/import", "DELETE /certificates/holder", "PUT /certificates/holder", "GET /certificates/holder/a/b"} {
		f.refused(target, http.StatusNotFound, "NotFound", "nothing else")
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("secret")})
	f.put("both.pem", append(holder.Certificate.PEM(), key...))
	f.refused("GET /certificates/both", http.StatusConflict, "Conflict", "both.pem", "private key", "exposed")
	f.put("long.cer", append(holder.Certificate.PEM(), make([]byte, maxFile)...))
	f.refused("GET /certificates/long", http.StatusConflict, "Conflict", "longer than 65536 bytes")
	f.refused("GET /certificates", http.StatusConflict, "Conflict", "both.pem")
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	f.refused("GET /certificates", http.StatusInternalServerError, "InternalServerError")
}

// FuzzFile: whatever a file holds, what is shown of it is a certificate of that file and no private key.
func FuzzFile(f *testing.F) {
	holder := hsmtest.Holders(1)[0].Certificate
	for _, b := range [][]byte{holder.PEM(), holder.DER, []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), []byte("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"), nil} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err != nil {
			return
		}
		again, err := x509.ParseCertificate(c.Raw)
		if err != nil || !again.Equal(c) {
			t.Fatalf("%v", err)
		}
		if bytes.Contains(b, c.Raw) {
			return // DER
		}
		for rest := b; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				t.Fatal("the certificate is in no block of the file")
			}
			if strings.Contains(block.Type, "PRIVATE KEY") {
				t.Fatal("a private key was let through")
			}
			if block.Type == "CERTIFICATE" {
				break
			}
		}
	})
}
