package authn

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Audiences is a list of resources that tokens may be made for. An entry is a URL or an application id,
// compared without regard to letter case and trailing slashes. "https://*.SUFFIX" stands for any one label
// before the suffix (a storage account's own name, for instance).
type Audiences struct {
	exact    map[string]bool
	suffixes []string // ".blob.core.windows.net:443", each preceded by exactly one label
}

// NewAudiences checks and compiles a list. It must not be empty.
func NewAudiences(list []string) (Audiences, error) {
	if len(list) == 0 {
		return Audiences{}, errors.New("authn: at least one audience is needed")
	}
	a := Audiences{exact: make(map[string]bool, len(list))}
	for _, s := range list {
		n := normalAudience(s)
		rest, wild := strings.CutPrefix(n, "https://*")
		switch {
		case n == "", wild && !strings.HasPrefix(rest, "."), strings.Contains(rest, "*"), !wild && strings.Contains(n, "*"):
			return Audiences{}, fmt.Errorf("authn: audience %q cannot be used", s)
		case wild:
			a.suffixes = append(a.suffixes, rest)
		default:
			a.exact[n] = true
		}
	}
	return a, nil
}

// Match tells whether aud is on the list.
func (a Audiences) Match(aud string) bool {
	n := normalAudience(aud)
	if a.exact[n] {
		return true
	}
	host, ok := strings.CutPrefix(n, "https://")
	if !ok {
		return false
	}
	for _, s := range a.suffixes {
		label, ok := strings.CutSuffix(host, s)
		if ok && label != "" && !strings.ContainsAny(label, "./@:?#*") {
			return true
		}
	}
	return false
}

func (a Audiences) matchAny(auds []string) bool {
	for _, s := range auds {
		if a.Match(s) {
			return true
		}
	}
	return false
}

func normalAudience(s string) string { return strings.ToLower(strings.TrimRight(s, "/")) }

// Challenge is the value of WWW-Authenticate that starts a client's sign-in:
//
//	Bearer authorization="https://login.microsoftonline.com/{tenant}", resource="https://managedhsm.azure.net"
//
// The resource is the parent domain of the host that was asked, port kept, because the SDKs refuse any
// other. The host must be one that the server owns; loginURL and tenant come from configuration. A host
// without a parent domain (a bare name, an address) is named itself: clients with the resource check
// switched off can still use it.
func Challenge(host, loginURL, tenant string) string {
	return `Bearer authorization="` + headerSafe(strings.TrimRight(loginURL, "/")) + "/" + headerSafe(tenant) +
		`", resource="` + Resource(host) + `"`
}

// Resource is the audience that clients ask for when they are challenged by host.
func Resource(host string) string {
	host = strings.ToLower(headerSafe(host))
	name, _, _ := strings.Cut(host, ":")
	if _, err := netip.ParseAddr(name); err != nil && !strings.HasPrefix(host, "[") {
		if _, parent, ok := strings.Cut(host, "."); ok && parent != "" {
			host = parent
		}
	}
	return "https://" + host
}

// headerSafe drops what would break the challenge apart: clients split it at spaces, commas and equal signs.
func headerSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`",=\`, r) {
			return -1
		}
		return r
	}, s)
}
