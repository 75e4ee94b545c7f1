package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) setting() *cobra.Command {
	return group("setting", "Settings of an HSM", a.settingList(), a.settingShow(), a.settingUpdate())
}

// shownSetting is how az prints a setting.
type shownSetting struct {
	Name  string `json:"name"`
	Type  string `json:"settingType"`
	Value string `json:"value"`
}

var settingColumns = []string{"name", "settingType", "value"}

func showSetting(s client.Setting) shownSetting { return shownSetting{s.Name, s.Type, s.Value} }

func (a *app) settingList() *cobra.Command {
	var t address
	c := a.verb("list", "List the settings", "", func(ctx context.Context) error {
		_, h, err := t.open(a)
		if err != nil {
			return err
		}
		all, err := h.Settings(ctx)
		if err != nil {
			return fmt.Errorf("list the settings: %w", err)
		}
		out := []shownSetting{}
		for _, s := range all {
			out = append(out, showSetting(s))
		}
		return a.print(out, settingColumns...)
	})
	t.flags(c)
	return c
}

func (a *app) settingShow() *cobra.Command {
	var t address
	var name string
	c := a.verb("show", "Show a setting", "", func(ctx context.Context) error {
		_, h, err := t.open(a)
		if err != nil {
			return err
		}
		s, err := h.GetSetting(ctx, name)
		if err != nil {
			return fmt.Errorf("show setting %s: %w", name, err)
		}
		return a.print(showSetting(s), settingColumns...)
	})
	t.flags(c)
	c.Flags().StringVarP(&name, "name", "n", "", "name of the setting")
	return require(c, "name")
}

func (a *app) settingUpdate() *cobra.Command {
	var t address
	var name, value string
	c := a.verb("update", "Change a setting", `AllowKeyManagementOperationsThroughARM lets whoever may write managed HSMs in the control plane make keys, and whoever may
read them see keys; false, the default, keeps the control plane from keys altogether.`, func(ctx context.Context) error {
		_, h, err := t.open(a)
		if err != nil {
			return err
		}
		s, err := h.UpdateSetting(ctx, name, value)
		if err != nil {
			return fmt.Errorf("change setting %s: %w", name, err)
		}
		return a.print(showSetting(s), settingColumns...)
	})
	t.flags(c)
	c.Flags().StringVarP(&name, "name", "n", "", "name of the setting")
	c.Flags().StringVar(&value, "value", "", "true or false")
	ignored(c, "type", "setting-type")
	return require(c, "name", "value")
}
