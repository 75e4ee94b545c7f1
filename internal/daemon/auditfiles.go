package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

	"redoubt/internal/audit"
	"redoubt/internal/audit/syslog"
)

// auditFiles opens the audit logs of a server and knows those that are open.
type auditFiles struct {
	p      place
	o      audit.Options
	sender *syslog.Sender // nil: there is no receiver

	mu   sync.Mutex
	logs map[string]*audit.Log // by path
}

func newAuditFiles(p place, o audit.Options) *auditFiles {
	return &auditFiles{p: p, o: o, logs: make(map[string]*audit.Log)}
}

// open opens the log of an HSM, or of the control plane.
func (a *auditFiles) open(id string) (*audit.Log, error) {
	path := a.p.audit(id)
	l, err := openedAudit(id)(audit.OpenWith(path, a.o))
	if err == nil {
		a.mu.Lock()
		a.logs[path] = l
		a.mu.Unlock()
	}
	return l, err
}

// head is the end of a log that is or was open.
func (a *auditFiles) head(path string) (audit.Head, bool) {
	a.mu.Lock()
	l := a.logs[path]
	a.mu.Unlock()
	if l == nil {
		return audit.Head{}, false
	}
	return l.Head(), true
}

// unsent is how many lines of an HSM's log the receiver has not confirmed; 0 without one.
func (a *auditFiles) unsent(id string) uint64 {
	if a == nil || a.sender == nil {
		return 0
	}
	path := a.p.audit(id)
	h, ok := a.head(path)
	if done := a.sender.Confirmed(path); ok && h.Seq > done {
		return h.Seq - done
	}
	return 0
}

// failing tells that lines cannot be sent.
func (a *auditFiles) failing() bool { return a != nil && a.sender != nil && a.sender.Failing() }

// send has the logs sent to the receiver that is configured, if there is one, until the server is closed. It is to be
// called before the first log is opened: retention asks it what may go.
func (r *running) send(ctx context.Context, a *auditFiles, c SyslogConfig, log *slog.Logger) error {
	if c.Address == "" {
		return nil
	}
	conf, err := c.tls()
	if err != nil {
		return err
	}
	host := c.Hostname
	if host == "" {
		host, _ = os.Hostname() // "-" without one
	}
	a.sender, err = syslog.New(syslog.Config{Dir: a.p.auditDir(), Address: c.Address, TLS: conf, Host: host, Head: a.head, Log: log})
	if err != nil {
		return fmt.Errorf("audit.syslog: %w", err)
	}
	a.o.Needed = a.sender.Needed
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	work.Go(func() { a.sender.Run(life) })
	r.closers = append(r.closers, func() error { stop(); work.Wait(); return nil })
	return nil
}

// SyslogConfig is a receiver of the audit logs.
type SyslogConfig struct {
	Address     string `toml:"address"`
	CAFile      string `toml:"ca-file"`
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
	Hostname    string `toml:"hostname"`
}

func (c SyslogConfig) check(bad *problems) {
	if c.Address == "" {
		if c != (SyslogConfig{}) {
			bad.add("audit.syslog.address", "the receiver's HOST:PORT is needed, such as logs.example.com:6514")
		}
		return
	}
	host, port, err := net.SplitHostPort(c.Address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
		bad.add("audit.syslog.address", "%q is not HOST:PORT, such as logs.example.com:6514", c.Address)
	}
	bad.path("audit.syslog.ca-file", c.CAFile)
	if (c.Certificate == "") != (c.Key == "") {
		bad.add("audit.syslog.certificate", "a certificate and its key go together")
	} else if c.Certificate != "" {
		bad.path("audit.syslog.certificate", c.Certificate)
		bad.path("audit.syslog.key", c.Key)
	}
}

// tls trusts the authorities of ca-file and no others.
func (c SyslogConfig) tls() (*tls.Config, error) {
	if c.Address == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("audit.syslog.ca-file: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !conf.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("audit.syslog.ca-file: %s holds no certificate in PEM", c.CAFile)
	}
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, errors.Join(errors.New("audit.syslog.certificate cannot be used"), err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
