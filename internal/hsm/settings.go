package hsm

import (
	"context"
	"strings"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// Setting is one account setting. Value is text whatever the type; Type is "boolean".
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Type  string `json:"type"`
}

// SettingARMKeys is the name of the setting that lets the control plane manage keys.
const SettingARMKeys = "AllowKeyManagementOperationsThroughARM"

// Names of the settings that allow algorithms which the wire protocol has and nobody should need (they are
// ours, not the service's): RSA1_5; RSA-OAEP, whose hash is SHA-1; and the AES-CBC modes.
const (
	SettingRSA15    = "AllowRSA15"
	SettingOAEPSHA1 = "AllowRSAOAEPSHA1"
	SettingAESCBC   = "AllowAESCBC"
)

// knownSettings are all there are, with their defaults. A setting is stored once it was changed; it is
// content, so a restore brings it back.
var knownSettings = []Setting{
	{Name: SettingARMKeys, Value: "false", Type: "boolean"},
	{Name: SettingRSA15, Value: "true", Type: "boolean"},
	{Name: SettingOAEPSHA1, Value: "true", Type: "boolean"},
	{Name: SettingAESCBC, Value: "true", Type: "boolean"},
}

// governs says which setting must be "true" for an algorithm, and what to use in its place. Algorithms that
// are not here are always allowed, and cost no look-up.
var governs = map[key.Algorithm]struct {
	setting string
	instead key.Algorithm
}{
	"RSA1_5":   {SettingRSA15, "RSA-OAEP-256"},
	"RSA-OAEP": {SettingOAEPSHA1, "RSA-OAEP-256"},
	"A128CBC":  {SettingAESCBC, "A128GCM"}, "A128CBCPAD": {SettingAESCBC, "A128GCM"},
	"A192CBC": {SettingAESCBC, "A192GCM"}, "A192CBCPAD": {SettingAESCBC, "A192GCM"},
	"A256CBC": {SettingAESCBC, "A256GCM"}, "A256CBCPAD": {SettingAESCBC, "A256GCM"},
}

// allows refuses an algorithm that a setting of this HSM forbids, whatever is to be done with it: one that only
// decrypts is the oracle that the setting is to close.
func (c *call) allows(ctx context.Context, alg key.Algorithm) error {
	g, governed := governs[alg]
	if !governed {
		return nil
	}
	var st Setting
	err := c.read(ctx, func() (err error) {
		st, _, err = c.v.loadSetting(ctx, g.setting)
		return err
	})
	if err != nil || st.Value == "true" {
		return err
	}
	return answerf(ErrAlgorithmForbidden, "Algorithm %s is not allowed on this HSM: its setting %s is %q. Use %s, or have an Administrator allow it: az keyvault setting update --hsm-name %s --name %s --value true",
		alg, st.Name, st.Value, g.instead, c.h.cfg.Name, st.Name)
}

// loadSetting gives a setting's value and the stamp of its record (zero while it has its default).
func (v *view) loadSetting(ctx context.Context, name string) (Setting, stamp, error) {
	for _, d := range knownSettings {
		if !strings.EqualFold(d.Name, name) {
			continue
		}
		st, s, err := load[Setting](ctx, v, settingName(d.Name)) // not by what was asked for: other letters fold to these
		if isAbsent(err) {
			return d, stamp{}, nil
		}
		return st, s, err
	}
	return Setting{}, stamp{}, answerf(ErrSettingNotFound, "Setting not found: %s. List them with az keyvault setting list --hsm-name %s", name, v.h.cfg.Name)
}

// ListSettings shows all settings.
func (h *HSM) ListSettings(ctx context.Context, who Caller) (out []Setting, err error) {
	c, err := h.begin(ctx, who, OpSettingList, rbac.ScopeRoot)
	if err != nil {
		return nil, err
	}
	defer c.end(&err)
	err = c.readSet(ctx, func() error {
		out = nil
		for _, d := range knownSettings {
			st, _, err := c.v.loadSetting(ctx, d.Name)
			if err != nil {
				return err
			}
			out = append(out, st)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetSetting shows one setting. Names are compared without regard to letter case.
func (h *HSM) GetSetting(ctx context.Context, who Caller, name string) (st Setting, err error) {
	c, err := h.begin(ctx, who, OpSettingGet, rbac.ScopeRoot)
	if err != nil {
		return Setting{}, err
	}
	defer c.end(&err)
	err = c.readSet(ctx, func() error {
		st, _, err = c.v.loadSetting(ctx, name)
		return err
	})
	return st, err
}

// UpdateSetting changes one setting. Booleans are exactly "true" or "false".
func (h *HSM) UpdateSetting(ctx context.Context, who Caller, name, value string) (st Setting, err error) {
	c, err := h.begin(ctx, who, OpSettingUpdate, rbac.ScopeRoot)
	if err != nil {
		return Setting{}, err
	}
	defer c.end(&err)
	err = c.update(ctx, func() (change, error) {
		var s stamp
		if st, s, err = c.v.loadSetting(ctx, name); err != nil {
			return change{}, err
		}
		if value != "true" && value != "false" {
			return change{}, answerf(ErrBadRequest, "%s is true or false, in lower case; %q is neither", st.Name, value)
		}
		c.note("setting", st.Name)
		c.note("from", st.Value)
		c.note("to", value)
		st.Value = value
		record := settingName(st.Name)
		return change{ifs: []store.Cond{c.v.cond(record, s)}, ops: []store.Op{c.v.put(record, s, st)}}, nil
	})
	if err != nil {
		return Setting{}, err
	}
	c.h.log.InfoContext(ctx, "setting changed", "setting", st.Name, "value", st.Value)
	return st, nil
}
