package daemon

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"redoubt/internal/durable"
)

// authority is the dev cloud's own certificate authority. It signs a leaf for each owned name when that
// name is first asked for. Its certificate carries critical name constraints, so that even a stolen key
// cannot speak for a name outside the dev cloud to a client that trusts it.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	leaf crypto.Signer // one key for all leaves: they live in this process only
	now  func() time.Time

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // by name; guarded by mu
}

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	maxLeafs = 4096
)

// openAuthority loads the authority kept in dir or makes it for the given domains. One that was made for
// other domains, or whose time is nearly over, is replaced; remade tells so, because clients must then read the
// new certificate.
func openAuthority(dir string, domains []string, now func() time.Time) (a *authority, remade bool, err error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, false, err
	}
	a = &authority{now: now, leaves: make(map[string]*tls.Certificate)}
	if a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, false, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err == nil {
		if err := a.parse(b); err != nil {
			return nil, false, err
		}
		if slices.Equal(a.cert.PermittedDNSDomains, domains) && now().Add(leafLife).Before(a.cert.NotAfter) {
			return a, false, nil
		}
		remade = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	if b, err = makeAuthority(dir, domains, now()); err != nil {
		return nil, false, err
	}
	return a, remade, a.parse(b)
}

// makeAuthority writes key and certificate as one file, so that a crash never leaves one without the other.
func makeAuthority(dir string, domains []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "Redoubt dev cloud " + now.UTC().Format(time.DateOnly)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, PermittedDNSDomainsCritical: true, PermittedDNSDomains: domains,
		PermittedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}, {IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})...)
	return out, durable.WriteFile(filepath.Join(dir, "ca.key"), out, 0o600)
}

func (a *authority) parse(b []byte) error {
	certBlock, rest := pem.Decode(b)
	keyBlock, _ := pem.Decode(rest)
	if certBlock == nil || keyBlock == nil {
		return errors.New("the certificate authority's file ca.key is damaged; delete it to make a new authority")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return fmt.Errorf("ca.key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return fmt.Errorf("ca.key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("ca.key: not a signing key")
	}
	a.cert, a.key, a.pem = cert, signer, pem.EncodeToMemory(certBlock)
	return nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// pool trusts this authority alone.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// serverConfig is the TLS configuration of the dev listener; owned tells which names get a certificate.
func (a *authority) serverConfig(owned func(name string) bool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(strings.TrimSuffix(h.ServerName, "."))
			if name == "" { // clients that connect to an address send no name
				name = "localhost"
			}
			if !owned(name) {
				return nil, fmt.Errorf("this dev cloud does not own the name %q", name)
			}
			return a.certificate(name)
		}}
}

func (a *authority) certificate(name string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[name]; c != nil && a.now().Before(c.Leaf.NotAfter.Add(-24*time.Hour)) {
		return c, nil
	}
	c, err := a.sign(name)
	if err != nil {
		return nil, err
	}
	if len(a.leaves) >= maxLeafs {
		clear(a.leaves)
	}
	a.leaves[name] = c
	return c, nil
}

func (a *authority) sign(name string) (*tls.Certificate, error) {
	now := a.now()
	t := &x509.Certificate{SerialNumber: serial(), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{name}}
	if len(name) <= 64 { // all that a common name may hold (RFC 5280, appendix A)
		t.Subject = pkix.Name{CommonName: name}
	}
	if name == "localhost" {
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, a.leaf.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf, Leaf: leaf}, nil
}
