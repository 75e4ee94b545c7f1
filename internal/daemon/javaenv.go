package daemon

import (
	"crypto/x509"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"redoubt/internal/durable"
)

// A JVM reads neither HTTPS_PROXY nor SSL_CERT_FILE. What it needs is said in JAVA_TOOL_OPTIONS, which every JVM
// of a shell obeys (and says so on standard error), and its truststore is a file of its own form.

// trustPassword opens the truststore. It protects nothing: there are only certificates in it, and every JVM's own
// truststore has this password.
const trustPassword = pkcs12.DefaultPassword

// writeTruststore writes the authority's certificate as a PKCS #12 truststore, which Java reads from 8u301 on.
func (d *Dev) writeTruststore() error {
	b, err := pkcs12.Modern2023.EncodeTrustStore([]*x509.Certificate{d.ca.cert}, trustPassword)
	if err != nil {
		return err
	}
	return durable.WriteFile(d.path("ca.p12"), b, 0o644)
}

// javaOptions are for the proxy at this port. Without nonProxyHosts, a JVM would go to localhost directly, whose
// subdomains the proxy resolves.
func (d *Dev) javaOptions(proxyPort string) string {
	opts := []string{
		"-Dhttps.proxyHost=127.0.0.1", "-Dhttps.proxyPort=" + proxyPort, "-Dhttp.nonProxyHosts=127.*|[::1]",
		"-Djavax.net.ssl.trustStore=" + d.path("ca.p12"), "-Djavax.net.ssl.trustStoreType=PKCS12", "-Djavax.net.ssl.trustStorePassword=" + trustPassword,
	}
	for i, o := range opts {
		opts[i] = javaWord(o)
	}
	return strings.Join(opts, " ")
}

// javaWord makes s one word of JAVA_TOOL_OPTIONS, which is split at white space outside of quotes of both kinds.
func javaWord(s string) string {
	if !strings.ContainsAny(s, " \t\n\v\f\r'\"") {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `"'"'"`) + `"`
}
