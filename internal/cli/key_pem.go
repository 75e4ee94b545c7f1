package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/material"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// pemKey is a private key in a PEM file, as flags name it.
type pemKey struct{ file, password, passwordFile string }

func (p *pemKey) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.file, "pem-file", "", "PEM file with an RSA or EC private key: PKCS #8, PKCS #1 or SEC 1")
	f.StringVar(&p.password, "pem-password", "", "its password; seen by others on this machine: rather let it be asked for, or use --pem-password-file")
	f.StringVar(&p.passwordFile, "pem-password-file", "", "file whose first line is the password")
	c.MarkFlagsMutuallyExclusive("pem-password", "pem-password-file")
}

// read opens the file, asking for its password if it needs one that was not given, and checks that an HSM takes
// such a key. The caller wipes it.
func (p *pemKey) read(ctx context.Context, a *app) (material.Key, error) {
	text, err := readFile("private key", p.file)
	if err != nil {
		return material.Key{}, err
	}
	defer clear(text)
	password, err := p.readPassword(ctx, a, bytes.Contains(text, []byte("ENCRYPTED")))
	if err != nil {
		return material.Key{}, err
	}
	defer password.Wipe()
	der, err := securitydomain.OpenKeyPEM(text, password)
	if err != nil {
		return material.Key{}, fmt.Errorf("%s: %w", p.file, err)
	}
	defer der.Wipe()
	k, err := material.ImportPKCS8(der)
	if err != nil {
		return material.Key{}, advise(fmt.Errorf("%s: %w", p.file, err), "An HSM takes RSA keys of 2048, 3072 and 4096 bits and EC keys on P-256, P-256K, P-384 and P-521.")
	}
	return k, nil
}

func (p *pemKey) readPassword(ctx context.Context, a *app, needed bool) (secret.Bytes, error) {
	switch {
	case p.password != "":
		return secret.New([]byte(p.password)), nil
	case p.passwordFile != "":
		all, err := readPasswords(p.passwordFile)
		if err != nil {
			return secret.Bytes{}, err
		}
		wipeAll(all[1:])
		return all[0], nil // an empty file has one empty line
	case needed:
		password, err := a.prompt(ctx, "Password for "+p.file)
		if err != nil {
			return secret.Bytes{}, advise(fmt.Errorf("%s is encrypted: %w", p.file, err), "Use --pem-password-file.")
		}
		return password, nil
	}
	return secret.Bytes{}, nil
}
