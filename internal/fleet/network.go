package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"redoubt/internal/netrule"
)

var (
	// ErrFirewall: the network rules of the HSM do not let this address in.
	ErrFirewall = errors.New("the client address is not let in")
	// ErrNotPublic: the HSM's publicNetworkAccess is Disabled.
	ErrNotPublic = errors.New("public network access is disabled")
)

// refused is an error whose text is made for the caller, the service's own words first.
type refused struct {
	kind error
	text string
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.kind }

// compile is r with its network rules ready for Admit: once for each revision of the resource. Rules that cannot be
// read let nobody in; the control plane stays open to put them right.
func (f *Fleet) compile(r Resource) *Resource {
	rules, err := netrule.Compile(r.PublicAccess, r.NetworkACLs)
	if err != nil {
		f.cfg.Log.Error("the network rules of a managed HSM cannot be read, so nobody is let in; set them anew", "hsm", r.Name, "error", err)
		rules = &netrule.Rules{}
	}
	r.rules = rules
	return &r
}

// checkNetwork refuses network rules that cannot be taken.
func (r Resource) checkNetwork() error {
	if _, err := netrule.Compile(r.PublicAccess, r.NetworkACLs); err != nil {
		return fmt.Errorf("%w: %s", ErrBadResource, strings.TrimPrefix(err.Error(), netrule.ErrBad.Error()+": "))
	}
	return nil
}

// Admit tells whether the data plane may answer a client at this address, in the form that net.Conn gives it
// (without port): nil, ErrFirewall or ErrNotPublic. caller is who asks, for the text. An address that cannot be read
// is let in only where everybody is.
func (r Resource) Admit(client, caller string) error {
	if r.rules.Open() {
		return nil
	}
	addr, _ := netip.ParseAddr(client) // without: the invalid one
	return r.refusal(addr, caller)
}

// AdmitTrusted is Admit for what comes by way of a trusted service, which the rules concern only where bypass is
// None. The one such service is this server's control plane.
func (r Resource) AdmitTrusted(client, caller string) error {
	if r.rules.Trusted() {
		return nil
	}
	return r.Admit(client, caller)
}

func (r Resource) refusal(addr netip.Addr, caller string) error {
	if r.rules.Allow(addr) {
		return nil
	}
	shown := "unknown"
	if addr.IsValid() {
		shown = addr.Unmap().String()
	}
	whom := fmt.Sprintf("Caller: oid=%s\r\nVault: %s;location=%s", caller, r.Name, r.Location)
	if !r.rules.Public() {
		return &refused{ErrNotPublic, fmt.Sprintf("Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\n%s\r\n"+
			"To let requests in again: az keyvault update-hsm --hsm-name %s --public-network-access Enabled. The control plane is not behind the network rules.", whom, r.Name)}
	}
	return &refused{ErrFirewall, fmt.Sprintf("Client address is not authorized and caller is not a trusted service.\r\nClient address: %s\r\n%s\r\n"+
		"To let this address in: az keyvault network-rule add --hsm-name %s --ip-address %s. The control plane is not behind the network rules.", shown, whom, r.Name, shown)}
}
