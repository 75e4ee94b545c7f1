package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
)

// ceremony is the offline step of disaster recovery: a security domain file, the keys of a quorum and the new
// HSM's exchange key become a restore blob. restore-blob writes it to a file; upload can send it at once.
type ceremony struct {
	sdFile, exchangeFile string
	keyFiles             []string
	passwords            []string
	passwordsFile        string

	sd       []byte
	summary  securitydomain.Summary
	exchange securitydomain.Certificate
	keys     []holderKey
}

// holderKey is one of --sd-wrapping-keys, as far as its certificate tells.
type holderKey struct {
	path    string
	cert    securitydomain.Certificate
	certPEM []byte
	share   int // 1..N, 0: no holder of this security domain
	note    string
}

func (h holderKey) used() bool { return h.share > 0 && h.note == "" }

func (c *ceremony) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.exchangeFile, "sd-exchange-key", "", "exchange key of the new HSM, from security-domain init-recovery")
	f.StringArrayVar(&c.keyFiles, "sd-wrapping-keys", nil, "private keys of the holders, each NAME.key with NAME.cer beside it")
	f.StringArrayVar(&c.passwords, "passwords", nil, "passwords of these keys, in their order; seen by others on this machine: rather let them be asked for, or use --passwords-file")
	f.StringVar(&c.passwordsFile, "passwords-file", "", "file with the passwords of these keys, one a line in their order, empty for none")
	cmd.MarkFlagsMutuallyExclusive("passwords", "passwords-file")
}

// prepare reads everything but the private keys and checks the quorum.
func (c *ceremony) prepare() (err error) {
	if c.sd, err = readFile("security domain", c.sdFile); err != nil {
		return err
	}
	if c.summary, err = securitydomain.Inspect(c.sd); err != nil {
		return fmt.Errorf("%s: %w", c.sdFile, err)
	}
	if err := c.match(); err != nil {
		return err
	}
	text, err := readFile("exchange key", c.exchangeFile)
	if err != nil {
		return err
	}
	if c.exchange, err = securitydomain.ParseExchangeCertificate(text); err != nil {
		return advise(fmt.Errorf("%s: %w", c.exchangeFile, err), "Use the file that security-domain init-recovery wrote for the new HSM.")
	}
	if slices.Contains(c.summary.Thumbprints, c.exchange.X5TS256) {
		return advise(fmt.Errorf("%s is the certificate of a holder of this security domain, not an exchange key", c.exchangeFile),
			"Use the file that security-domain init-recovery wrote for the new HSM.")
	}
	return nil
}

// match finds the share of each key by its certificate and refuses less than a quorum.
func (c *ceremony) match() error {
	have := 0
	byShare := map[int]string{}
	var notes []string
	for _, path := range c.keyFiles {
		cert, pem, err := readCertificate(certificatePath(path))
		if err != nil {
			return advise(err, "Each private key needs its certificate beside it: %s for %s.", certificatePath(path), path)
		}
		k := holderKey{path: path, cert: cert, certPEM: pem}
		for i, t := range c.summary.Thumbprints {
			if t == cert.X5TS256 {
				k.share = i + 1
			}
		}
		switch first := byShare[k.share]; {
		case k.share == 0:
			k.note = "no holder of this security domain"
			notes = append(notes, path+" is no holder's key of this security domain")
		case first != "":
			k.note = "the same key as " + first + ", counts once"
			notes = append(notes, path+" is the same key as "+first+" and counts once")
		default:
			byShare[k.share] = path
			have++
		}
		c.keys = append(c.keys, k)
	}
	if have >= c.summary.Required {
		return nil
	}
	var missing []string
	for i, t := range c.summary.Thumbprints {
		if byShare[i+1] == "" {
			missing = append(missing, t)
		}
	}
	text := fmt.Sprintf("%d of the %d keys needed", have, c.summary.Required)
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, "; ") + ")"
	}
	return advise(fmt.Errorf("%w: %s; no private key was read", securitydomain.ErrQuorum, text),
		"Bring %d more of the holders whose certificates have these thumbprints (x5t#S256): %s.", c.summary.Required-have, strings.Join(missing, ", "))
}

