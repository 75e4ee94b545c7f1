package daemon

import (
	"redoubt/internal/api/vault"
	"redoubt/internal/authn"
)

func (d *Dev) vaultAudiences() []string {
	return []string{"https://vault.azure.net", d.names.origin("vault." + d.cfg.Suffix)}
}

// vaultFront serves the certificates that lie in DIR/certificates.
func (d *Dev) vaultFront(dp *dispatch) error {
	v, err := d.verifier(d.vaultAudiences())
	if err != nil {
		return err
	}
	dp.vault = vault.New(vault.Config{Dir: d.path("certificates"), Verifier: v, Log: d.log,
		Challenge: func(host string) string { return authn.Challenge(host, d.names.loginURL(host), d.account.Tenant.ID) }})
	return nil
}
