package daemon

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/client"
)

// redoubtd runs the program itself: this test binary, as redoubtd.
func redoubtd(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(ctx, must[string](t)(os.Executable()), args...)
	c.Env = append(os.Environ(), "REDOUBT_TEST_MAIN=1")
	return c
}

// process is a running redoubtd serve.
type process struct {
	*exec.Cmd
	t          *testing.T
	err        syncBuffer
	healthAddr string
}

// spawn starts redoubtd serve and waits for its ready line.
func (r *realm) spawn() *process {
	r.t.Helper()
	p := &process{Cmd: redoubtd(context.Background(), r.t, "serve", "--config", r.file), t: r.t}
	p.Stderr = &p.err
	out := must[io.ReadCloser](r.t)(p.StdoutPipe())
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	f := strings.Fields(line)
	if err != nil || len(f) != 3 || f[0] != "ready" {
		_ = p.Process.Kill()
		_ = p.Wait()
		r.t.Fatalf("no ready line: %q, %v; it said: %s", line, err, p.err.String())
	}
	r.http.CloseIdleConnections()
	r.addr, p.healthAddr = f[1], strings.TrimPrefix(f[2], "health=")
	return p
}

func (p *process) end(s syscall.Signal) error {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	return p.Wait()
}

// TestServeProcess: the program itself, from init to SIGTERM, with a SIGKILL and a rotation of the issuer's keys
// in between.
func TestServeProcess(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	text := must[[]byte](t)(os.ReadFile(r.file))
	r.write("redoubt.toml", bytes.Replace(text, []byte(`reload = "1s"`), []byte(`reload = "24h"`), 1)) // only SIGHUP
	if out, err := redoubtd(t.Context(), t, "init", "--config", r.file).CombinedOutput(); err != nil {
		t.Fatalf("init: %v: %s", err, out)
	}
	if out, err := redoubtd(t.Context(), t, "init", "--config", r.file).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("in use already")) {
		t.Errorf("init twice: %v: %s", err, out)
	}
	if out, err := redoubtd(t.Context(), t, "config", "check", "--config", r.file).CombinedOutput(); err != nil {
		t.Errorf("config check: %v: %s", err, out)
	}
	p := r.spawn()
	h := r.activated("one")
	ctx := t.Context()
	must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}))
	digest := sha256.Sum256([]byte("before"))
	signed := must[client.Result](t)(h.Sign(ctx, "k", "", "ES256", digest[:]))
	before := r.idp.sign(r.idp.good("https://" + siteSuffix))
	if err := p.end(syscall.SIGKILL); err == nil {
		t.Error("it ended by itself")
	}

	r.idp.rotate("second")
	p = r.spawn()
	h = must[*client.HSM](t)(r.client().HSMNamed("one"))
	if ok, err := h.Verify(ctx, "k", "", "ES256", digest[:], signed.Value); err != nil || !ok {
		t.Errorf("the signature from before SIGKILL: %v, %v", ok, err)
	}
	must[client.Result](t)(h.Sign(ctx, "k", "", "ES256", digest[:]))
	if resp := r.ask(http.MethodGet, "https://one."+siteSuffix+"/keys?api-version=7.4", before); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token of the withdrawn key: %d", resp.StatusCode)
	}

	r.writePair("renewed")
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline, name := time.Now().Add(20*time.Second), ""; name != "renewed"; {
		r.http.CloseIdleConnections()
		name = r.ask(http.MethodGet, "https://"+siteHost+"/metadata/endpoints", "").TLS.PeerCertificates[0].Subject.CommonName
		if time.Now().After(deadline) {
			t.Fatalf("after SIGHUP the certificate is still %s; it said: %s", name, p.err.String())
		}
	}
	r.http.CloseIdleConnections()
	if err := p.end(syscall.SIGTERM); err != nil || p.err.String() != "" {
		t.Errorf("SIGTERM: %v; it said: %s", err, p.err.String())
	}
	if out, err := redoubtd(t.Context(), t, "check", "--config", r.file).CombinedOutput(); err != nil || !bytes.HasPrefix(out, []byte("sound    one")) {
		t.Errorf("check: %v: %s", err, out)
	}
	if out, err := redoubtd(t.Context(), t, "status", "--config", r.file).CombinedOutput(); err == nil {
		t.Errorf("status of a stopped server: %s", out)
	}
}

