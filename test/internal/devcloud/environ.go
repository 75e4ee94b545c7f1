package devcloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Environ reads what the env.sh of the dev cloud in dir exports, in a shell, as users do.
func Environ(ctx context.Context, dir string) (map[string]string, error) {
	c := exec.CommandContext(ctx, "sh", "-ec", `. "$1"; env -0`, "sh", filepath.Join(dir, "env.sh"))
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("read env.sh: %w", err)
	}
	vars := map[string]string{}
	for line := range strings.SplitSeq(string(out), "\x00") {
		name, value, _ := strings.Cut(line, "=")
		vars[name] = value
	}
	return vars, nil
}

// Browser is an HTTP client set up with what env.sh exports.
func Browser(env func(string) string) (*http.Client, error) {
	proxy, err := url.Parse(env("HTTPS_PROXY"))
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(env("SSL_CERT_FILE"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("ca.pem holds no certificate")
	}
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 8}}, nil
}

// CleanEnv leaves out of env what would steer a client elsewhere, and HOME and PATH, which the caller sets.
func CleanEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		upper := strings.ToUpper(name)
		return name == "HOME" || name == "PATH" || strings.HasPrefix(upper, "AZURE_") || strings.HasPrefix(upper, "ARM_") || strings.HasPrefix(upper, "PYTHON") ||
			strings.HasPrefix(upper, "IDENTITY_") || strings.HasPrefix(upper, "MSI_") || strings.HasPrefix(upper, "REDOUBT_") || strings.HasSuffix(upper, "_PROXY") ||
			strings.HasSuffix(upper, "_CA_BUNDLE") || strings.HasPrefix(upper, "SSL_CERT_") || strings.HasPrefix(upper, "NODE_") || strings.HasPrefix(upper, "JAVA_") ||
			strings.HasPrefix(upper, "MAVEN_")
	})
}
