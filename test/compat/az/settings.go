package main

import "slices"

// setting is what az prints of one.
type setting struct{ Name, SettingType, Value string }

// settings are list, show and update.
func (s *session) settings() {
	const name = "AllowKeyManagementOperationsThroughARM"
	on := []string{"keyvault", "setting"}
	hsm := []string{"--hsm-name", s.hsm}
	var all []setting
	s.json(&all, slices.Concat(on, []string{"list"}, hsm)...)
	want(slices.Contains(all, setting{name, "boolean", "false"}), "the settings are %+v", all)
	for _, value := range []string{"true", "false"} {
		var st setting
		s.json(&st, slices.Concat(on, []string{"update"}, hsm, []string{"--name", name, "--value", value})...)
		equal(st, setting{name, "boolean", value}, "what update says")
		s.json(&st, slices.Concat(on, []string{"show"}, hsm, []string{"--name", name})...)
		equal(st, setting{name, "boolean", value}, "what show says")
	}
	s.refused("BadParameter", slices.Concat(on, []string{"update"}, hsm, []string{"--name", name, "--value", "perhaps"})...)
	s.refused("etting", slices.Concat(on, []string{"show"}, hsm, []string{"--name", "NoSuchSetting"})...)
	step("settings listed, shown and changed")
}
