package hsm

import (
	"context"
	"fmt"

	"redoubt/internal/attestation"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
)

// attester is the attestation identity under one root.
type attester struct {
	rootID, domainID string
	id               *attestation.Identity
}

// identity is the HSM's attestation key with its certificates. It is derived from the root, so that it changes with it.
func (v *view) identity() (*attestation.Identity, error) {
	if a := v.h.attest.Load(); a != nil && a.rootID == v.dev.Root && a.domainID == v.dev.DomainID {
		return a.id, nil
	}
	root, leaf := v.root.Attesters(v.h.cfg.ID)
	name := attestation.Name{HSM: v.h.cfg.Name, ID: v.h.cfg.ID, Domain: v.dev.DomainID}
	id, err := attestation.NewIdentity(root, leaf, name, func(text []byte) attestation.Endorsement {
		return attestation.Endorsement{Key: v.root.PublicKey(), Signature: v.root.Endorse(text)}
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	v.h.attest.Store(&attester{v.dev.Root, v.dev.DomainID, id})
	return id, nil
}

// KeyAttestation returns a version of a key, "" being the current one, with signed evidence of what it is and that it is in this HSM.
func (h *HSM) KeyAttestation(ctx context.Context, who Caller, name key.Name, version key.Version) (b Bundle, e attestation.Evidence, err error) {
	c, err := h.begin(ctx, who, OpKeyAttestation, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, attestation.Evidence{}, err
	}
	defer c.end(&err)
	var m key.Meta
	err = c.read(ctx, func() error {
		hd, _, err := c.v.loadHead(ctx, name)
		if err != nil {
			return err
		}
		m, err = c.v.loadVersion(ctx, hd, version)
		return err
	})
	if err != nil {
		return Bundle{}, attestation.Evidence{}, err
	}
	c.note("keyVersion", string(m.Version))
	id, err := c.v.identity()
	if err != nil {
		return Bundle{}, attestation.Evidence{}, err
	}
	if e, err = id.Attest(id.Describe(m, h.now())); err != nil {
		return Bundle{}, attestation.Evidence{}, err
	}
	return h.bundle(m, nil), e, nil
}
