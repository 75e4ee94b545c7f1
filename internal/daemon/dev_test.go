package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/client"
	"redoubt/internal/store/bolt"
)

// TestEnvContract: env.sh has every name that scripts rely on, and nothing but the owner may read it.
func TestEnvContract(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	path := filepath.Join(s.cfg.Dir, "env.sh")
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("env.sh: %v, %v", fi, err)
	}
	for _, name := range []string{"HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "JAVA_TOOL_OPTIONS", "AZURE_CONFIG_DIR", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID",
		"AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_USERNAME", "AZURE_PASSWORD", "REDOUBT_PROXY_PORT",
		"ARM_TENANT_ID", "ARM_SUBSCRIPTION_ID", "ARM_CLIENT_ID", "ARM_CLIENT_SECRET"} {
		c := exec.CommandContext(t.Context(), "sh", "-ec", `. "$1"; printenv "$2"`, "sh", path, name)
		c.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := c.Output()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got == "" || got != s.Get(name) {
			t.Errorf("%s is %q, %v", name, out, err)
		}
	}
	if _, port, _ := strings.Cut(strings.TrimPrefix(s.Get("HTTPS_PROXY"), "http://127.0.0.1"), ":"); port != s.Get("REDOUBT_PROXY_PORT") {
		t.Errorf("proxy %s, port %s", s.Get("HTTPS_PROXY"), s.Get("REDOUBT_PROXY_PORT"))
	}
	if !strings.HasPrefix(s.Get("AZURE_CONFIG_DIR"), s.cfg.Dir+"/") || s.Get("IDENTITY_ENDPOINT") != "" {
		t.Errorf("AZURE_CONFIG_DIR %q, IDENTITY_ENDPOINT %q", s.Get("AZURE_CONFIG_DIR"), s.Get("IDENTITY_ENDPOINT"))
	}
}

// TestSameFolderSameCloud: after a restart everything is as it was, ports and tokens included.
func TestSameFolderSameCloud(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	ctx := t.Context()
	h := s.create("ContosoMHSM")
	s.activate(h)
	s.bucket()
	sig := must[client.Result](t)
	must[client.Key](t)(h.CreateKey(ctx, "k", client.CreateKey{Kty: "EC-HSM"}))
	digest := make([]byte, 32)
	signature := sig(h.Sign(ctx, "k", "", "ES256", digest))
	job := must[client.Job](t)(h.StartBackup(ctx, s.with("crdw")))
	job = must[client.Job](t)(job.Wait(ctx, nil))
	before, port, proxy := s.Env(), s.tlsAddr.String(), s.proxyAddr.String()
	old := s.arm

	s = s.restart()
	if s.tlsAddr.String() != port || s.proxyAddr.String() != proxy {
		t.Errorf("ports were %s and %s, are %s and %s", port, proxy, s.tlsAddr, s.proxyAddr)
	}
	after := s.Env()
	for i, v := range before {
		if after[i] != v {
			t.Errorf("%s was %q, is %q", v.Name, v.Value, after[i].Value)
		}
	}
	// A program that signed in before the restart goes on with its token.
	h = must[*client.HSM](t)(old.HSMNamed("contosomhsm"))
	if ok, err := h.Verify(ctx, "k", "", "ES256", digest, signature.Value); err != nil || !ok {
		t.Errorf("an old signature: %v, %v", ok, err)
	}
	sig(h.Sign(ctx, "k", "", "ES256", digest))
	if again, err := h.BackupStatus(ctx, job.ID); err != nil || again.FolderURL != job.FolderURL {
		t.Errorf("the job was %+v, is %+v, %v", job, again, err)
	}
	m := must[client.ManagedHSM](t)(s.arm.FindHSM(ctx, "contosomhsm"))
	if m.Activation != "Active" || m.Name != "ContosoMHSM" {
		t.Errorf("%+v", m)
	}
}

// TestOneProcessPerFolder: a second server on the same folder says what is wrong, and the first one is not disturbed.
func TestOneProcessPerFolder(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	if _, err := StartDev(t.Context(), DevConfig{Dir: s.cfg.Dir}); !errors.Is(err, bolt.ErrInUse) || !strings.Contains(err.Error(), s.cfg.Dir) {
		t.Errorf("a second start: %v", err)
	}
	if err := runCheck(t.Context(), s.cfg.Dir, io.Discard, s.log); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("a check beside a running server: %v", err)
	}
	s.create("contosomhsm")
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"0.0.0.0:0", "[::]:0", ":0", "10.1.2.3:0", "example.com:0", "nonsense"} {
		if _, err := StartDev(t.Context(), DevConfig{Dir: t.TempDir(), Listen: listen}); err == nil || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("%s: %v", listen, err)
		}
	}
	s := start(t, DevConfig{Listen: "[::1]:0"})
	if !strings.HasPrefix(s.tlsAddr.String(), "[::1]:") || !strings.HasPrefix(s.proxyAddr.String(), "127.0.0.1:") {
		t.Errorf("listening on %s and %s", s.tlsAddr, s.proxyAddr)
	}
	if status, _ := s.get("https://management.azure.com/metadata/endpoints", ""); status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestSuffix(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"net", "azure.net", "com", "managedhsm.azure.net", "x.managedhsm.azure.net", "windows.net", "a..b", "-a.b", "A.example", "127.0.0.1", "*.example", "a b.example", "org", "a/b"} {
		if _, err := StartDev(t.Context(), DevConfig{Dir: t.TempDir(), Suffix: suffix}); err == nil || !strings.Contains(err.Error(), "--suffix") {
			t.Errorf("%s: %v", suffix, err)
		}
	}
	for _, suffix := range []string{"localhost", "test", "cloud.example.com"} {
		if err := checkSuffix(suffix); err != nil {
			t.Error(err)
		}
	}
}

