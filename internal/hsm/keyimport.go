package hsm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/byok"
	"redoubt/internal/key"
	"redoubt/internal/material"
	"redoubt/internal/rbac"
	"redoubt/internal/secret"
)

// Secret is a part of a private key on its way into the HSM. Whoever brings it can make one, hand it on and
// wipe it; only the device reads it.
type Secret struct{ b secret.Bytes }

// NewSecret takes ownership of b.
func NewSecret(b []byte) Secret { return Secret{secret.New(b)} }

// Wipe overwrites the bytes with zeros; every copy of s sees it.
func (s Secret) Wipe() { s.b.Wipe() }

// KeyMaterial is a key made elsewhere, by the members of its JWK (RFC 7518, section 6): big-endian integers, of
// which leading zeros may be missing. It is either in the clear (RSA: N, E, D and, all or none of them, P, Q,
// DP, DQ, QI; EC: Curve, X, Y, D; oct: K), or in a transfer blob, which with Type and, for EC, Curve is then all
// there is.
type KeyMaterial struct {
	Type                   key.Type
	Curve                  key.Curve
	N, E, X, Y             []byte
	D, P, Q, DP, DQ, QI, K Secret
	Transfer               []byte // a key transfer blob (package byok)
}

// ImportParams is what ImportKey takes. The kind of key (CreateParams.Spec) comes with its material.
type ImportParams struct {
	key.CreateParams
	Material KeyMaterial
}

// ImportKey brings in a key, or a new version of it when the name exists, as CreateKey makes one. Material that is not
// a key of a kind this HSM makes, or whose parts do not agree, is key.ErrBadParameter and names the part. The
// secrets stay the caller's to wipe.
func (h *HSM) ImportKey(ctx context.Context, who Caller, name key.Name, p ImportParams) (b Bundle, err error) {
	c, err := h.begin(ctx, who, OpKeyImport, rbac.KeyScope(name))
	if err != nil {
		return Bundle{}, err
	}
	defer c.end(&err)
	mat, err := c.importMaterial(ctx, &p.Material)
	if err != nil {
		return Bundle{}, err
	}
	p.Spec = mat.Spec()
	m, err := newMeta(name, p.CreateParams, h.now())
	if err == nil && key.IsExchangeKey(m.Ops) {
		err = answerf(key.ErrBadParameter, "key_ops import: a key exchange key is made inside the HSM, so that nobody has its private half; create it (az keyvault key create --kty RSA-HSM --ops import)")
	}
	if err != nil {
		mat.Wipe()
		return Bundle{}, err
	}
	m.Imported = true
	hd, err := c.addVersion(ctx, &creation{meta: m, exportable: p.Exportable, source: func() (material.Key, error) { return mat, nil }})
	if err != nil {
		mat.Wipe()
		return Bundle{}, err
	}
	return h.bundle(hd.Meta, nil), nil
}

// importMaterial makes material of what was sent.
func (c *call) importMaterial(ctx context.Context, m *KeyMaterial) (material.Key, error) {
	if m.Transfer != nil {
		return c.importTransfer(ctx, m)
	}
	if err := m.onlyOwnParts(); err != nil {
		return material.Key{}, err
	}
	switch m.Type {
	case key.RSA:
		return material.ImportRSA(material.RSAParts{N: m.N, E: m.E, D: m.D.b, P: m.P.b, Q: m.Q.b, DP: m.DP.b, DQ: m.DQ.b, QI: m.QI.b})
	case key.EC:
		return material.ImportEC(m.Curve, m.X, m.Y, m.D.b)
	case key.Oct:
		return material.ImportOct(m.K.b)
	}
	return material.Key{}, answerf(key.ErrBadKeyType, "Invalid kty value: %q; use RSA-HSM, EC-HSM or oct-HSM", m.Type)
}

