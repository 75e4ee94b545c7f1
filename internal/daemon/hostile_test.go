package daemon

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// failing is a listener that is out of file descriptors at first.
type failing struct {
	net.Listener
	fail  int
	given bool
}

func (f *failing) Accept() (net.Conn, error) {
	if f.fail > 0 {
		f.fail--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	if f.given {
		return nil, net.ErrClosed
	}
	f.given = true
	c, s := net.Pipe()
	return s, c.Close()
}

// TestProxyOutlivesFailedAccepts: whoever uses up the file descriptors for a moment does not end the proxy.
func TestProxyOutlivesFailedAccepts(t *testing.T) {
	t.Parallel()
	l := &failing{fail: 2}
	(&proxy{log: slog.New(slog.DiscardHandler)}).accept(l)
	if !l.given {
		t.Error("the proxy ended with the first failure")
	}
}

// TestEnvIsInert: nothing in env.sh is run but the assignments, whatever the folder is called.
func TestEnvIsInert(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a\ntouch PWNED\n'; touch PWNED; $(touch PWNED)`touch PWNED` b")
	d, err := StartDev(t.Context(), DevConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	c := exec.CommandContext(t.Context(), "sh", "-ec", `. "$1"; printf %s "$SSL_CERT_FILE"`, "sh", filepath.Join(dir, "env.sh"))
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err != nil || string(out) != filepath.Join(dir, "ca.pem") {
		t.Errorf("%q, %v", out, err)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("reading env.sh made %v (%v)", left, err)
	}
	for _, secret := range []string{"env.sh", "credentials.json", "issuer.key", "passphrase", "tls/ca.key", "data/store.db"} {
		if i, err := os.Stat(filepath.Join(dir, secret)); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", secret, i, err)
		}
	}
}

// TestForwardChecksCertificates: only an emulator on loopback may have a certificate that nobody knows.
func TestForwardChecksCertificates(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "localhost.example:1": false, "account.blob.core.windows.net": false, "10.0.0.1:1": false} {
		h := forward(&url.URL{Scheme: "https", Host: host}, strings.ToLower, slog.New(slog.DiscardHandler))
		tr := h.(*httputil.ReverseProxy).Transport.(*http.Transport)
		if tr.TLSClientConfig.InsecureSkipVerify != want {
			t.Errorf("%s: certificates are skipped: %v", host, !want)
		}
	}
}
