package daemon

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/client"
)

// TestServeSendsAuditLogs: a site with a syslog receiver sends it the logs of its HSMs and of its control plane, over TLS with a
// client certificate, and none of the secrets that clients sent.
func TestServeSendsAuditLogs(t *testing.T) {
	t.Parallel()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := newRealm(t, fmt.Sprintf("[audit.syslog]\naddress = %q\nca-file = \"DIR/logs-ca.pem\"\ncertificate = \"DIR/logs-cert.pem\"\nkey = \"DIR/logs-key.pem\"\nhostname = \"hsm1\"\n", "localhost:"+port))
	r.write("redoubt.toml", []byte(strings.ReplaceAll(string(must[[]byte](t)(os.ReadFile(r.file))), "DIR/", r.dir+"/")))
	cert, key := r.ca.leaf(t, "receiver", time.Now().Add(time.Hour), "localhost")
	pair := must[tls.Certificate](t)(tls.X509KeyPair(cert, key))
	r.write("logs-ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.ca.cert.Raw}))
	r.write("logs-cert.pem", cert)
	r.write("logs-key.pem", key)
	var got syncBuffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		in := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12})
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(&got, c)
			_ = c.Close()
		}
	}()
	r.init()
	cfg := r.config()
	if err := cfg.checkFiles(); err != nil {
		t.Errorf("config check: %v", err)
	}
	s := r.serve(ServeOptions{})
	h := r.activated("one")
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	resp := r.ask("GET", "https://one."+siteSuffix+"/keys?api-version=7.4&sig=canary-in-the-query", "canary.in.token")
	_ = resp.Body.Close()
	for !strings.Contains(got.String(), `"operationName":"Authentication"`) || !strings.Contains(got.String(), `"operationName":"KeyCreate"`) { // in either order
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	id := s.fleet.List(false)[0].ID
	r.stop(s)
	_ = l.Close()
	<-done
	all := got.String()
	for _, want := range []string{` hsm1 redoubtd - AuditEvent [redoubt@32473 chain="` + id + `" seq="1" `, `chain="control" seq="1" `, `hsm="one"] {`, `"operationName":"KeyCreate"`, `"operationName":"Microsoft.KeyVault/managedHSMs/write"`} {
		if !strings.Contains(all, want) {
			t.Errorf("%s did not arrive", want)
		}
	}
	if strings.Contains(all, "canary") {
		t.Error("a secret arrived")
	}
	entries, _ := entriesOf(t, cfg.place().audit(id))
	if len(entries) == 0 || entries[0].Operation == audit.FilesRemoved {
		t.Errorf("%d entries", len(entries))
	}
	if err := os.WriteFile(r.path("logs-ca.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cfg.checkFiles(); err == nil || !strings.Contains(err.Error(), "audit.syslog.ca-file") {
		t.Errorf("config check with a bad authority: %v", err)
	}
}
