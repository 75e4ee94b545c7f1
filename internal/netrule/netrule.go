// Package netrule is the network rules of a managed HSM: which client addresses its data plane answers. They are
// what the control plane calls networkAcls and publicNetworkAccess (rest-api 1.8; Managed HSM network security).
package netrule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrBad: network rules that cannot be taken.
var ErrBad = errors.New("the network rules are not valid")

// MaxIPRules is how many address ranges an HSM can have, the service's limit.
const MaxIPRules = 10

// The words of the wire.
const (
	Enabled  = "Enabled" // publicNetworkAccess
	Disabled = "Disabled"
	Allow    = "Allow" // defaultAction
	Deny     = "Deny"
	Trusted  = "AzureServices" // bypass
	Nobody   = "None"
)

// Set is networkAcls as it goes over the wire and is stored. A zero member is one that was not given.
type Set struct {
	Bypass        string               `json:"bypass"`        // AzureServices or None
	DefaultAction string               `json:"defaultAction"` // Allow or Deny
	IPRules       []IPRule             `json:"ipRules"`
	Networks      []VirtualNetworkRule `json:"virtualNetworkRules"`
	ServiceTags   []ServiceTag         `json:"serviceTags"`
}

// IPRule lets in one address ("203.0.113.7") or one range ("203.0.113.0/24"), IPv4 or IPv6.
type IPRule struct {
	Value string `json:"value"`
}

// VirtualNetworkRule names a subnet of a cloud's virtual network. No HSM can have one.
type VirtualNetworkRule struct {
	ID string `json:"id"`
}

// ServiceTag names the addresses of a cloud's service. No HSM can have one.
type ServiceTag struct {
	Tag string `json:"tag"`
}

// Parse reads networkAcls over base: members that doc leaves out stay as base has them. An unknown member is refused,
// so that a misspelt one does not leave an HSM open. The result is in the one form that is stored and shown. Every
// error is ErrBad.
func Parse(base Set, doc []byte) (Set, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	s := base
	// A list that doc has begins anew: encoding/json would fill what an element leaves out with what stood in its place.
	var given map[string]json.RawMessage
	_ = json.Unmarshal(doc, &given) // what is wrong with doc is found below
	for name := range given {
		switch {
		case strings.EqualFold(name, "ipRules"):
			s.IPRules = nil
		case strings.EqualFold(name, "virtualNetworkRules"):
			s.Networks = nil
		case strings.EqualFold(name, "serviceTags"):
			s.ServiceTags = nil
		}
	}
	if err := d.Decode(&s); err != nil {
		return Set{}, bad("networkAcls %s", reason(err))
	}
	if d.More() {
		return Set{}, bad("networkAcls is followed by something else")
	}
	return s.check()
}

// reason says what is wrong with a document in words that do not name types of Go.
func reason(err error) string {
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ) && typ.Field == "":
		return "is an object, not a JSON " + typ.Value
	case errors.As(err, &typ):
		return fmt.Sprintf("has a member %s that cannot be a JSON %s", typ.Field, typ.Value)
	}
	return "cannot be read: " + strings.TrimPrefix(err.Error(), "json: ")
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBad, fmt.Sprintf(format, args...))
}

// check brings s into its one form. What the service requires is required here, too: address rules only together
// with Deny, because with Allow they would mean nothing.
func (s Set) check() (Set, error) {
	out := Set{IPRules: []IPRule{}, Networks: []VirtualNetworkRule{}, ServiceTags: []ServiceTag{}}
	var err error
	if out.Bypass, err = oneOf("networkAcls.bypass", s.Bypass, Trusted, Nobody); err != nil {
		return Set{}, err
	}
	if out.DefaultAction, err = oneOf("networkAcls.defaultAction", s.DefaultAction, Allow, Deny); err != nil {
		return Set{}, err
	}
	switch {
	case len(s.Networks) > 0:
		return Set{}, bad("networkAcls.virtualNetworkRules are not supported for managed HSMs: name the addresses of the subnet in ipRules")
	case len(s.ServiceTags) > 0:
		return Set{}, bad("networkAcls.serviceTags are not supported: this server does not know a service's addresses; name them in ipRules")
	}
	if n := len(s.IPRules); n > 10*MaxIPRules { // each is compared with the others; some may be there twice
		return Set{}, bad("networkAcls has %d ipRules, and there can be %d", n, MaxIPRules)
	}
	for i, r := range s.IPRules {
		p, err := parseRule(r.Value)
		if err != nil {
			return Set{}, bad("networkAcls.ipRules[%d]: %v", i, err)
		}
		if rule := (IPRule{text(r.Value, p)}); !slices.Contains(out.IPRules, rule) {
			out.IPRules = append(out.IPRules, rule)
		}
	}
	switch {
	case len(out.IPRules) > MaxIPRules:
		return Set{}, bad("networkAcls has %d ipRules, and there can be %d; put neighbouring addresses together into a range such as 10.1.0.0/16", len(out.IPRules), MaxIPRules)
	case len(out.IPRules) > 0 && out.DefaultAction == Allow:
		return Set{}, bad("networkAcls.defaultAction must be Deny where there are ipRules: set it to Deny to let in the given addresses only, or remove the ipRules to let everybody in")
	}
	return out, nil
}

// oneOf finds the word that is meant whatever its letter case. The first is the default.
func oneOf(member, got string, words ...string) (string, error) {
	if got == "" {
		return words[0], nil
	}
	for _, w := range words {
		if strings.EqualFold(w, got) {
			return w, nil
		}
	}
	return "", bad("%s is %s, not %q", member, strings.Join(words, " or "), got)
}

// PublicAccess brings publicNetworkAccess into its one form; empty means Enabled.
func PublicAccess(s string) (string, error) {
	return oneOf("publicNetworkAccess", s, Enabled, Disabled)
}

// parseRule reads an address or a range. An IPv4 address in the form of IPv6 is the IPv4 address.
func parseRule(value string) (netip.Prefix, error) {
	fail := func() (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a range in CIDR form, such as 203.0.113.7 or 203.0.113.0/24", clip(value))
	}
	if !strings.Contains(value, "/") {
		a, err := netip.ParseAddr(value)
		if err != nil || a.Zone() != "" {
			return fail()
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil:
		return fail()
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q mixes IPv4 and IPv6; write the range as one of IPv4", value)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its prefix; the range is %s", value, p.Masked())
	}
	return p, nil
}

// text is how a rule is shown: an address stays one.
func text(value string, p netip.Prefix) string {
	if strings.Contains(value, "/") {
		return p.String()
	}
	return p.Addr().String()
}

func clip(s string) string { return s[:min(len(s), 64)] }
