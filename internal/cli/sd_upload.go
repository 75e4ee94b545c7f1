package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
	"redoubt/internal/securitydomain"
)

// errWrongDomain: a security domain is not the expected one.
var errWrongDomain = errors.New("this is not the expected security domain")

type upload struct {
	address
	ceremony
	isBlob, noWait bool
	expect         string
}

func (a *app) sdUpload() *cobra.Command {
	var u upload
	c := a.verb("upload", "Give a recovering HSM the security domain of a lost one", `With --restore-blob, --sd-file is what restore-blob made. Without it, --sd-file is the security domain itself and
the private keys are used here, on a machine that is online: prefer the first form.

A restore blob is encrypted but not signed. --expect-domain ID makes sure of the right one: with the private keys
the id is checked before anything is sent; with a restore blob, which cannot be looked into, the id that the HSM
reports afterwards is compared, and an HSM with another one must be deleted. The exchange key is compared in both forms
before anything is sent.`, func(ctx context.Context) error { return u.run(ctx, a) })
	u.address.flags(c)
	u.ceremony.flags(c)
	f := c.Flags()
	f.StringVar(&u.sdFile, "sd-file", "", "restore blob, or security domain file")
	f.BoolVar(&u.isBlob, "restore-blob", false, "--sd-file is a restore blob")
	f.BoolVar(&u.noWait, "no-wait", false, "do not wait for the HSM; security-domain wait does")
	f.StringVar(&u.expect, "expect-domain", "", "domain id that the HSM must have afterwards")
	return require(c, "sd-file")
}

func (u *upload) run(ctx context.Context, a *app) error {
	if u.expect != "" && !domainIDText.MatchString(u.expect) {
		return wrongUse("--expect-domain %q is not a domain id (sd- and 32 hex digits)", u.expect)
	}
	if u.expect != "" && u.isBlob && u.noWait {
		return wrongUse("--expect-domain with a restore blob needs the HSM's answer: leave out --no-wait")
	}
	blob, thumbprint, err := u.read(ctx, a)
	if err != nil {
		return err
	}
	_, h, err := u.open(a)
	if err != nil {
		return err
	}
	if err := u.compareExchangeKey(ctx, a, h, thumbprint); err != nil {
		return err
	}
	p := a.progress("upload")
	defer p.end()
	p.say("sending")
	s, err := h.UploadDomain(ctx, blob)
	if err == nil && !u.noWait {
		s, err = h.WaitUpload(ctx, func(s client.DomainStatus) { p.say(s.Status) })
	}
	p.end()
	if err != nil {
		return fmt.Errorf("upload the security domain: %w", err)
	}
	if err := u.compareDomain(a, s); err != nil {
		return err
	}
	return a.printDomainStatus(s)
}

// read returns the restore blob and the thumbprint of the exchange key it is for.
func (u *upload) read(ctx context.Context, a *app) (blob []byte, thumbprint string, err error) {
	if u.isBlob {
		if blob, err = readFile("restore blob", u.sdFile); err != nil {
			return nil, "", err
		}
		var b struct {
			WrappedKey struct {
				Thumbprint string `json:"x5t_256"`
			}
		}
		if json.Unmarshal(blob, &b) != nil || b.WrappedKey.Thumbprint == "" {
			return nil, "", advise(fmt.Errorf("%s is not a restore blob", u.sdFile), "Make one with security-domain restore-blob; for a security domain file leave out --restore-blob.")
		}
		return blob, b.WrappedKey.Thumbprint, nil
	}
	if u.exchangeFile == "" || len(u.keyFiles) == 0 {
		return nil, "", wrongUse("without --restore-blob, --sd-exchange-key and --sd-wrapping-keys are needed")
	}
	if err := u.prepare(); err != nil {
		return nil, "", err
	}
	// The readable id is a first check; what the HSM reports in the end is the second.
	if id := u.summary.DomainID; u.expect != "" && id != u.expect {
		return nil, "", fmt.Errorf("%w: %s holds %s, not %s; nothing was sent", errWrongDomain, u.sdFile, domainName(id), u.expect)
	}
	a.note("%s", strings.TrimSuffix(u.transcript(a), "\n"))
	blob, err = u.blob(ctx, a)
	return blob, u.exchange.X5TS256, err
}

// compareExchangeKey makes sure that the blob is for this HSM. The HSM gives the same key again until it is spent.
func (u *upload) compareExchangeKey(ctx context.Context, a *app, h *client.HSM, thumbprint string) error {
	jwk, err := h.TransferKey(ctx)
	if err != nil {
		return fmt.Errorf("get the HSM's exchange key: %w", err)
	}
	cert, err := securitydomain.ParseExchangeCertificate(jwk)
	if err != nil {
		return fmt.Errorf("the exchange key that the HSM gave: %w", err)
	}
	if cert.X5TS256 != thumbprint {
		return advise(fmt.Errorf("the restore blob is for another exchange key: for %s, and the HSM's is %s; nothing was sent", oneLine(thumbprint), cert.X5TS256),
			"Run security-domain init-recovery on this HSM and restore-blob with the key it writes.")
	}
	a.note("Exchange key of %s: %s", h.URL(), cert.X5TS256)
	return nil
}

var (
	domainIDText = regexp.MustCompile(`^sd-[0-9a-f]{32}$`)
	domainIDIn   = regexp.MustCompile(`\bsd-[0-9a-f]{32}\b`)
)

// compareDomain holds the id that the HSM reports against the expected one.
func (u *upload) compareDomain(a *app, s client.DomainStatus) error {
	got := domainIDIn.FindString(s.Details)
	if u.expect == "" {
		if got != "" {
			a.note("The HSM is active with security domain %s. Compare it with the one you keep.", got)
		}
		return nil
	}
	if got != u.expect && !u.noWait {
		return advise(fmt.Errorf("%w: the HSM reports %s, not %s", errWrongDomain, domainName(got), u.expect),
			"Do not use this HSM: delete and purge it, and find out who made the restore blob.")
	}
	return nil
}
