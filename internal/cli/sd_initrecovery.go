package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/securitydomain"
)

func (a *app) sdInitRecovery() *cobra.Command {
	var at address
	var file string
	c := a.verb("init-recovery", "Put a fresh HSM into recovery and get its exchange key", `Writes the certificate of the exchange key, for security-domain restore-blob. The private half never leaves the HSM.
On an HSM that is already recovering the same exchange key is given again; on an active one nothing changes and the
HSM refuses.`, func(ctx context.Context) error {
		if err := checkAbsent("exchange key", file); err != nil {
			return err
		}
		_, h, err := at.open(a)
		if err != nil {
			return err
		}
		jwk, err := h.TransferKey(ctx)
		if err != nil {
			return fmt.Errorf("get the exchange key: %w", err)
		}
		cert, err := securitydomain.ParseExchangeCertificate(jwk)
		if err != nil {
			return fmt.Errorf("the exchange key that the HSM gave: %w", err)
		}
		if err := create("exchange key", file, cert.PEM()); err != nil {
			return err
		}
		a.note("Exchange key written to %s\n  x5t#S256  %s\n  Compare it at the ceremony, on a second channel: whoever swaps this file gets the security domain.", file, cert.X5TS256)
		return nil
	})
	at.flags(c)
	c.Flags().StringVar(&file, "sd-exchange-key", "", "file to write")
	return require(c, "sd-exchange-key")
}
