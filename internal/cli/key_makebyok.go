package cli

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/byok"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/secret"
)

type makeBYOK struct {
	kekFile, kid, octFile, out string
	pem                        pemKey
}

func (a *app) keyMakeBYOK() *cobra.Command {
	var m makeBYOK
	c := a.verb("make-byok", "Wrap a key for an HSM, for import there", `Wraps a private key from a PEM file, or the bytes of a symmetric key, for the key exchange key of an HSM. Offline: no
connection is opened. The file it makes can be carried openly; only that HSM can open it.

On the HSM:  redoubt key create --hsm-name NAME --name KEK --kty RSA-HSM --size 4096 --ops import
             redoubt key show --hsm-name NAME --name KEK > kek.json
Here:        redoubt key make-byok --kek-file kek.json --pem-file key.pem --byok-file key.byok
On the HSM:  redoubt key import --hsm-name NAME --name KEY --byok-file key.byok

--kek-file is also the PEM file of key download; then --kid says which key it is. Whoever exchanges that file gets the key:
compare the SHA-256 that is printed with the one that key download prints, on a second channel. The output is written whole or not at
all, mode 0600, and never over an existing file.`, func(ctx context.Context) error { return m.run(ctx, a) })
	m.pem.flags(c)
	f := c.Flags()
	f.StringVar(&m.kekFile, "kek-file", "", "public key of the key exchange key: PEM, JWK, or the output of key show")
	f.StringVar(&m.kid, "kid", "", "its identifier with its version, https://HSM/keys/NAME/VERSION; from --kek-file if that has it")
	f.StringVar(&m.octFile, "oct-file", "", "file that holds the 16, 24 or 32 bytes of a symmetric key and nothing else")
	f.StringVar(&m.out, "byok-file", "", "key transfer file to write")
	c.MarkFlagsOneRequired("pem-file", "oct-file")
	c.MarkFlagsMutuallyExclusive("pem-file", "oct-file")
	return require(c, "kek-file", "byok-file")
}

// madeBYOK is what the verb reports.
type madeBYOK struct {
	File   string `json:"file"`
	KID    string `json:"kid"`
	SHA256 string `json:"kekSha256"` // of the key exchange key's SubjectPublicKeyInfo
	Key    string `json:"key"`       // kind of key inside
}

func (m *makeBYOK) run(ctx context.Context, a *app) error {
	if err := checkAbsent("key transfer file", m.out); err != nil {
		return err
	}
	kek, err := m.readKEK()
	if err != nil {
		return err
	}
	k, err := m.target(ctx, a)
	if err != nil {
		return err
	}
	defer k.Wipe()
	inside, err := k.Export()
	if err != nil {
		return err
	}
	defer inside.Wipe()
	ct, err := material.WrapTo(kek, key.TransferSHA1, inside)
	if err != nil {
		return fmt.Errorf("wrap the key: %w", err)
	}
	blob, err := byok.Blob{KID: m.kid, Ciphertext: ct, Generator: "redoubt " + version()}.Encode()
	if err != nil {
		return err
	}
	if err := create("key transfer file", m.out, blob); err != nil {
		return err
	}
	spec := k.Spec()
	more := ""
	switch spec.Type {
	case key.EC:
		more = " --kty EC --curve " + string(spec.Curve)
	case key.Oct:
		more = " --kty oct"
	case key.RSA:
	}
	a.note("%s is written. Next: redoubt key import --hsm-name NAME --name KEY --byok-file %s%s", m.out, m.out, more)
	der, err := x509.MarshalPKIXPublicKey(kek)
	if err != nil {
		return fmt.Errorf("encode the key exchange key: %w", err)
	}
	return a.print(madeBYOK{m.out, m.kid, hexSHA256(der), spec.String()}, "file", "kid", "kekSha256", "key")
}

// target is the key to be wrapped.
func (m *makeBYOK) target(ctx context.Context, a *app) (material.Key, error) {
	if m.octFile == "" {
		return m.pem.read(ctx, a)
	}
	if m.pem.password != "" || m.pem.passwordFile != "" {
		return material.Key{}, wrongUse("a password goes with --pem-file")
	}
	b, err := readFile("symmetric key", m.octFile)
	if err != nil {
		return material.Key{}, err
	}
	s := secret.New(b)
	defer s.Wipe()
	k, err := material.ImportOct(s)
	if err != nil {
		return material.Key{}, fmt.Errorf("%s: it has %d bytes; a symmetric key has 16, 24 or 32", m.octFile, s.Len())
	}
	return k, nil
}

// readKEK reads the key exchange key and makes sure of its identifier.
func (m *makeBYOK) readKEK() (*rsa.PublicKey, error) {
	text, err := readFile("key exchange key", m.kekFile)
	if err != nil {
		return nil, err
	}
	kek, kid, err := parseKEK(text)
	if err != nil {
		return nil, advise(fmt.Errorf("%s: %w", m.kekFile, err), "Use the output of key show or key download for a key that was created with --kty RSA-HSM --ops import.")
	}
	switch {
	case m.kid == "" && kid == "":
		return nil, wrongUse("--kid is needed: %s does not say which key it is", m.kekFile)
	case m.kid == "":
		m.kid = kid
	case kid != "" && kid != m.kid:
		return nil, wrongUse("--kid is %s, but %s holds %s", m.kid, m.kekFile, kid)
	}
	if _, err := byok.ParseKID(m.kid); err != nil {
		return nil, wrongUse("--kid: %w", err)
	}
	return kek, nil
}

// kekJWK is a public RSA key as a JWK, or as az prints one.
type kekJWK struct {
	Kid     string   `json:"kid"`
	N       string   `json:"n"`
	E       string   `json:"e"`
	KeyOps  []string `json:"key_ops"`
	KeyOps2 []string `json:"keyOps"`
	Key     *kekJWK  `json:"key"`
}

// parseKEK reads a public RSA key: PEM, a JWK, or a document that has one as its member "key".
func parseKEK(text []byte) (kek *rsa.PublicKey, kid string, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		var j kekJWK
		if err := json.Unmarshal(text, &j); err != nil {
			return nil, "", errors.New("it is not complete JSON: truncated or altered")
		}
		if j.Key != nil {
			j = *j.Key
		}
		if ops := append(j.KeyOps, j.KeyOps2...); len(ops) > 0 && !slices.Equal(ops, []string{string(key.OpImport)}) {
			return nil, "", fmt.Errorf("it is no key exchange key: its key operations are %s, not import alone", strings.Join(ops, ", "))
		}
		n, err1 := anyBase64(j.N)
		e, err2 := anyBase64(j.E)
		if err1 != nil || err2 != nil || len(n) == 0 || len(e) == 0 {
			return nil, "", errors.New("it is not a public RSA key: n or e is missing, or not base64")
		}
		kek, err = material.PublicRSA(n, e)
		return kek, j.Kid, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", errors.New("it is neither PEM nor JSON")
	}
	var pub any
	if block.Type == "RSA PUBLIC KEY" {
		pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
	} else {
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	k, ok := pub.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, "", fmt.Errorf("its %s is not a public RSA key", block.Type)
	}
	kek, err = material.PublicRSA(k.N.Bytes(), bigEndian(k.E))
	return kek, "", err
}

func bigEndian(n int) []byte {
	return bytes.TrimLeft([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, "\x00")
}

// anyBase64 reads either alphabet, with or without padding: JWKs have the one, az prints the other.
func anyBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	return base64.RawURLEncoding.DecodeString(s)
}
