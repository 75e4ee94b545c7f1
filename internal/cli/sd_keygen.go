package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"redoubt/internal/durable"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

type keygen struct {
	dir, prefix, passwords string
	count, bits, days      int
	plain                  bool
}

func (a *app) sdKeygen() *cobra.Command {
	var k keygen
	c := a.verb("keygen", "Make wrapping key pairs for the holders of a security domain", `Makes NAME_0.cer and NAME_0.key, NAME_1.cer and NAME_1.key, and so on: an RSA key of each holder and a
certificate that carries its public half. Offline. Existing files are never overwritten.

Each key is put under a password, which is asked for on the terminal, or read from --passwords-file (one line for
each key). With --no-passwords the keys lie in the clear, mode 0600: then the medium they are on is the protection.

Give the .cer files to security-domain download, and each holder one .key file with its .cer file.`, func(ctx context.Context) error { return k.run(ctx, a) })
	f := c.Flags()
	f.IntVar(&k.count, "count", 3, "number of holders, 3 to 10")
	f.IntVar(&k.bits, "bits", 3072, "size of the RSA keys: 2048, 3072 or 4096")
	f.IntVar(&k.days, "days", 3650, "validity of the certificates; expired ones still work, with a warning")
	f.StringVar(&k.dir, "directory", ".", "folder to write to; must exist")
	f.StringVar(&k.prefix, "name", "cert", "beginning of the file names")
	f.StringVar(&k.passwords, "passwords-file", "", "file with one password a line")
	f.BoolVar(&k.plain, "no-passwords", false, "leave the keys unencrypted")
	c.MarkFlagsMutuallyExclusive("passwords-file", "no-passwords")
	return c
}

// pair is one holder's files.
type pair struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	Thumbprint  string `json:"x5t#S256"`
}

func (k keygen) run(ctx context.Context, a *app) error {
	if k.count < securitydomain.MinCertificates || k.count > securitydomain.MaxCertificates {
		return wrongUse("--count %d: a security domain has 3 to 10 holders", k.count)
	}
	if k.days < 1 || k.days > 36500 {
		return wrongUse("--days %d: use 1 to 36500", k.days)
	}
	if st, err := os.Stat(k.dir); err != nil || !st.IsDir() { // before anybody is asked for passwords
		return wrongUse("--directory %s is no folder that is there; make it, or mount the medium it is on", k.dir)
	}
	pairs := make([]pair, k.count)
	for i := range pairs {
		base := filepath.Join(k.dir, fmt.Sprintf("%s_%d", k.prefix, i))
		pairs[i] = pair{Certificate: base + ".cer", Key: base + ".key"}
		if err := errors.Join(checkAbsent("certificate", pairs[i].Certificate), checkAbsent("private key", pairs[i].Key)); err != nil {
			return err
		}
	}
	passwords, err := k.askPasswords(ctx, a, pairs)
	if err != nil {
		return err
	}
	defer wipeAll(passwords)
	var made []string
	for i := range pairs {
		files, err := k.makePair(a, &pairs[i], i, passwords)
		made = append(made, files...)
		if err != nil {
			for _, f := range made { // half a set is of no use, and none of it has been given out
				_ = durable.Remove(f)
			}
			return err
		}
	}
	if k.plain {
		a.note("The private keys are not encrypted. Keep each on a medium of its holder.")
	}
	return a.print(pairs, "certificate", "key", "x5t#S256")
}

// askPasswords returns a password for each key, or nil for --no-passwords.
func (k keygen) askPasswords(ctx context.Context, a *app, pairs []pair) ([]secret.Bytes, error) {
	if k.plain {
		return nil, nil
	}
	if k.passwords != "" {
		all, err := readPasswords(k.passwords)
		if err != nil {
			return nil, err
		}
		if len(all) != len(pairs) {
			wipeAll(all)
			return nil, wrongUse("%s has %s, %d are needed", k.passwords, plural(len(all), "line"), len(pairs))
		}
		for i, p := range all {
			if p.Len() == 0 {
				wipeAll(all)
				return nil, wrongUse("line %d of %s is empty; use --no-passwords for keys without passwords", i+1, k.passwords)
			}
		}
		return all, nil
	}
	var all []secret.Bytes
	for _, p := range pairs {
		one, err := a.newPassword(ctx, p.Key)
		if err != nil {
			wipeAll(all)
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// newPassword asks twice.
func (a *app) newPassword(ctx context.Context, key string) (secret.Bytes, error) {
	first, err := a.prompt(ctx, "Password for "+key)
	if err != nil {
		return first, advise(err, "Use --passwords-file, or --no-passwords.")
	}
	second, err := a.prompt(ctx, "Once more")
	defer second.Wipe()
	if err == nil && first.Len() == 0 {
		err = errors.New("the password is empty; use --no-passwords for keys without passwords")
	}
	if err == nil && !first.Equal(second) {
		err = errors.New("the two passwords differ; nothing was written")
	}
	if err != nil {
		first.Wipe()
	}
	return first, err
}

// makePair makes and writes one pair, and returns the files written even when it fails.
func (k keygen) makePair(a *app, p *pair, i int, passwords []secret.Bytes) (made []string, err error) {
	now := a.now().Unix()
	cert, key, err := securitydomain.NewWrappingKeyPair(fmt.Sprintf("%s_%d", k.prefix, i), k.bits, now, now+int64(k.days)*86400)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	text := key.Expose()
	if passwords != nil {
		if text, err = securitydomain.EncryptKeyPEM(key, passwords[i]); err != nil {
			return nil, err
		}
	}
	parsed, err := securitydomain.ParseCertificate(p.Certificate, cert)
	if err != nil {
		return nil, err
	}
	p.Thumbprint = parsed.X5TS256
	if err := create("private key", p.Key, text); err != nil {
		return nil, err
	}
	if err := create("certificate", p.Certificate, cert); err != nil {
		return []string{p.Key}, err
	}
	// Certificates are public and are handed around; keys stay 0600.
	return []string{p.Key, p.Certificate}, os.Chmod(p.Certificate, 0o644) //nolint:gosec // public
}
