package hsm

import (
	"context"
	"strings"

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

// knownSettings are all there are, with their defaults. A setting is stored once it was changed; it is
// content, so a restore brings it back.
var knownSettings = []Setting{{Name: SettingARMKeys, Value: "false", Type: "boolean"}}

// loadSetting gives a setting's value and the stamp of its record (zero while it has its default).
func (v *view) loadSetting(ctx context.Context, name string) (Setting, stamp, error) {
	for _, d := range knownSettings {
		if !strings.EqualFold(d.Name, name) {
			continue
		}
		st, s, err := load[Setting](ctx, v, settingName(name))
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