// TestServeDrains: a request that has begun when the server is told to stop is answered; new ones are not taken.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.init()
	s := must[*Server](t)(StartServe(t.Context(), r.config(), ServeOptions{}))
	r.addr = s.addr.String()
	conf := r.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.ServerName = siteHost
	c := must[net.Conn](t)((&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", r.addr))
	defer c.Close()
	body := `{"name":"free","type":"Microsoft.KeyVault/managedHSMs"}`
	fmt.Fprintf(c, "POST /subscriptions/%s/providers/Microsoft.KeyVault/checkMhsmNameAvailability?api-version=2024-11-01 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", siteSub, siteHost, r.idp.sign(r.idp.good("https://"+siteHost)), len(body))
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = in.ReadString('\n')
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for { // until nobody is let in any more
		n, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.addr)
		if err != nil {
			break
		}
		_ = n.Close()
	}
	if code, text := plain(t, s.health, "/readyz"); code != http.StatusServiceUnavailable || text != "draining\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	if code, _ := plain(t, s.health, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	_, _ = io.WriteString(c, body)
	resp := must[*http.Response](t)(http.ReadResponse(in, nil))
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"nameAvailable":true`)) {
		t.Errorf("%d: %s", resp.StatusCode, answer)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestServeConnectionLimit: beyond the limit a client waits, and is served when another has gone.
func TestServeConnectionLimit(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "[limits]\nconnections = 1\n")
	r.init()
	r.serve(ServeOptions{})
	get := func(h *http.Client) error {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+siteHost+"/metadata/endpoints", nil)
		if err != nil {
			return err
		}
		resp, err := h.Do(q)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return err
	}
	if err := get(r.http); err != nil { // and keeps the connection
		t.Fatal(err)
	}
	other := r.http.Transport.(*http.Transport).Clone()
	defer other.CloseIdleConnections()
	second := make(chan error, 1)
	go func() { second <- get(&http.Client{Transport: other}) }()
	for range 200 {
		if err := get(r.http); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-second:
		t.Fatalf("a second connection was served: %v", err)
	default:
	}
	r.http.CloseIdleConnections()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// TestServeBackup: backups go to the accounts of the configured suffixes, over TLS that is checked, and only to
// addresses that may be dialled. The account is one of a dev cloud.
func TestServeBackup(t *testing.T) {
	t.Parallel()
	dev := start(t, DevConfig{})
	dev.bucket()
	suffix := ".blob.core.localhost:" + dev.names.port
	token := dev.sign(box, "crdwl", time.Now().Add(time.Hour))
	to := client.Storage{URI: "https://contosobackup" + suffix + "/" + box, SAS: func() string { return token }}
	ctx := t.Context()
	var served *Server
	begin := func(ranges string) (*realm, *client.HSM) {
		r := newRealm(t, fmt.Sprintf("[storage]\nsuffixes = [%q]\nallow-ranges = [%s]\n[storage.addresses]\n\"contosobackup.blob.core.localhost\" = \"127.0.0.1\"\n", suffix, ranges))
		both := append(must[[]byte](t)(os.ReadFile(r.path("outside.pem"))), must[[]byte](t)(os.ReadFile(dev.path("ca.pem")))...)
		r.write("outside.pem", both)
		r.init()
		served = r.serve(ServeOptions{})
		h := r.activated("one")
		must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "oct-HSM", Size: 256}))
		return r, h
	}
	r, h := begin(`"127.0.0.0/8"`)
	j := must[client.Job](t)(h.StartBackup(ctx, to))
	j = must[client.Job](t)(j.Wait(ctx, nil))
	var status strings.Builder
	if err := runStatus(ctx, served.health.String(), &status); err != nil || !strings.Contains(status.String(), "one: last good backup 20") {
		t.Errorf("%v: %s", err, status.String())
	}
	must[client.Key](t)(h.CreateKey(ctx, "later", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	back := must[client.Job](t)(h.StartRestore(ctx, to, j.FolderURL[strings.LastIndex(j.FolderURL, "/")+1:]))
	must[client.Job](t)(back.Wait(ctx, nil))
	if _, err := h.GetKey(ctx, "later", ""); !client.IsNotFound(err) {
		t.Errorf("a key made after the backup: %v", err)
	}
	must[client.Key](t)(h.GetKey(ctx, "k", ""))

	for what, c := range map[string]struct {
		st   client.Storage
		word string
	}{
		"another suffix": {client.Storage{URI: "https://contosobackup.blob.core.windows.net/" + box, SAS: to.SAS}, "suffix"},
		"the server":     {client.Storage{URI: "https://" + r.addr + "/" + box, SAS: to.SAS}, "IP address"},
		"an identity":    {client.Storage{URI: to.URI, ManagedIdentity: true}, "this server has no managed identities"},
	} {
		_, err := h.StartBackup(ctx, c.st)
		says(t, what, err, "BadRequest", c.word)
	}
	_, err := r.client().SetHSMIdentities(ctx, group, "one", []string{"/subscriptions/" + siteSub + "/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"})
	says(t, "attach an identity", err, "FailedIdentityOperation", "no managed identities")

	_, h = begin("")
	if j, err = h.StartBackup(ctx, to); err == nil {
		_, err = j.Wait(ctx, nil)
	}
	says(t, "an address that is not public", err, "InvalidUri", "loopback")
}

// TestInit: what init makes, what it leaves alone, and what config check says.
func TestInit(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	cfg := r.config()
	refused := func(what, word string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("check before init", "redoubtd init", cfg.checkFiles())
	none := cfg
	none.Owners = nil
	refused("no owner", "owners", initialise(t.Context(), none))
	inside := cfg
	inside.PassphraseFile = filepath.Join(cfg.DataDirectory, "passphrase")
	refused("passphrase inside", "inside the data directory", initialise(t.Context(), inside))
	full := cfg
	full.DataDirectory = r.dir
	full.PassphraseFile = filepath.Join(t.TempDir(), "p")
	refused("files of others", "is not empty", initialise(t.Context(), full))
	if _, err := os.Stat(cfg.DataDirectory); err == nil {
		t.Error("a refused init made the data directory")
	}
	r.write("passphrase", []byte("correct horse battery staple\n")) // given by the operator
	r.init()
	if got := string(must[[]byte](t)(os.ReadFile(r.path("passphrase")))); got != "correct horse battery staple\n" {
		t.Errorf("init wrote over the passphrase: %q", got)
	}
	for name, mode := range map[string]os.FileMode{"data": 0o700, "data/store.db": 0o600} {
		if info := must[os.FileInfo](t)(os.Stat(r.path(name))); info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	if err := cfg.checkFiles(); err != nil {
		t.Error(err)
	}
	cert, key := r.ca.leaf(t, "short", time.Now().Add(time.Hour), siteHost)
	r.write("cert.pem", cert)
	r.write("key.pem", key)
	refused("a certificate for one name", "not good for *."+siteSuffix, cfg.checkFiles())
	if err := os.Chmod(r.path("key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused("a key for everybody", "chmod o=", cfg.checkFiles())
}
