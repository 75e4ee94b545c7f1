package daemon

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/cloud"
	"redoubt/internal/registrar"
)

func identityCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "identity", Short: "People, applications and issuers of a dev cloud: add, list, disable, rotate, remove",
		Long: `Add, list, change, disable and remove the people and applications that sign in to the dev cloud in DIR, and
the external issuers whose tokens applications may sign in with.

The verbs work while the server runs and while it is stopped. Answers are JSON. A secret that is made is in
the answer, once: only its hash is kept. Secrets are never arguments. Whoever is disabled or removed is
refused at once, with tokens from before too.`}
	c.PersistentFlags().StringVar(&dir, "data", "", "folder given to redoubtd dev (required)")
	_ = c.MarkPersistentFlagRequired("data") // cannot fail: the flag exists
	c.AddCommand(userCommand(&dir), appCommand(&dir), issuerCommand(&dir))
	return c
}

// ordering makes a command that hands in one order. fill puts arguments and flags into it.
func ordering(dir *string, verb, use, short string, args int, fill func(c *cobra.Command, args []string, o *registrar.Order) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: exactly(args), RunE: func(c *cobra.Command, args []string) error {
		o := registrar.Order{Verb: verb}
		if len(args) > 0 {
			o.Name = args[0]
		}
		if fill != nil {
			if err := fill(c, args, &o); err != nil {
				return err
			}
		}
		answer, err := order(c.Context(), *dir, o)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := json.Indent(&out, bytes.TrimSpace(answer), "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.OutOrStdout(), out.String())
		return err
	}}
}

func userCommand(dir *string) *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "People"}
	var display, file string
	withPassword := func(c *cobra.Command, _ []string, o *registrar.Order) (err error) {
		o.DisplayName = display
		if file != "" {
			o.Secret, err = readSecret(file, c.InOrStdin())
		}
		return err
	}
	add := ordering(dir, "user add", "add NAME", "Add a person; NAME is alice or alice@contoso.onmicrosoft.com", 1, withPassword)
	add.Flags().StringVar(&display, "display-name", "", "name that is shown; the part before the @ when empty")
	set := ordering(dir, "user set-password", "set-password NAME", "Give a person another password; every sign-in of theirs ends", 1, withPassword)
	for _, v := range []*cobra.Command{add, set} {
		v.Flags().StringVar(&file, "password-file", "", "file with the password on one line, - for standard input; without it one is made and printed")
	}
	c.AddCommand(add, set,
		ordering(dir, "user list", "list", "List everybody", 0, nil),
		ordering(dir, "user disable", "disable NAME", "Refuse a person, and every token of theirs, from now on", 1, nil),
		ordering(dir, "user enable", "enable NAME", "Let a person sign in again; ends a lock after wrong passwords, too", 1, nil),
		ordering(dir, "user remove", "remove NAME", "Remove a person for good; role assignments stay and name nobody", 1, nil))
	return c
}

func appCommand(dir *string) *cobra.Command {
	c := &cobra.Command{Use: "app", Short: "Applications (service principals); APP is an application id, an object id or a name"}
	var noSecret, keep bool
	add := ordering(dir, "app add", "add NAME", "Add an application; its secret is made and printed", 1, func(_ *cobra.Command, _ []string, o *registrar.Order) error {
		o.NoSecret = noSecret
		return nil
	})
	add.Flags().BoolVar(&noSecret, "no-secret", false, "make no secret: it will sign in with a certificate or a federated token")
	rotate := ordering(dir, "app rotate-secret", "rotate-secret APP", "Make and print another secret; the old ones end", 1, func(_ *cobra.Command, _ []string, o *registrar.Order) error {
		o.KeepOld = keep
		return nil
	})
	rotate.Flags().BoolVar(&keep, "keep-old", false, "the latest secret so far goes on working until the next rotation")
	remove := ordering(dir, "app remove-certificate", "remove-certificate APP THUMBPRINT", "Take a certificate away", 2, func(_ *cobra.Command, args []string, o *registrar.Order) error {
		o.Thumbprint = args[1]
		return nil
	})
	unfederate := ordering(dir, "app remove-federated", "remove-federated APP NAME", "Take a federated credential away", 2, func(_ *cobra.Command, args []string, o *registrar.Order) error {
		o.Federated.Name = args[1]
		return nil
	})
	c.AddCommand(add, rotate, certificateCommand(dir), remove, federatedCommand(dir), unfederate,
		ordering(dir, "app list", "list", "List all applications and what they sign in with", 0, nil),
		ordering(dir, "app disable", "disable APP", "Refuse an application, and every token of its, from now on", 1, nil),
		ordering(dir, "app enable", "enable APP", "Let an application sign in again; ends a lock after wrong secrets, too", 1, nil),
		ordering(dir, "app remove", "remove APP", "Remove an application for good; role assignments stay and name nobody", 1, nil))
	return c
}

