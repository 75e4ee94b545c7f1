package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/daemon"
)

// behindRecorder starts a dev cloud and a recorder in front of it, and returns a client of the recorder.
func behindRecorder(t *testing.T) (*world, *recorder, *http.Client) {
	t.Helper()
	dev, err := daemon.StartDev(context.Background(), daemon.DevConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{work: t.TempDir(), env: map[string]string{}, out: io.Discard}
	for _, v := range dev.Env() {
		w.env[v.Name] = v.Value
	}
	if err := w.trust(); err != nil {
		t.Fatal(err)
	}
	r, err := w.startRecorder("go", proxyMode, "walk")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(w.bundle)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr()}), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return w, r, &http.Client{Transport: transport}
}

// Requests to HSMs are written down as they are, without the token, and answered as the dev cloud answers; all other
// names of the dev cloud are reached unread, and names of others are refused.
func TestRecorder(t *testing.T) {
	t.Parallel()
	w, r, c := behindRecorder(t)
	const target = "//keys//name%2F//sign/?api-version=7.5&x=%20"
	rq, err := http.NewRequestWithContext(t.Context(), "POST", "https://nobody.managedhsm.azure.net"+target, strings.NewReader(`{"alg":"ES256","token":"se=2026&sig=a%2Bb%3D&sp=r"}`))
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Authorization", "Bearer secret-token")
	res, err := c.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || res.StatusCode < 400 {
		t.Fatalf("an HSM that is not there answers %d: %s, %v", res.StatusCode, body, err)
	}
	res, err = c.Get("https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration")
	if err != nil || res.StatusCode != 200 || bytes.Contains(res.TLS.PeerCertificates[len(res.TLS.PeerCertificates)-1].RawSubject, []byte("Recorder")) {
		t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
	if res, err := c.Get("https://example.com/"); err == nil {
		_ = res.Body.Close()
		t.Error("a name outside the dev cloud was reached")
	}
	c.CloseIdleConnections()
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	lines := readRecording(t, filepath.Join(w.work, "recording", "proxy-go-walk.jsonl"))
	if len(lines) != 1 {
		t.Fatalf("%d exchanges were written down, want 1", len(lines))
	}
	e := lines[0]
	if e.Method != "POST" || e.Target != target || e.Host != "nobody.managedhsm.azure.net" || e.RequestBody != `{"alg":"ES256","token":"se=2026&sig=(cut)&sp=r"}` || e.RequestHeader.Get("Authorization") != "(cut)" || e.ResponseBody != string(body) {
		t.Errorf("written down: %+v", e)
	}
}

// A request that could not be passed on fails the run: the recording would not be whole.
func TestRecorderTellsLosses(t *testing.T) {
	t.Parallel()
	_, r, c := behindRecorder(t)
	r.transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	res, err := c.Get("https://nobody.managedhsm.azure.net/keys")
	if err != nil || res.StatusCode != http.StatusBadGateway {
		t.Fatalf("%v, %v", res, err)
	}
	_ = res.Body.Close()
	c.CloseIdleConnections()
	if err := r.close(); err == nil {
		t.Error("the recorder does not tell that an exchange is missing")
	}
}

func readRecording(t *testing.T, path string) (out []exchange) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("secret-token")) {
		t.Error("the recording holds the token")
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e exchange
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}
