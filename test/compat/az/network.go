package main

import (
	"slices"
	"strings"
)

// networkRules is what az prints of networkAcls.
type networkRules struct {
	Bypass, DefaultAction string
	IPRules               []struct{ Value string } `json:"ipRules"`
}

func (n networkRules) String() string {
	words := []string{n.DefaultAction, n.Bypass}
	for _, r := range n.IPRules {
		words = append(words, r.Value)
	}
	return strings.Join(words, " ")
}

// network locks this program's HSM for the address that everything comes from, and lets it in again: network-rule add,
// remove and list, and the options of update-hsm. Nothing else may run beside it.
func (s *session) network() {
	rule := func(verb string, addresses ...string) []string {
		args := []string{"keyvault", "network-rule", verb, "--hsm-name", s.hsm, "--resource-group", s.group()}
		if len(addresses) > 0 {
			args = append(append(args, "--ip-address"), addresses...)
		}
		return args
	}
	update := func(args ...string) []string {
		return slices.Concat([]string{"keyvault", "update-hsm", "--hsm-name", s.hsm}, args)
	}
	is := func(wanted string) {
		var n networkRules
		s.json(&n, rule("list")...)
		equal(n.String(), wanted, "the network rules")
	}
	list := s.onKey("list", []string{"--maxresults", "1"})

	is("Allow AzureServices")
	s.refused("must be Deny", rule("add", "10.0.0.0/8")...)
	s.az(update("--default-action", "Deny")...)
	s.refused("Client address is not authorized and caller is not a trusted service", list...)
	s.refused("az keyvault network-rule add --hsm-name "+s.hsm, "keyvault", "setting", "list", "--hsm-name", s.hsm)
	s.refused("ForbiddenByFirewall", "keyvault", "security-domain", "init-recovery", "--hsm-name", s.hsm, "--sd-exchange-key", s.file("exchange.pem"))
	is("Deny AzureServices")
	step("kept out by --default-action Deny: keys, settings, security domain")

	s.az(rule("add", "10.0.0.0/8", "127.0.0.0/8")...)
	is("Deny AzureServices 10.0.0.0/8 127.0.0.0/8")
	s.az(list...)
	s.az(rule("remove", "10.0.0.0/8")...)
	is("Deny AzureServices 127.0.0.0/8")
	s.az(list...)
	s.refused("must be Deny", update("--default-action", "Allow")...)
	s.refused("300.0.0.1", "rest", "--method", "patch", "--url", s.resource()+"?api-version=2024-11-01", "--body", `{"properties":{"networkAcls":{"ipRules":[{"value":"300.0.0.1"}]}}}`)
	is("Deny AzureServices 127.0.0.0/8")
	step("let in by an address rule; bad rules refused")

	s.az(rule("remove", "127.0.0.0/8")...)
	s.refused("Client address is not authorized", list...)
	s.az(update("--default-action", "Allow", "--bypass", "None")...)
	is("Allow None")
	s.az(list...)
	s.az(update("--bypass", "AzureServices")...)
	step("locked out by the last rule's removal, and back in")

	s.az(update("--public-network-access", "Disabled")...)
	s.refused("ForbiddenByConnection", list...)
	s.az(update("--public-network-access", "Enabled")...)
	s.az(list...)
	is("Allow AzureServices")
	step("kept out and let in by --public-network-access")
}

// shown is what az keyvault show tells of this program's HSM.
func (s *session) shown() (hsm struct{ ID, ResourceGroup string }) {
	s.json(&hsm, "keyvault", "show", "--hsm-name", s.hsm)
	return hsm
}

func (s *session) group() string { return s.shown().ResourceGroup }

// resource is the address of the HSM in the control plane.
func (s *session) resource() string { return s.shown().ID }

// armKey is a key as the control plane shows it.
type armKey struct {
	ID, Name   string
	Properties struct {
		Kty, KeyURI, KeyURIWithVersion, CurveName string
		Attributes                                struct {
			Enabled          bool
			Created, Updated int64
		}
	}
}

// armKeys makes and sees a key through the control plane, which the HSM's administrator must have allowed. Nothing else
// may run beside it.
func (s *session) armKeys() {
	const version = "?api-version=2024-11-01"
	name := s.name("arm")
	keys := s.resource() + "/keys"
	rest := func(method, path string, more ...string) []string {
		return slices.Concat([]string{"rest", "--method", method, "--url", keys + path + version}, more)
	}
	ec := []string{"--body", `{"properties":{"kty":"EC-HSM","curveName":"P-384"}}`}
	allow := func(value string) {
		s.az("keyvault", "setting", "update", "--hsm-name", s.hsm, "--name", "AllowKeyManagementOperationsThroughARM", "--value", value)
	}
	const off = "enable the setting 'AllowKeyManagementOperationsThroughARM'"
	s.refused(off, rest("put", "/"+name, ec...)...)
	s.refused(off, rest("get", "")...)
	allow("true")
	var made, again, got armKey
	s.json(&made, rest("put", "/"+name, ec...)...)
	equal(made.Properties.Kty+" "+made.Properties.CurveName, "EC-HSM P-384", "the key that was made")
	s.json(&again, rest("put", "/"+name, "--body", `{"properties":{"kty":"RSA-HSM"}}`)...)
	equal(again, made, "a second PUT")
	s.json(&got, rest("get", "/"+name)...)
	equal(got, made, "GET")
	var shown struct{ Key struct{ Kid, Kty string } }
	s.key(&shown, "show", "--name", name)
	equal(shown.Key.Kid, made.Properties.KeyURIWithVersion, "the key's address")
	var all struct{ Value []armKey }
	s.json(&all, rest("get", "")...)
	want(slices.ContainsFunc(all.Value, func(k armKey) bool { return k.Name == name }), "the list has no %s: %+v", name, all.Value)
	s.json(&all, rest("get", "/"+name+"/versions")...)
	equal(len(all.Value), 1, "versions")
	s.json(&got, rest("get", "/"+name+"/versions/"+all.Value[0].Name)...)
	equal(got.Properties, made.Properties, "the version")
	s.refused("NotFound", rest("delete", "/"+name)...)
	allow("false")
	s.refused(off, rest("get", "/"+name)...)
	step("a key made and seen through the control plane, while the HSM's setting allows it")
}
