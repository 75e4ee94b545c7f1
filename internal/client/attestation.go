package client

import (
	"context"
	"net/http"
)

// Attestation is the evidence of an HSM about a version of a key. Public is empty for symmetric keys.
type Attestation struct {
	Certificates Bytes  `json:"certificatePemFile"`
	Private      Bytes  `json:"privateKeyAttestation"`
	Public       Bytes  `json:"publicKeyAttestation,omitempty"`
	Version      string `json:"version"`
}

// KeyAttestation returns the evidence about a version, the current one when version is "".
func (h *HSM) KeyAttestation(ctx context.Context, name, version string) (Attestation, error) {
	k, err := h.key(ctx, http.MethodGet, keyPath("keys", name, version, "attestation"), nil)
	if err != nil || k.Attributes.Attestation == nil {
		return Attestation{}, err
	}
	return *k.Attributes.Attestation, nil
}
