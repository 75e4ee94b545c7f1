package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"redoubt/internal/durable"
	"redoubt/internal/securitydomain"
)

type download struct {
	address
	certs  []string
	quorum int
	file   string
	noWait bool
}

func (a *app) sdDownload() *cobra.Command {
	var d download
	c := a.verb("download", "Take the security domain of an HSM, which activates it", `The security domain is encrypted for the holders' certificates; any --sd-quorum of the private keys open it. On a
fresh HSM this is activation. On an active one an Administrator gets the same security domain under new certificates.

The file is written before the HSM is told to activate, so that no interruption can leave an active HSM without it.
Keep it, the private keys, and the domain id apart from each other and from the HSM.`, func(ctx context.Context) error { return d.run(ctx, a) })
	d.flags(c)
	f := c.Flags()
	f.StringArrayVar(&d.certs, "sd-wrapping-keys", nil, "3 to 10 certificates (PEM, RSA of 2048 bits or more) of the holders")
	f.IntVar(&d.quorum, "sd-quorum", 0, "number of private keys needed to open the security domain")
	f.StringVar(&d.file, "security-domain-file", "", "file to write")
	f.BoolVar(&d.noWait, "no-wait", false, "do not wait for activation; security-domain wait does")
	return require(c, "sd-wrapping-keys", "sd-quorum", "security-domain-file")
}

func (d *download) run(ctx context.Context, a *app) error {
	if err := checkAbsent("security domain", d.file); err != nil {
		return err
	}
	certs, err := d.certificates(a)
	if err != nil {
		return err
	}
	request, err := securitydomain.EncodeDownloadRequest(certs, d.quorum)
	if err != nil {
		return err
	}
	_, h, err := d.open(a)
	if err != nil {
		return err
	}
	p := a.progress("security domain")
	defer p.end()
	p.say("asking for it")
	file, err := h.DownloadDomain(ctx, request)
	if err != nil {
		return fmt.Errorf("download the security domain: %w", err)
	}
	if err := d.check(a, file, certs); err != nil {
		return err
	}
	if err := create("security domain", d.file, file); err != nil {
		return err
	}
	if d.noWait {
		p.end()
		a.note("%s is written. The HSM becomes active with: redoubt security-domain wait %s --target-operation download", d.file, d.address.String())
		return nil
	}
	s, err := h.WaitDownload(ctx, nil)
	if s.Status == "Failed" {
		_ = durable.Remove(d.file) // it opens nothing
		return fmt.Errorf("the HSM was not activated: %w", err)
	}
	if err != nil {
		return advise(fmt.Errorf("%s is written, but the HSM's state is not known: %w", d.file, err),
			"Keep the file. Find out with: redoubt security-domain wait %s --target-operation download", d.address.String())
	}
	p.end()
	a.note("Security domain %s written to %s.", domainName(securitydomain.ReadDomainID(file)), d.file)
	return a.printDomainStatus(s)
}

func (d *download) certificates(a *app) ([]securitydomain.Certificate, error) {
	var certs []securitydomain.Certificate
	for _, path := range d.certs {
		c, _, err := readCertificate(path)
		if err != nil {
			return nil, err
		}
		if c.Expired(a.now().Unix()) {
			a.note("Warning: the certificate %s has expired. It works, but its holder may have thrown the key away.", path)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// check compares what came with what was asked for: a server that shares among others than the holders, or
// with a smaller quorum, must not go unnoticed.
func (d *download) check(a *app, file []byte, certs []securitydomain.Certificate) error {
	s, err := securitydomain.Inspect(file)
	if err != nil {
		a.note("Warning: the security domain has members this release does not know; it is kept as it is (%v).", err)
		return nil
	}
	same := len(s.Thumbprints) == len(certs) && s.Required == d.quorum
	for _, c := range certs {
		same = same && slices.Contains(s.Thumbprints, c.X5TS256)
	}
	if !same {
		return fmt.Errorf("%w: the HSM's security domain is for %s with a quorum of %d, not for the certificates and the quorum asked for",
			errWrongDomain, plural(len(s.Thumbprints), "certificate"), s.Required)
	}
	return nil
}