// TestPassphraseIsMissing: without it no HSM can be opened, and making a new one would hide that.
func TestPassphraseIsMissing(t *testing.T) {
	t.Parallel()
	s := start(t, DevConfig{})
	s.create("contosomhsm")
	dir := s.cfg.Dir
	s.stop()
	pass := filepath.Join(dir, "passphrase")
	if err := os.Rename(pass, pass+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := StartDev(t.Context(), DevConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), pass) || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("start without the passphrase: %v", err)
	}
	if _, err := os.Stat(pass); err == nil {
		t.Error("a new passphrase was made")
	}
	// With a wrong one, the HSM is sealed, and everything else works.
	if err := os.WriteFile(pass, []byte("another passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, DevConfig{Dir: dir})
	status, body := s.get("https://contosomhsm.managedhsm.azure.net/keys?api-version=7.5", s.token("https://managedhsm.azure.net"))
	if status != 503 || !strings.Contains(body, `"Sealed"`) || !strings.Contains(body, "passphrase") || strings.Contains(body, dir) {
		t.Errorf("a sealed HSM: %d %s", status, body)
	}
	if m, err := s.arm.FindHSM(t.Context(), "contosomhsm"); err != nil || m.Activation != "Unknown" {
		t.Errorf("a sealed HSM: %+v, %v", m, err)
	}
	s.stop()
	var out strings.Builder
	if err := runCheck(t.Context(), dir, &out, discard()); !errors.Is(err, errUnsound) || !strings.HasPrefix(out.String(), "SEALED   contosomhsm") {
		t.Errorf("check: %v: %s", err, out.String())
	}
	if err := os.Rename(pass+".away", pass); err != nil {
		t.Fatal(err)
	}
	s = start(t, DevConfig{Dir: dir})
	s.activate(must[*client.HSM](t)(s.arm.HSMNamed("contosomhsm")))
}

// TestReadyLine: runDev prints one line that begins with "ready", by when everything answers and env.sh is
// there, and a cancelled context (SIGTERM) ends it without an error.
func TestReadyLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- runDev(ctx, DevConfig{Dir: dir}, w)
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "ready https://localhost:") {
		t.Fatalf("first line %q, %v", lines.Text(), lines.Err())
	}
	if _, err := os.Stat(filepath.Join(dir, "env.sh")); err != nil {
		t.Error(err)
	}
	cancel()
	if lines.Scan() {
		t.Errorf("another line: %q", lines.Text())
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestCheckCommand: sound, damaged and absent data.
func TestCheckCommand(t *testing.T) {
	t.Parallel()
	if err := runCheck(t.Context(), t.TempDir(), io.Discard, discard()); err == nil || !strings.Contains(err.Error(), "no data of redoubtd dev") {
		t.Errorf("an empty folder: %v", err)
	}
	s := start(t, DevConfig{})
	h := s.create("one")
	s.activate(h)
	must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "oct-HSM", Size: 256}))
	s.create("two")
	if err := s.arm.DeleteHSM(t.Context(), group, "two"); err != nil {
		t.Fatal(err)
	}
	r := must[client.ManagedHSM](t)(s.arm.FindHSM(t.Context(), "one"))
	dir, id := s.cfg.Dir, s.fleet.List(false)[0].ID
	s.stop()
	var out strings.Builder
	if err := runCheck(t.Context(), dir, &out, discard()); err != nil {
		t.Error(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, "sound    "+r.Name) || !strings.Contains(got, "sound    two") || !strings.Contains(got, "soft-deleted") {
		t.Errorf("%s", got)
	}
	path := devPlace(dir).audit(id)
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(b), "KeyCreate", "KeyCrezte", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := runCheck(t.Context(), dir, &out, discard()); !errors.Is(err, errUnsound) || !strings.HasPrefix(out.String(), "DAMAGED  one") || !strings.Contains(out.String(), "sound    two") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestKeysComeFromThePool: RSA keys of every HSM are made in the one pool of the process, with a stock or
// without.
func TestKeysComeFromThePool(t *testing.T) {
	t.Parallel()
	for _, ready := range []bool{false, true} {
		s := start(t, DevConfig{ReadyKeys: ready})
		h := s.create("pooled")
		s.activate(h)
		must[client.Key](t)(h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "RSA-HSM", Size: 2048}))
		if err := s.pool.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := h.CreateKey(t.Context(), "k", client.CreateKey{Kty: "RSA-HSM", Size: 2048}); err == nil {
			t.Errorf("ready %v: an RSA key was made outside the pool", ready)
		}
		must[client.Key](t)(h.CreateKey(t.Context(), "ec", client.CreateKey{Kty: "EC-HSM", Crv: "P-256K"}))
		s.stop()
	}
}
