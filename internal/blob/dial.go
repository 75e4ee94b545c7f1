package blob

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// special are the ranges that are never a public storage account, with the name used in the message.
// Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and its updates), and
// Azure's platform address 168.63.129.16, which is public in form and metadata in substance.
var special = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared (carrier NAT)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local or cloud metadata"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("2001::/23"), "reserved (tunnel or protocol)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

var (
	globalUnicast6 = netip.MustParsePrefix("2000::/3")
	nat64          = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: an IPv4 address in the last 4 bytes
	sixToFour      = netip.MustParsePrefix("2002::/16")    // RFC 3056: an IPv4 address in bytes 2 to 5
)

// CheckAddr refuses, with ErrBadTarget, every address that is not public unless p.Allow has it: loopback,
// link-local, private, unspecified, multicast, carrier NAT, cloud metadata, reserved ranges, and IPv6
// forms that carry such an IPv4 address.
func (p Policy) CheckAddr(a netip.Addr) error {
	if a.Zone() != "" {
		return badTarget("%s is a link-local address", a)
	}
	a = a.Unmap()
	for _, allowed := range p.Allow {
		if allowed.Contains(a) {
			return nil
		}
	}
	for _, s := range special {
		if s.prefix.Contains(a) {
			return notPublic(a, s.name)
		}
	}
	b := a.As16()
	switch {
	case !a.IsValid():
		return badTarget("no address")
	case a.Is4():
		return nil
	case nat64.Contains(a):
		return p.CheckAddr(netip.AddrFrom4([4]byte(b[12:16])))
	case sixToFour.Contains(a):
		return p.CheckAddr(netip.AddrFrom4([4]byte(b[2:6])))
	case globalUnicast6.Contains(a):
		return nil
	}
	return notPublic(a, "non-public")
}

func notPublic(a netip.Addr, kind string) error {
	return badTarget("the storage host has the %s address %s; an operator can allow its range in the server's configuration", kind, a)
}

// Resolve finds the addresses of a host name. (*net.Resolver).LookupNetIP with network "ip" is one.
type Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

// Dial connects to an address, as (*net.Dialer).DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer returns a Dial for http.Transport.DialContext that keeps to the policy: the host must be an account
// under a configured suffix; it is resolved once; and the connection goes to an address that was
// checked, as an address, so that a name which resolves differently a moment later changes nothing. Nil
// arguments stand for the system's resolver and dialer.
func (p Policy) Dialer(resolve Resolve, dial Dial) Dial {
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, badTarget("%.120q is not host:port", address)
		}
		name := strings.ToLower(address)
		if port == "443" {
			name = strings.ToLower(host)
		}
		if _, err := p.account(name); err != nil {
			return nil, err
		}
		addrs, err := resolve(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("%w: resolve %s: %w", ErrUnreachable, host, err)
		}
		return p.dialAny(ctx, dial, network, host, port, addrs)
	}
}

// dialAny tries the permitted addresses in the resolver's order.
func (p Policy) dialAny(ctx context.Context, dial Dial, network, host, port string, addrs []netip.Addr) (net.Conn, error) {
	refused := fmt.Errorf("%w: %s has no address", ErrUnreachable, host)
	var failed error
	for _, a := range addrs {
		if err := p.CheckAddr(a); err != nil {
			refused = err
			continue
		}
		conn, err := dial(ctx, network, net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, failed)
	}
	return nil, refused
}