// onlyOwnParts refuses members of another kind of key: whoever sends them may mean another key than is read.
func (m *KeyMaterial) onlyOwnParts() error {
	for _, part := range []struct {
		name  string
		there bool
		of    string
	}{
		{"n", len(m.N) > 0, "RSA"}, {"e", len(m.E) > 0, "RSA"}, {"p", m.P.b.Len() > 0, "RSA"}, {"q", m.Q.b.Len() > 0, "RSA"},
		{"dp", m.DP.b.Len() > 0, "RSA"}, {"dq", m.DQ.b.Len() > 0, "RSA"}, {"qi", m.QI.b.Len() > 0, "RSA"}, {"d", m.D.b.Len() > 0, "RSA EC"},
		{"crv", m.Curve != "", "EC"}, {"x", len(m.X) > 0, "EC"}, {"y", len(m.Y) > 0, "EC"}, {"k", m.K.b.Len() > 0, "oct"},
	} {
		switch {
		case part.there && m.Transfer != nil && (part.name != "crv" || m.Type != key.EC):
			return answerf(key.ErrBadParameter, "The key has both key_hsm and %s; with a transfer blob, kty, crv and key_ops are all there is", part.name)
		case part.there && m.Transfer == nil && !strings.Contains(part.of, strings.TrimSuffix(string(m.Type), "-HSM")):
			return answerf(key.ErrBadParameter, "The key has kty %s and a member %s, which such keys do not have", m.Type, part.name)
		}
	}
	return nil
}

// importTransfer opens a transfer blob with the key exchange key that it names.
func (c *call) importTransfer(ctx context.Context, m *KeyMaterial) (material.Key, error) {
	if err := m.onlyOwnParts(); err != nil {
		return material.Key{}, err
	}
	blob, err := byok.Parse(m.Transfer)
	if err != nil {
		return material.Key{}, answerf(key.ErrBadParameter, "key_hsm is not valid: %v; it is the whole content of the transfer file (.byok)", err)
	}
	kek, err := c.exchangeKeyFor(ctx, blob)
	if err != nil {
		return material.Key{}, err
	}
	inside, err := kek.UnwrapTransfer(key.TransferSHA1, blob.Ciphertext)
	if err != nil {
		return material.Key{}, answerf(key.ErrBadParameter, "The key in the transfer blob could not be unwrapped with %s: it was wrapped for another key, or is damaged", blob.KID)
	}
	defer inside.Wipe()
	if m.Type == key.Oct {
		k, err := material.ImportOct(inside)
		return k, insideError(err)
	}
	k, err := material.ImportPKCS8(inside)
	if err != nil {
		return material.Key{}, insideError(err)
	}
	if s := k.Spec(); s.Type != m.Type || m.Curve != "" && s.Curve != m.Curve {
		k.Wipe()
		return material.Key{}, answerf(key.ErrBadParameter, "The key in the transfer blob is %s; the request says %s", s, strings.TrimSpace(string(m.Type)+" "+string(m.Curve)))
	}
	return k, nil
}

func insideError(err error) error {
	if err == nil {
		return nil
	}
	return answerf(key.ErrBadParameter, "The key in the transfer blob is not valid: %s", strings.TrimPrefix(err.Error(), key.ErrBadParameter.Error()+": "))
}

// exchangeKeyFor finds the key exchange key of a blob: it must be on this HSM, enabled, within its dates and
// made for nothing else. The host in the kid is not compared: the key may have been restored here.
func (c *call) exchangeKeyFor(ctx context.Context, blob byok.Blob) (material.Key, error) {
	name, version, err := parseKID(blob.KID)
	if err != nil {
		return material.Key{}, err
	}
	c.note("kek", "/keys/"+string(name)+"/"+string(version))
	if blob.Generator != "" {
		c.note("generator", blob.Generator)
	}
	_, k, err := c.usable(ctx, name, version, key.OpImport)
	switch {
	case errors.Is(err, key.ErrNotFound):
		return material.Key{}, answerf(key.ErrBadParameter, "The key exchange key of the transfer blob, %s, is not on HSM %s", blob.KID, c.h.cfg.Name)
	case err != nil:
		return material.Key{}, fmt.Errorf("the key exchange key of the transfer blob, %s: %w", blob.KID, err)
	}
	return k, nil
}

// parseKID reads the identifier of a key version.
func parseKID(kid string) (key.Name, key.Version, error) {
	k, err := byok.ParseKID(kid)
	var name key.Name
	var version key.Version
	if err == nil {
		name, err = key.ParseName(k.Name)
	}
	if err == nil {
		version, err = key.ParseVersion(k.Version)
	}
	if err != nil {
		return "", "", answerf(key.ErrBadParameter, "header.kid of the transfer blob is not valid: %v", err)
	}
	return name, version, nil
}
