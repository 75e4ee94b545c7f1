package daemon

import (
	"time"

	"redoubt/internal/api/attest"
	trust "redoubt/internal/release/authority"
)

// The dev cloud's test attestation service has two names, Azure-like and local, one key, and the trust of every HSM of the dev cloud.

func (d *Dev) openAttestation() error {
	key, err := signingKey(d.path("attestation.key"), "attestation tokens made so far end")
	if err != nil {
		return err
	}
	d.attest, err = attest.New(attest.Config{Key: key, Base: d.attestationURL, Clock: time.Now, Log: d.log})
	return err
}

// attestationURL is the issuer of tokens for a client that reached host.
func (d *Dev) attestationURL(host string) string {
	if d.names.isLocal(host) {
		return d.names.origin("attest." + d.cfg.Suffix)
	}
	return "https://" + azureAttestation
}

// trustedAttestation is whose attestation tokens the HSMs believe.
func (d *Dev) trustedAttestation() (*trust.Set, error) {
	keys := d.attest.Keys()
	return trust.New(trust.Issuer{URL: d.attestationURL(azureAttestation), Keys: keys}, trust.Issuer{URL: d.attestationURL("localhost"), Keys: keys})
}
