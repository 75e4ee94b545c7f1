package daemon

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// keyPair is a certificate and its key, in files that may change while the server runs. They are looked at
// again when a client connects, at most once per interval, and on reload. A new pair that cannot be used
// changes nothing but the log.
type keyPair struct {
	certFile, keyFile string
	every             time.Duration
	now               func() time.Time
	log               *slog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate // guarded by mu; never nil once made
	seen   [2]stamp         // guarded by mu: of the files that cert is from
	looked time.Time        // guarded by mu
	fault  string           // guarded by mu: what the last try said
}

// stamp tells one state of a file from the next.
type stamp struct {
	changed time.Time
	size    int64
}

func openKeyPair(certFile, keyFile string, every time.Duration, now func() time.Time, log *slog.Logger) (*keyPair, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &keyPair{certFile: certFile, keyFile: keyFile, every: every, now: now, log: log}
	var err error
	if p.seen, err = p.stamps(); err != nil {
		return nil, err
	}
	p.looked = now()
	p.cert, err = p.load()
	return p, err
}

func (p *keyPair) stamps() (out [2]stamp, err error) {
	for i, name := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return out, fmt.Errorf("TLS certificate and key: %w", err)
		}
		if perm := info.Mode().Perm(); name == p.keyFile && perm&0o007 != 0 {
			return out, fmt.Errorf("TLS certificate and key: every user may read or change %s (mode %04o); run: chmod o= %s", name, perm, name)
		}
		out[i] = stamp{info.ModTime(), info.Size()}
	}
	return out, nil
}

func (p *keyPair) load() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", p.certFile, p.keyFile, err)
	}
	if !p.now().Before(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("TLS certificate %s: it has expired on %s", p.certFile, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return &c, nil
}

// serverConfig is that of the listener. TLS 1.2 is the least; HTTP/1.1 is what is spoken.
func (p *keyPair) serverConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current(), nil }}
}

// current is the pair to use now.
func (p *keyPair) current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if d := now.Sub(p.looked); d >= p.every || d < 0 {
		p.renew(now, false)
	}
	return p.cert
}

// reload reads the files whether they seem changed or not.
func (p *keyPair) reload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renew(p.now(), true)
}

// renew takes the files' pair if there is a new one. The stamps are kept only with a pair that was taken: a
// certificate that came before its key is tried again. mu is held.
func (p *keyPair) renew(now time.Time, always bool) {
	p.looked = now
	seen, err := p.stamps()
	if err == nil && seen == p.seen && !always {
		p.fault = ""
		return
	}
	var c *tls.Certificate
	if err == nil {
		c, err = p.load()
	}
	if err != nil {
		if always || err.Error() != p.fault {
			p.log.Error("the new TLS certificate and key cannot be used; the old ones stay", "error", err)
		}
		p.fault = err.Error()
		return
	}
	p.cert, p.seen, p.fault = c, seen, ""
	p.log.Info("TLS certificate loaded", "file", p.certFile, "until", c.Leaf.NotAfter.UTC().Format(time.RFC3339))
}