// blob opens the security domain and encrypts it for the exchange key.
func (c *ceremony) blob(ctx context.Context, a *app) ([]byte, error) {
	passwords, err := c.readPasswords()
	if err != nil {
		return nil, err
	}
	defer wipeAll(passwords)
	var keys []securitydomain.WrappingKey
	defer func() {
		for _, k := range keys {
			k.Wipe()
		}
	}()
	for i, h := range c.keys {
		if !h.used() {
			continue
		}
		var password secret.Bytes
		if i < len(passwords) {
			password = passwords[i]
		}
		k, err := h.load(ctx, a, password)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	data, err := securitydomain.Open(c.sd, keys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.sdFile, err)
	}
	defer func() {
		for _, d := range data {
			d.Value.Wipe()
		}
	}()
	blob, err := securitydomain.Reencrypt(data, c.exchange)
	if err != nil {
		return nil, fmt.Errorf("make the restore blob: %w", err)
	}
	return blob, nil
}

func (c *ceremony) readPasswords() ([]secret.Bytes, error) {
	var all []secret.Bytes
	if c.passwordsFile != "" {
		var err error
		if all, err = readPasswords(c.passwordsFile); err != nil {
			return nil, err
		}
	}
	for _, p := range c.passwords {
		all = append(all, secret.New([]byte(p)))
	}
	if len(all) > len(c.keyFiles) {
		wipeAll(all)
		return nil, wrongUse("%s for %s", plural(len(all), "password"), plural(len(c.keyFiles), "key"))
	}
	return all, nil
}

// load reads the private key, asking for its password if it needs one that was not given.
func (h holderKey) load(ctx context.Context, a *app, password secret.Bytes) (securitydomain.WrappingKey, error) {
	text, err := readFile("private key", h.path)
	if err != nil {
		return securitydomain.WrappingKey{}, err
	}
	defer clear(text)
	if password.Len() == 0 && bytes.Contains(text, []byte("ENCRYPTED")) {
		if password, err = a.prompt(ctx, "Password for "+h.path); err != nil {
			return securitydomain.WrappingKey{}, advise(fmt.Errorf("%s is encrypted: %w", h.path, err), "Use --passwords-file with one line for each key.")
		}
		defer password.Wipe()
	}
	k, err := securitydomain.ParseWrappingKey(h.path, h.certPEM, text, password)
	if err != nil {
		return k, advise(err, "Nothing was written. Check the file and its password, or bring another holder's key.")
	}
	return k, nil
}

// transcript is what the people at the ceremony compare and sign.
func (c *ceremony) transcript(a *app) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	sum := sha256.Sum256(c.sd)
	line("Security domain: %s", c.sdFile)
	line("  domain id     %s", domainName(c.summary.DomainID))
	line("  file sha256   %s", hex.EncodeToString(sum[:]))
	line("  quorum        %d of %d", c.summary.Required, len(c.summary.Thumbprints))
	line("  data          %s", strings.Join(c.summary.Tags, ", "))
	line("Exchange key: %s", c.exchangeFile)
	line("  x5t#S256      %s", c.exchange.X5TS256)
	line("  subject       %s", oneLine(c.exchange.Subject))
	line("Wrapping keys:")
	for _, k := range c.keys {
		share := "no share"
		if k.share > 0 {
			share = fmt.Sprintf("share %d", k.share)
		}
		state := "used"
		switch {
		case !k.used():
			state = "not used: " + k.note
		case k.cert.Expired(a.now().Unix()):
			state = "used; its certificate has expired, which is no hindrance"
		}
		line("  %s  %s  %s  %s", k.path, share, k.cert.X5TS256, state)
	}
	return b.String()
}
