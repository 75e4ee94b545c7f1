package daemon

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testNames() *names {
	return &names{suffix: "localhost", port: "8443", account: func(n string) bool { return n == "contosobackup" }}
}

func newAuthority(t *testing.T, now func() time.Time) *authority {
	t.Helper()
	a, remade, err := openAuthority(t.TempDir(), testNames().domains(), now)
	if err != nil || remade {
		t.Fatal(err, remade)
	}
	return a
}

// TestAuthorityIsStrict holds the certificates against what strict verifiers (OpenSSL with X509_STRICT, as in
// Python 3.13) demand of RFC 5280.
func TestAuthorityIsStrict(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, time.Now)
	ca := a.cert
	if !ca.IsCA || !ca.BasicConstraintsValid || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(ca.SubjectKeyId) == 0 || ca.Version != 3 {
		t.Errorf("authority: %+v", ca)
	}
	if !critical(ca, 2, 5, 29, 19) || !critical(ca, 2, 5, 29, 15) || !critical(ca, 2, 5, 29, 30) || !ca.PermittedDNSDomainsCritical {
		t.Error("basic constraints, key usage and name constraints must be critical")
	}
	for _, name := range []string{"localhost", "login.microsoftonline.com", "contosomhsm.managedhsm.azure.net", "contosobackup.blob.core.windows.net", "x.managedhsm.localhost",
		strings.Repeat("a", 63) + ".managedhsm.azure.net"} {
		c, err := a.certificate(name)
		if err != nil {
			t.Fatal(err)
		}
		leaf := c.Leaf
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
		chain, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if err != nil || len(chain) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		if string(leaf.AuthorityKeyId) != string(ca.SubjectKeyId) || leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature ||
			len(leaf.ExtKeyUsage) != 1 || leaf.NotAfter.Sub(leaf.NotBefore) > 398*24*time.Hour || leaf.SerialNumber.Sign() <= 0 || len(leaf.Subject.CommonName) > 64 {
			t.Errorf("leaf for %s: %+v", name, leaf)
		}
	}
}

func critical(c *x509.Certificate, oid ...int) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier(oid)) {
			return e.Critical
		}
	}
	return false
}

// TestStolenAuthority: with its key, nobody can speak for a name outside the dev cloud.
func TestStolenAuthority(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, time.Now)
	for _, name := range []string{"example.com", "graph.windows.net", "azure.net", "vault.azure.net", "contoso.vault.azure.net", "login.microsoftonline.com.example.com", "evilmanagedhsm.azure.net", "core.windows.net", "localhost.example.com", "com"} {
		c, err := a.sign(name) // as a thief would, without asking whose the name is
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: a.pool(), DNSName: name}); err == nil {
			t.Errorf("a certificate for %s is accepted", name)
		}
	}
	for _, ip := range []net.IP{net.IPv4(10, 0, 0, 1), net.IPv4(8, 8, 8, 8), net.ParseIP("2001:db8::1")} {
		leaf := a.forIP(t, ip)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool(), DNSName: ip.String()}); err == nil {
			t.Errorf("a certificate for %s is accepted", ip)
		}
	}
	if _, err := a.forIP(t, net.IPv4(127, 0, 0, 1)).Verify(x509.VerifyOptions{Roots: a.pool(), DNSName: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
}

// handshake opens TLS to a server with this authority, and returns the certificate it shows for the name.
func handshake(t *testing.T, conf *tls.Config, name string) (*x509.Certificate, error) {
	t.Helper()
	server, client := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		_ = tls.Server(server, conf).HandshakeContext(t.Context())
	}()
	c := tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // the test looks at what is shown
	if err := c.HandshakeContext(t.Context()); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

func TestNamesInHandshakes(t *testing.T) {
	t.Parallel()
	n := testNames()
	a := newAuthority(t, time.Now)
	conf := a.serverConfig(func(name string) bool { return n.of(name) != roleNone })
	for name, want := range map[string]string{
		"ContosoMHSM.managedhsm.azure.net":    "contosomhsm.managedhsm.azure.net",
		"login.microsoftonline.com":           "login.microsoftonline.com",
		"contosobackup.blob.core.windows.net": "contosobackup.blob.core.windows.net",
		"":                                    "localhost",
	} {
		got, err := handshake(t, conf, name)
		if err != nil || got.DNSNames[0] != want {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"example.com", "other.blob.core.windows.net", "managedhsm.azure.net", "a.b.managedhsm.azure.net", "*.managedhsm.azure.net", "evil_name.managedhsm.azure.net", "-a.managedhsm.azure.net", "azcliprod.blob.core.windows.net"} {
		if got, err := handshake(t, conf, name); err == nil {
			t.Errorf("%s: a certificate for %v is shown", name, got.DNSNames)
		}
	}
	if conf.MinVersion != tls.VersionTLS12 {
		t.Error("old TLS versions are allowed")
	}
}

// TestLeavesAreKept: one certificate for a name until its time is nearly over, and never more than maxLeafs.
func TestLeavesAreKept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := newAuthority(t, func() time.Time { return now })
	first, err := a.certificate("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.certificate("localhost"); err != nil || again != first {
		t.Errorf("another certificate, %v", err)
	}
	now = now.Add(leafLife - 23*time.Hour)
	if renewed, err := a.certificate("localhost"); err != nil || renewed == first || !renewed.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("the certificate was not renewed, %v", err)
	}
	for i := range maxLeafs { // stands for as many signatures
		a.leaves[fmt.Sprint(i)] = first
	}
	if _, err := a.certificate("x.managedhsm.localhost"); err != nil || len(a.leaves) > maxLeafs {
		t.Errorf("%d certificates are kept, %v", len(a.leaves), err)
	}
}

// TestAuthorityIsKept: the same folder has the same authority, until its names change or its time is over.
func TestAuthorityIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	open := func(n *names) (string, bool) {
		t.Helper()
		a, remade, err := openAuthority(dir, n.domains(), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return string(a.pem), remade
	}
	first, _ := open(testNames())
	if again, remade := open(testNames()); again != first || remade {
		t.Error("the authority was made again")
	}
	if fi, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v", fi, err)
	}
	other := testNames()
	other.suffix = "cloud.example.com"
	second, remade := open(other)
	if second == first || !remade {
		t.Error("the authority must be made for the new suffix")
	}
	now = now.Add(caLife - leafLife + time.Hour)
	if third, remade := open(other); third == second || !remade {
		t.Error("the authority must be made again before its time is over")
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openAuthority(dir, other.domains(), time.Now); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a damaged file: %v", err)
	}
}

// forIP signs for an address, which sign never does but for localhost.
func (a *authority) forIP(t *testing.T, ip net.IP) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: serial(), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{ip},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
