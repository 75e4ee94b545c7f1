package daemon

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"redoubt/internal/client"
)

// TestJavaVariables: the truststore has the authority and nothing else, and the options lead to it and to the
// proxy, whatever the folder is called.
func TestJavaVariables(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{Dir: t.TempDir() + `/a b'c"d`})
	words := javaWords(s.Get("JAVA_TOOL_OPTIONS"))
	props := map[string]string{}
	for _, w := range words {
		name, value, _ := strings.Cut(strings.TrimPrefix(w, "-D"), "=")
		props[name] = value
	}
	if len(words) != 6 || props["https.proxyHost"] != "127.0.0.1" || props["https.proxyPort"] != s.Get("REDOUBT_PROXY_PORT") || props["http.nonProxyHosts"] != "127.*|[::1]" {
		t.Errorf("%q", words)
	}
	b, err := os.ReadFile(props["javax.net.ssl.trustStore"])
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pkcs12.DecodeTrustStore(b, props["javax.net.ssl.trustStorePassword"])
	if err != nil || len(certs) != 1 || !certs[0].Equal(s.ca.cert) {
		t.Errorf("%v, %v", certs, err)
	}
}

// javaWords splits as a JVM does: at white space outside of quotes, which it takes away.
func javaWords(s string) (words []string) {
	var word strings.Builder
	var quote rune
	for _, c := range s + " " {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && strings.ContainsRune(" \t\n\v\f\r", c):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(c)
		}
	}
	return words
}

func TestJavaWord(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"-Dx=y", "-Dx=a b", `-Dx="`, `-Dx='`, "-Dx=a\tb\n'\"'\" c"} {
		if got := javaWords(javaWord(s) + " " + javaWord(s)); len(got) != 2 || got[0] != s || got[1] != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

// TestIMDSEndpoint: env.sh names an address on loopback that gives tokens of a managed identity; without the flag
// there is none, and nothing else takes the variable's place.
func TestIMDSEndpoint(t *testing.T) {
	t.Parallel()
	if s := start(t, DevConfig{}); s.Get("AZURE_POD_IDENTITY_AUTHORITY_HOST") != "" {
		t.Error("it is on without being asked for")
	}
	s := start(t, DevConfig{IMDS: true})
	if s.Get("IDENTITY_ENDPOINT") != "" {
		t.Error("App Service's variables are there, too")
	}
	at := s.Get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
	if host, _, err := net.SplitHostPort(strings.TrimPrefix(at, "http://")); err != nil || host != "127.0.0.1" {
		t.Errorf("%s, %v", at, err)
	}
	mi := must[client.ManagedIdentityResource](t)(s.arm.PutManagedIdentity(t.Context(), group, "robot", region))
	try := func(header string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://managedhsm.azure.net", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Metadata", header)
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var a struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, a.AccessToken
	}
	if status, token := try("false"); status != 400 || token != "" {
		t.Errorf("status %d", status)
	}
	status, token := try("true")
	if status != 200 {
		t.Fatalf("status %d", status)
	}
	v, err := s.verifier(s.deviceAudiences())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := v.Verify(t.Context(), token); err != nil || id.Principal.ID != mi.PrincipalID {
		t.Errorf("%+v, %v", id, err)
	}
	old := at
	if s = s.restart(); s.Get("AZURE_POD_IDENTITY_AUTHORITY_HOST") != old {
		t.Error("the port has changed")
	}
}
