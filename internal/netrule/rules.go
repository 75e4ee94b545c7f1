package netrule

import "net/netip"

// Rules are compiled once for each revision of an HSM's resource and then only read. Nil and the zero value let nobody in.
type Rules struct {
	open    bool // everybody
	public  bool // publicNetworkAccess is not Disabled
	trusted bool // bypass is AzureServices
	ranges  []netip.Prefix
}

// Compile makes Rules of what is stored: publicNetworkAccess and networkAcls (nil: none).
func Compile(publicAccess string, acls []byte) (*Rules, error) {
	access, err := PublicAccess(publicAccess)
	if err != nil {
		return nil, err
	}
	var s Set
	if acls == nil {
		acls = []byte("{}")
	}
	if s, err = Parse(s, acls); err != nil {
		return nil, err
	}
	r := &Rules{public: access == Enabled, trusted: s.Bypass == Trusted}
	r.open = r.public && s.DefaultAction == Allow
	for _, rule := range s.IPRules {
		p, err := parseRule(rule.Value)
		if err != nil {
			return nil, err
		}
		r.ranges = append(r.ranges, p)
	}
	return r, nil
}

// Open tells whether every address is let in, so that nobody has to find out what the client's is.
func (r *Rules) Open() bool { return r != nil && r.open }

// Public tells whether any address could be let in: publicNetworkAccess is not Disabled.
func (r *Rules) Public() bool { return r != nil && r.public }

// Trusted tells whether the rules do not count for trusted services: bypass is AzureServices.
func (r *Rules) Trusted() bool { return r != nil && r.trusted }

// Allow tells whether a client at this address is let in. The invalid address never is, unless all are.
func (r *Rules) Allow(client netip.Addr) bool {
	switch {
	case r.Open():
		return true
	case !r.Public():
		return false
	}
	client = client.Unmap().WithZone("")
	for _, p := range r.ranges {
		if p.Contains(client) {
			return true
		}
	}
	return false
}
