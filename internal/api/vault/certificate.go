package vault

import (
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is a SHA-1 thumbprint; nothing here relies on it
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
)

// maxFile is how long a file may be: a certificate has a few kilobytes.
const maxFile = 64 << 10

// extensions of the files that are certificates; the first that is there counts.
var extensions = []string{".cer", ".crt", ".pem"}

// bundle is a certificate as Key Vault shows it. The members that name the key and the secret behind one are left out: there are none.
type bundle struct {
	ID         string            `json:"id"`
	X5T        string            `json:"x5t"`
	Cer        string            `json:"cer,omitempty"` // base64 DER
	Attributes attributes        `json:"attributes"`
	Policy     *policy           `json:"policy,omitempty"`
	Tags       map[string]string `json:"tags"`
}

type attributes struct {
	Enabled   bool  `json:"enabled"`
	NotBefore int64 `json:"nbf"`
	Expires   int64 `json:"exp"`
	Created   int64 `json:"created"`
	Updated   int64 `json:"updated"`
}

type policy struct {
	ID     string        `json:"id"`
	Key    keyProperties `json:"key_props"`
	X509   subject       `json:"x509_props"`
	Issuer issuer        `json:"issuer"`
}

type keyProperties struct {
	Exportable bool   `json:"exportable"`
	Kty        string `json:"kty"`
	Size       int    `json:"key_size,omitempty"`
	Reuse      bool   `json:"reuse_key"`
}

type subject struct {
	Subject string `json:"subject"`
}

type issuer struct {
	Name string `json:"name"`
}

// list shows all certificates of the vault, without versions.
func list(q *request) (azhttp.Reply, error) {
	files, err := certificateFiles(q.dir)
	if err != nil {
		return azhttp.Reply{}, err
	}
	out := []bundle{}
	for _, f := range files {
		c, err := f.read(q.dir)
		if err != nil {
			return azhttp.Reply{}, err
		}
		b := c.wire(q.Host)
		b.ID, b.Cer, b.Policy = strings.TrimSuffix(b.ID, "/"+c.version()), "", nil
		out = append(out, b)
	}
	return azhttp.OK(map[string]any{"value": out})
}

// get shows one certificate: the one there is, or the version asked for if it is that one.
func get(q *request) (azhttp.Reply, error) {
	name, version := q.Param("name"), q.Param("version")
	files, err := certificateFiles(q.dir)
	if err != nil {
		return azhttp.Reply{}, err
	}
	for _, f := range files {
		if !strings.EqualFold(f.name, name) {
			continue
		}
		c, err := f.read(q.dir)
		if err != nil {
			return azhttp.Reply{}, err
		}
		if version != "" && !strings.EqualFold(version, c.version()) {
			return azhttp.Reply{}, notFound(name+"/"+version, "The file holds version "+c.version()+".")
		}
		return azhttp.OK(c.wire(q.Host))
	}
	return azhttp.Reply{}, notFound(name, "Put its file into the folder certificates of the dev cloud.")
}

func notFound(what, next string) error {
	return &azhttp.Problem{Status: http.StatusNotFound, Code: "CertificateNotFound", Message: fmt.Sprintf("A certificate with (name/id) %s was not found in this key vault. %s", what, next)}
}

// file is the file of one certificate.
type file struct{ name, base string }

// certificateFiles are the certificates of a vault in the order of their names. Names of requests are compared with these, and never
// become paths.
func certificateFiles(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the folder of a vault: %w", err)
	}
	var out []file
	seen := map[string]bool{}
	for _, ext := range extensions {
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ext)
			name = strings.ReplaceAll(name, "_", "-")
			if key := strings.ToLower(name); ok && isName(name) && !seen[key] {
				seen[key] = true
				out = append(out, file{name, e.Name()})
			}
		}
	}
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// isName tells whether s can be the name of a certificate: Key Vault has letters, digits and hyphens only. An underscore in the name of
// a file becomes a hyphen, because `redoubt security-domain keygen` writes cert_0.cer.
func isName(s string) bool {
	if s == "" || len(s) > 127 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// certificate is one that was read.
type certificate struct {
	file
	*x509.Certificate
	written int64 // Unix seconds
}

func (f file) read(dir string) (certificate, error) {
	r, err := os.Open(filepath.Join(dir, f.base))
	if err != nil {
		return certificate{}, fmt.Errorf("read a certificate of a vault: %w", err)
	}
	defer func() { _ = r.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return certificate{}, fmt.Errorf("read a certificate of a vault: %w", err)
	}
	info, err := r.Stat()
	if err != nil {
		return certificate{}, fmt.Errorf("read a certificate of a vault: %w", err)
	}
	c, err := parse(b)
	if err != nil {
		return certificate{}, &azhttp.Problem{Status: http.StatusConflict, Code: "Conflict", Message: fmt.Sprintf("The file certificates/%s of the dev cloud cannot be used: %s.", f.base, err)}
	}
	return certificate{f, c, info.ModTime().Unix()}, nil
}

// parse reads one certificate, PEM or DER.
func parse(b []byte) (*x509.Certificate, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	var der []byte
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, errors.New("it holds a private key, which belongs to its holder; put the certificate alone here, and treat that key as exposed")
		case block.Type == "CERTIFICATE" && der == nil:
			der = block.Bytes
		}
	}
	if der == nil {
		der = b
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("it is no X.509 certificate, neither PEM nor DER")
	}
	return c, nil
}

// version names the content, 32 hexadecimal digits as all versions have: another certificate is another version.
func (c certificate) version() string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:16])
}

func (c certificate) wire(host string) bundle {
	thumbprint := sha1.Sum(c.Raw) //nolint:gosec // see the import
	base := "https://" + host + "/certificates/" + c.name
	kty, size := "EC", 0
	if pub, ok := c.PublicKey.(*rsa.PublicKey); ok {
		kty, size = "RSA", pub.N.BitLen()
	}
	return bundle{ID: base + "/" + c.version(), X5T: base64.RawURLEncoding.EncodeToString(thumbprint[:]), Cer: base64.StdEncoding.EncodeToString(c.Raw),
		Attributes: attributes{Enabled: true, NotBefore: c.NotBefore.Unix(), Expires: c.NotAfter.Unix(), Created: c.written, Updated: c.written},
		Policy:     &policy{ID: base + "/policy", Key: keyProperties{Kty: kty, Size: size}, X509: subject{c.Subject.String()}, Issuer: issuer{"Unknown"}}, Tags: map[string]string{}}
}