func certificateCommand(dir *string) *cobra.Command {
	var file, create string
	c := ordering(dir, "app add-certificate", "add-certificate APP", "Let an application sign in with a certificate", 1, func(_ *cobra.Command, args []string, o *registrar.Order) (err error) {
		if create != "" {
			o.Certificate, err = createCertificate(create, args[0])
		} else {
			o.Certificate, err = readCertificate(file)
		}
		return err
	})
	c.Flags().StringVar(&file, "file", "", "PEM file with the certificate; a private key in it is not looked at")
	c.Flags().StringVar(&create, "create", "", "make an RSA key and a certificate for a year, and write both to this new file (PEM, mode 0600)")
	c.MarkFlagsOneRequired("file", "create")
	c.MarkFlagsMutuallyExclusive("file", "create")
	return c
}

func federatedCommand(dir *string) *cobra.Command {
	var f cloud.Federated
	c := ordering(dir, "app add-federated", "add-federated APP", "Let an application sign in with tokens of another issuer", 1, func(_ *cobra.Command, _ []string, o *registrar.Order) error {
		o.Federated = f
		return nil
	})
	c.Flags().StringVar(&f.Name, "name", "", "name of this credential (required)")
	c.Flags().StringVar(&f.Issuer, "issuer", "", `the tokens' "iss", byte for byte (required)`)
	c.Flags().StringVar(&f.Subject, "subject", "", `the tokens' "sub", byte for byte (required)`)
	c.Flags().StringVar(&f.Audience, "audience", cloud.DefaultAudience, `the tokens' "aud"`)
	for _, name := range []string{"name", "issuer", "subject"} {
		_ = c.MarkFlagRequired(name) // cannot fail: the flag exists
	}
	return c
}

func issuerCommand(dir *string) *cobra.Command {
	c := &cobra.Command{Use: "issuer", Short: "Keys of issuers elsewhere; one on http://localhost is asked for its keys itself"}
	var file string
	set := ordering(dir, "issuer set", "set URL", "Set the keys of an issuer, in the place of those that it had", 1, func(_ *cobra.Command, _ []string, o *registrar.Order) (err error) {
		o.JWKS, err = readBounded(file, deskBytes/2)
		if err == nil && !json.Valid(o.JWKS) {
			err = fmt.Errorf("%s is not JSON", file)
		}
		return err
	})
	set.Flags().StringVar(&file, "jwks", "", "file with the JSON Web Key Set that the issuer publishes at its jwks_uri (required)")
	_ = set.MarkFlagRequired("jwks") // cannot fail: the flag exists
	c.AddCommand(set, ordering(dir, "issuer list", "list", "List the issuers whose keys are known", 0, nil),
		ordering(dir, "issuer remove", "remove URL", "Forget the keys of an issuer: nobody signs in with its tokens any more", 1, nil))
	return c
}

const secretBytes = 1 << 10

// readSecret reads a secret of one line.
func readSecret(file string, in io.Reader) (string, error) {
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(in, secretBytes+1))
	} else {
		b, err = readBounded(file, secretBytes)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if err == nil && (s == "" || len(b) > secretBytes) {
		err = errors.New("the password must be one line of at most 1,024 bytes, and not be empty")
	}
	return s, err
}

func readBounded(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", file, most)
	}
	return b, err
}

// readCertificate reads the first certificate of a PEM file.
func readCertificate(file string) ([]byte, error) {
	rest, err := readBounded(file, deskBytes/2)
	if err != nil {
		return nil, err
	}
	for block, more := pem.Decode(rest); block != nil; block, more = pem.Decode(more) {
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
	return nil, fmt.Errorf("%s holds no certificate in PEM", file)
}

// createCertificate makes a key and a self-signed certificate, and writes both to a new file, as clients read them.
func createCertificate(file, name string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...))
	return der, errors.Join(err, f.Sync(), f.Close())
}
