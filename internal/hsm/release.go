package hsm

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/release"
	"redoubt/internal/secret"
	"redoubt/internal/store"
)

// normalPolicy is a release policy as it is stored; nil stays nil.
func normalPolicy(p *key.ReleasePolicy) (*key.ReleasePolicy, error) {
	if p == nil {
		return nil, nil
	}
	out, err := release.Normalise(*p)
	return &out, err
}

// ReleaseRequest is what Release takes.
type ReleaseRequest struct {
	Target     string       // attestation token of the environment that is to have the key
	Nonce      string       // copied into the answer
	Enc        key.Transfer // "": key.TransferSHA1
	Base       string       // the HSM's URL as the caller sees it, for the key ids in the answer
	APIVersion string       // of the request, for the answer
}

// maxNonce bounds a nonce, bytes.
const maxNonce = 1024

// Release gives the material of an exportable key, "" being its current version, to the environment that an attestation
// token speaks of, if the key's release policy allows it: a compact JWS by the HSM's attestation key
// (docs/formats/key-release.md). The material leaves wrapped to that environment's key, and only when the audit entry
// is durable and the key and its policy are still as they were judged.
func (h *HSM) Release(ctx context.Context, who Caller, name key.Name, version key.Version, rq ReleaseRequest) (jws string, err error) {
	c, err := h.begin(ctx, who, OpKeyRelease, rbac.KeyScope(name))
	if err != nil {
		return "", err
	}
	defer c.end(&err)
	if rq.Enc == "" {
		rq.Enc = key.TransferSHA1
	}
	if _, err := key.ParseTransfer(string(rq.Enc)); err != nil {
		return "", err
	}
	if len(rq.Nonce) > maxNonce {
		return "", answerf(key.ErrBadParameter, "nonce has more than %d bytes", maxNonce)
	}
	err = c.update(ctx, func() (change, error) {
		var ch change
		jws, ch, err = c.buildRelease(ctx, name, version, rq)
		return ch, err
	})
	if err != nil {
		return "", err
	}
	return jws, nil
}

// buildRelease judges and wraps. The change it proposes writes nothing but is conditional on what was judged.
func (c *call) buildRelease(ctx context.Context, name key.Name, version key.Version, rq ReleaseRequest) (string, change, error) {
	m, k, ch, err := c.policed(ctx, name, version, key.Meta.CheckExport)
	if err != nil {
		return "", change{}, err
	}
	to, _, err := c.attested(m, rq.Target)
	if err != nil {
		return "", change{}, err
	}
	c.note("algorithm", string(rq.Enc))
	payload, err := k.Export()
	if err != nil {
		return "", change{}, c.exportError(m, err)
	}
	wrapped, err := wrapTo(to, rq.Enc, payload)
	if err != nil {
		return "", change{}, err
	}
	id, err := c.v.identity()
	if err != nil {
		return "", change{}, err
	}
	jws, err := id.JWS(release.Released{Base: rq.Base, APIVersion: rq.APIVersion, Asked: version, Nonce: rq.Nonce, Enc: rq.Enc, Recipient: to.Kid, Wrapped: wrapped,
		Meta: m, RecoveryLevel: c.h.recoveryLevel(), RecoverableDays: c.h.cfg.RetentionDays}.Payload())
	return jws, ch, err
}

// policed loads a version of a key with its material, if it may be used (check), and the condition that neither it nor the
// key's policy changes until the call commits.
func (c *call) policed(ctx context.Context, name key.Name, version key.Version, check func(key.Meta) error) (key.Meta, material.Key, change, error) {
	hd, hs, err := c.v.loadHead(ctx, name)
	if err != nil {
		return key.Meta{}, material.Key{}, change{}, err
	}
	ifs := []store.Cond{c.v.cond(headName(name), hs)}
	if version != "" && version != hd.Meta.Version {
		record := versionName(hd.Incarnation, version)
		_, vs, err := load[key.Meta](ctx, &c.v, record)
		if err == nil {
			ifs = append(ifs, c.v.cond(record, vs))
		} else if !isAbsent(err) {
			return key.Meta{}, material.Key{}, change{}, err
		}
	}
	m, err := c.v.loadVersion(ctx, hd, version)
	if err != nil {
		return key.Meta{}, material.Key{}, change{}, err
	}
	c.note("keyVersion", string(m.Version))
	if err := check(m); err != nil {
		return key.Meta{}, material.Key{}, change{}, err
	}
	k, err := c.v.loadMaterial(ctx, hd.Incarnation, m)
	if isAbsent(err) {
		err = c.v.missingMaterial(ctx, hd, m)
	}
	return m, k, change{ifs: ifs}, err
}

// attested finds who may have what m guards: the recipient named by a token that is believed and meets m's release policy, and the
// token's issuer.
func (c *call) attested(m key.Meta, token string) (to release.Recipient, issuer string, err error) {
	if token == "" {
		return to, "", answerf(release.ErrBadToken, "target is needed: the attestation token of the environment that is to have the key")
	}
	if c.h.cfg.Attestation == nil {
		return to, "", release.Untrusted("this HSM trusts no attestation authority")
	}
	a, err := c.h.cfg.Attestation.Verify(token, c.h.cfg.Clock())
	if err != nil {
		return to, "", err
	}
	c.note("authority", a.Issuer)
	p, err := release.Parse(m.Release.Data)
	if err != nil {
		return to, "", fmt.Errorf("%w: the release policy of %s: %v", ErrCorrupt, m.Name, err)
	}
	if err := p.Check(a); err != nil {
		return to, "", err
	}
	to, err = a.Recipient()
	c.note("recipient", to.Kid)
	return to, a.Issuer, err
}

// wrapTo wraps payload to the recipient and wipes it.
func wrapTo(to release.Recipient, enc key.Transfer, payload secret.Bytes) ([]byte, error) {
	defer payload.Wipe()
	pub, err := material.PublicRSA(to.N, to.E)
	if err != nil {
		return nil, answerf(release.ErrBadToken, "The attestation token in target is not acceptable: the encryption key in claim x-ms-runtime.keys: %v", err)
	}
	return material.WrapTo(pub, enc, payload)
}

// exportError is err for the caller. Material is wiped only when its key is purged.
func (c *call) exportError(m key.Meta, err error) error {
	if errors.Is(err, material.ErrWiped) {
		return c.h.keyNotFound(m.Name, m.Version)
	}
	return err
}
