package arm

import (
	"encoding/base64"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
	"redoubt/internal/key"
)

// keyResource is ManagedHsmKey of the API.
type keyResource struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties keyProperties     `json:"properties"`
}

// keyProperties are those of a key; lists leave out what stands behind the addresses.
type keyProperties struct {
	Attributes    keyAttributes     `json:"attributes"`
	KeyURI        string            `json:"keyUri"`
	VersionURI    string            `json:"keyUriWithVersion"`
	Type          string            `json:"kty,omitempty"`
	Ops           []string          `json:"keyOps,omitempty"`
	Bits          int               `json:"keySize,omitempty"`
	Curve         string            `json:"curveName,omitempty"`
	Rotation      *keyRotation      `json:"rotationPolicy,omitempty"`
	ReleasePolicy *keyReleasePolicy `json:"release_policy,omitempty"`
}

// keyAttributes have their times in Unix seconds, unlike the rest of the control plane.
type keyAttributes struct {
	Enabled       bool   `json:"enabled"`
	NotBefore     int64  `json:"nbf,omitempty"`
	Expires       int64  `json:"exp,omitempty"`
	Created       int64  `json:"created"`
	Updated       int64  `json:"updated"`
	RecoveryLevel string `json:"recoveryLevel"`
	Exportable    bool   `json:"exportable"`
}

type keyRotation struct {
	Attributes struct {
		ExpiryTime string `json:"expiryTime,omitempty"`
		Created    int64  `json:"created,omitempty"`
		Updated    int64  `json:"updated,omitempty"`
	} `json:"attributes"`
	Actions []keyLifetimeAction `json:"lifetimeActions"`
}

type keyLifetimeAction struct {
	Trigger struct {
		AfterCreate  string `json:"timeAfterCreate,omitempty"`
		BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"type"` // rotate, in lower case
	} `json:"action"`
}

type keyReleasePolicy struct {
	ContentType string `json:"contentType"`
	Data        string `json:"data"` // base64url
}

// item is a key, or a version of one, as lists have it: kty, size and the rest are behind the addresses.
func (k keyCall) item(b hsm.Bundle, version bool) keyResource {
	a := b.Meta.Attributes
	n, v := b.Meta.Name, b.Meta.Version
	out := keyResource{ID: hsmID(k.res) + "/keys/" + string(n), Name: string(n), Type: keysType, Tags: b.Meta.Tags, Properties: keyProperties{
		Attributes: keyAttributes{a.Enabled, a.NotBefore, a.Expires, a.Created, a.Updated, b.RecoveryLevel, a.Exportable}, KeyURI: k.keyURI(n, ""), VersionURI: k.keyURI(n, v)}}
	if version {
		out.ID, out.Name, out.Type = out.ID+"/versions/"+string(v), string(v), versionsType
	}
	return out
}

// resource is the whole of a key or of a version.
func (k keyCall) resource(got hsm.ARMKey, version bool) keyResource {
	out := k.item(got.Bundle, version)
	m, p := got.Meta, &out.Properties
	p.Type, p.Curve = string(m.Spec.Type), string(m.Spec.Curve)
	if m.Spec.Curve == "" {
		p.Bits = m.Spec.Bits
	}
	for _, op := range m.Ops {
		p.Ops = append(p.Ops, armOp(string(op), key.OpExport, opRelease))
	}
	if r := m.Release; r != nil {
		p.ReleasePolicy = &keyReleasePolicy{r.ContentType, base64.RawURLEncoding.EncodeToString(r.Data)}
	}
	if r := got.Rotation; r != nil {
		w := &keyRotation{Actions: []keyLifetimeAction{}}
		w.Attributes.ExpiryTime, w.Attributes.Created, w.Attributes.Updated = r.ExpiryTime, r.Created, r.Updated
		for _, a := range r.Actions {
			var l keyLifetimeAction
			l.Trigger.AfterCreate, l.Trigger.BeforeExpiry, l.Action.Type = a.AfterCreate, a.BeforeExpiry, strings.ToLower(a.Action)
			w.Actions = append(w.Actions, l)
		}
		p.Rotation = w
	}
	return out
}

// opRelease is what the control plane calls the operation that the data plane calls export: of keys that may be
// released.
const opRelease = "release"

// armOp replaces the one word that the two planes have for the same.
func armOp(op string, from key.Op, to string) string {
	if strings.EqualFold(op, string(from)) {
		return to
	}
	return op
}

// keyBody is ManagedHsmKeyCreateParameters. Read-only members are ignored.
type keyBody struct {
	Tags       map[string]string `json:"tags"`
	Properties *struct {
		Attributes struct {
			Enabled    *bool `json:"enabled"`
			NotBefore  int64 `json:"nbf"`
			Expires    int64 `json:"exp"`
			Exportable *bool `json:"exportable"`
		} `json:"attributes"`
		Type     string            `json:"kty"`
		Ops      []string          `json:"keyOps"`
		Bits     int               `json:"keySize"`
		Curve    string            `json:"curveName"`
		Rotation *keyRotation      `json:"rotationPolicy"`
		Release  *keyReleasePolicy `json:"release_policy"`
	} `json:"properties"`
}

// params is what the device is asked for. The control plane knows keys of the kinds RSA and EC only.
func (b keyBody) params() (p key.CreateParams, policy key.RotationPolicy, err error) {
	w := b.Properties
	if w == nil {
		return p, policy, azhttp.Bad("The request needs properties, with kty RSA-HSM or EC-HSM.")
	}
	t, err := key.ParseType(w.Type)
	if err != nil {
		return p, policy, err
	}
	if t != key.RSA && t != key.EC {
		return p, policy, azhttp.Bad("Keys of type " + string(t) + " cannot be made through Azure Resource Manager; make it with az keyvault key create.")
	}
	p = key.CreateParams{Tags: b.Tags, Enabled: w.Attributes.Enabled, NotBefore: w.Attributes.NotBefore, Expires: w.Attributes.Expires, Exportable: w.Attributes.Exportable}
	if p.Spec, err = key.NewSpec(t, w.Bits, key.Curve(w.Curve), 0); err != nil {
		return p, policy, err
	}
	for _, op := range w.Ops {
		p.Ops = append(p.Ops, armOp(op, opRelease, string(key.OpExport)))
	}
	if r := w.Release; r != nil {
		data, err := base64.RawURLEncoding.Strict().DecodeString(r.Data)
		if err != nil {
			return p, policy, azhttp.Bad("release_policy.data is base64url text (RFC 4648 section 5) without padding.")
		}
		p.Release = &key.ReleasePolicy{ContentType: r.ContentType, Data: data}
	}
	if r := w.Rotation; r != nil {
		policy.ExpiryTime = r.Attributes.ExpiryTime
		for _, a := range r.Actions {
			policy.Actions = append(policy.Actions, key.LifetimeAction{Action: a.Action.Type, AfterCreate: a.Trigger.AfterCreate, BeforeExpiry: a.Trigger.BeforeExpiry})
		}
	}
	return p, policy, nil
}
