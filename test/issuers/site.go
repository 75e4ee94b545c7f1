package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"redoubt/test/internal/devcloud"
)

// The names of the site. Nobody's: RFC 2606.
const (
	suffix          = "managedhsm.redoubt.test"
	controlHost     = "management.redoubt.test"
	deviceAudience  = "https://" + suffix
	controlAudience = "https://" + controlHost

	tenant       = "11111111-2222-4333-8444-555555555555"
	subscription = "66666666-7777-4888-9999-aaaaaaaaaaaa"
)

// site is a running `redoubtd serve`.
type site struct {
	*devcloud.Process
	address string
}

// startSite makes a data directory with an owner and serves it. more is the rest of the names and the issuers.
func (r *run) startSite(ctx context.Context, pair files, ca, tenant, owner, login, more string) (*site, error) {
	config := fmt.Sprintf(`data-directory = %q
passphrase-file = %q
tenant = %q
subscription = %q
owners = [%q]
[listen]
address = "127.0.0.1:0"
health = "127.0.0.1:0"
certificate = %q
key = %q
[names]
device-suffixes = [%q]
control-host = %q
login-url = %q
cloud = "Site"
%s
[outbound]
ca-file = %q
`, r.path("data"), r.path("passphrase"), tenant, subscription, owner, pair.cert, pair.key, suffix, controlHost, login, more, ca)
	if err := os.WriteFile(r.path("redoubt.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	for _, verb := range [][]string{{"init"}, {"config", "check"}} {
		if out, err := exec.CommandContext(ctx, r.bin("redoubtd"), append(verb, "--config", r.path("redoubt.toml"))...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("redoubtd %s: %w: %s", strings.Join(verb, " "), err, out)
		}
	}
	s := &site{}
	var err error
	s.Process, err = devcloud.Start(ctx, "redoubtd serve", r.path("serve.log"), os.Environ(), func(l string) bool {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != "ready" {
			return false
		}
		s.address = f[1]
		return true
	}, r.bin("redoubtd"), "serve", "--config", r.path("redoubt.toml"), "--verbose")
	return s, err
}

// isSite tells whether a host and port are the site's.
func isSite(hostport string) bool {
	host, port, _ := strings.Cut(hostport, ":")
	label, ok := strings.CutSuffix(host, "."+suffix)
	return port == "443" && (host == controlHost || ok && label != "" && !strings.Contains(label, "."))
}

// trusting is an HTTP client that believes an authority; a nil proxy is none.
func trusting(ca string, p *proxy) (*http.Client, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + ca)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	if p != nil {
		t.Proxy = http.ProxyURL(p.address())
	}
	return &http.Client{Transport: t}, nil
}
