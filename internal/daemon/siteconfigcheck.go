package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/authn"
	"redoubt/internal/blob"
)

// maxOwners is what `redoubtd init` writes in one transaction.
const maxOwners = 20

// check finds mistakes of meaning; all of them are reported at once.
func (c *Config) check() error {
	var bad problems
	bad.path("data-directory", c.DataDirectory)
	bad.path("passphrase-file", c.PassphraseFile)
	bad.guid("tenant", c.Tenant)
	bad.guid("subscription", c.Subscription)
	if len(c.Owners) > maxOwners {
		bad.add("owners", "at most %d; others get their role from one of these", maxOwners)
	}
	for _, o := range c.Owners {
		bad.guid("owners", o)
	}
	c.checkListen(&bad)
	c.checkNames(&bad)
	c.checkIssuers(&bad)
	c.checkAttestation(&bad)
	c.checkStorage(&bad)
	c.checkLog(&bad)
	c.checkAudit(&bad)
	if l := c.Limits; l.Connections < 1 || l.Keys < 1 || l.Versions < 1 {
		bad.add("limits", "connections, keys and versions are at least 1")
	}
	if l := c.Limits; l.RequestsPerSecond < 0 || l.Burst < 0 || l.UnauthenticatedPerSecond < 0 {
		bad.add("limits", "requests-per-second, burst and unauthenticated-per-second are 0 or more")
	} else if l.Burst > 0 && l.Burst < l.RequestsPerSecond || l.Burst > 0 && l.RequestsPerSecond == 0 {
		bad.add("limits.burst", "at least limits.requests-per-second, and 0 without it")
	}
	if d := time.Duration(c.Limits.Drain); d < time.Second || d > time.Hour {
		bad.add("limits.drain", "between 1s and 1h")
	}
	return errors.Join(bad...)
}

type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf(key+": "+format, args...))
}

func (p *problems) path(key, value string) {
	if !filepath.IsAbs(value) {
		p.add(key, "an absolute path is needed, got %q", value)
	}
}

func (p *problems) guid(key, value string) {
	if !isGUID(value) {
		p.add(key, "%q is not a GUID such as 72f988bf-86f1-41af-91ab-2d7cd011db47", value)
	}
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

func (c *Config) checkListen(bad *problems) {
	bad.path("listen.certificate", c.Listen.Certificate)
	bad.path("listen.key", c.Listen.Key)
	if _, err := splitListen(c.Listen.Address); err != nil {
		bad.add("listen.address", "%q is not ADDRESS:PORT such as 0.0.0.0:443", c.Listen.Address)
	}
	if host, err := splitListen(c.Listen.Health); err != nil || !isLoopback(host) {
		bad.add("listen.health", "%q is not a loopback ADDRESS:PORT such as 127.0.0.1:9480; it tells the state of every HSM to whoever asks", c.Listen.Health)
	}
	if c.Listen.Reload < Duration(time.Second) {
		bad.add("listen.reload", "at least 1s")
	}
}

// splitListen takes ADDRESS:PORT apart; the port is a number.
func splitListen(s string) (host string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return host, err
}

func (c *Config) checkNames(bad *problems) {
	n := c.Names
	if len(n.DeviceSuffixes) == 0 {
		bad.add("names.device-suffixes", "at least one is needed, such as managedhsm.example.com")
	}
	for i, s := range n.DeviceSuffixes {
		if err := checkHost(s); err != nil {
			bad.add("names.device-suffixes", "%w", err)
		}
		if slices.Contains(n.DeviceSuffixes[:i], s) {
			bad.add("names.device-suffixes", "%s stands twice", s)
		}
		if label, ok := strings.CutSuffix(hostOnly(n.ControlHost), "."+hostOnly(s)); ok && isLabel(label) {
			bad.add("names.control-host", "%s would be the name of an HSM under %s", n.ControlHost, s)
		}
	}
	if err := checkHost(n.ControlHost); err != nil {
		bad.add("names.control-host", "%w", err)
	}
	if !isPlainHTTPS(n.LoginURL) {
		bad.add("names.login-url", "%q is not an https address such as https://login.example.com; clients append /TENANT", n.LoginURL)
	}
	if n.GraphURL != "" && !isPlainHTTPS(n.GraphURL) {
		bad.add("names.graph-url", "%q is not an https address such as https://graph.microsoft.com/", n.GraphURL)
	}
	if n.Cloud == "" || strings.ContainsFunc(n.Cloud, func(r rune) bool { return r < ' ' || r > '~' }) {
		bad.add("names.cloud", "a name of plain characters is needed")
	}
	bad.audiences("names.device-audiences", n.DeviceAudiences)
	bad.audiences("names.control-audiences", n.ControlAudiences)
}

// isPlainHTTPS tells whether s is an https address of a host, with a path at most.
func isPlainHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

func (p *problems) audiences(key string, list []string) {
	for _, s := range list {
		if _, err := authn.NewAudiences([]string{s}); err != nil || strings.Contains(s, "*") {
			p.add(key, "%q is not an audience: a URL or an application id, without wildcards", s)
		}
	}
}

// checkHost wants a lower-case domain of two labels or more, with or without a port.
func checkHost(s string) error {
	host, port, has := strings.Cut(s, ":")
	labels := strings.Split(host, ".")
	if n, err := strconv.ParseUint(port, 10, 16); has && (err != nil || n == 0 || strconv.FormatUint(n, 10) != port) {
		return fmt.Errorf("%q: the port is no number from 1 to 65535", s)
	}
	if len(host) > 200 || len(labels) < 2 || slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) || net.ParseIP(host) != nil {
		return fmt.Errorf("%q is not a lower-case domain name such as hsm.example.com", s)
	}
	return nil
}

func (c *Config) checkIssuers(bad *problems) {
	if len(c.Issuers) == 0 {
		bad.add("issuers", "at least one is needed: nobody could sign in")
	}
	for _, is := range c.Issuers {
		keys, err := authn.NewRemoteKeys(authn.RemoteConfig{Issuer: is.URL, JWKS: is.JWKS})
		if err != nil {
			bad.add("issuers", "%w", err)
			continue
		}
		// The verifier knows the rules of the rest; nothing is fetched by asking it.
		_, err = authn.New(authn.Config{Issuers: []authn.Issuer{is.trusted(keys, nil)}, Audiences: []string{"https://example.com"}, Tenant: zeroGUID})
		if err != nil {
			bad.add("issuers", "%w", err)
		}
		bad.audiences("issuers.device-audiences", is.DeviceAudiences)
		bad.audiences("issuers.control-audiences", is.ControlAudiences)
	}
	for i, is := range c.Issuers {
		if slices.ContainsFunc(c.Issuers[:i], func(o IssuerConfig) bool { return o.URL == is.URL }) {
			bad.add("issuers", "%s stands twice", is.URL)
		}
	}
}

const zeroGUID = "00000000-0000-0000-0000-000000000000"

// trusted is the issuer as one plane believes it: without audiences of its own, those of all issuers count.
func (is IssuerConfig) trusted(keys authn.KeySet, audiences []string) authn.Issuer {
	if len(audiences) == 0 {
		audiences = nil
	}
	c := is.Claims
	return authn.Issuer{URL: is.URL, Keys: keys, Algorithms: is.Algorithms, Tenant: is.Tenant, SubjectIsID: is.SubjectIsID, Audiences: audiences, GroupNames: is.GroupNames,
		Claims: authn.ClaimNames{ObjectID: c.ObjectID, Tenant: c.Tenant, Groups: c.Groups, UserName: c.UserName, DisplayName: c.DisplayName, AppID: c.AppID}}
}

func (c *Config) checkStorage(bad *problems) {
	if c.Outbound.CAFile != "" {
		bad.path("outbound.ca-file", c.Outbound.CAFile)
	}
	for _, s := range c.Storage.Suffixes {
		rest, ok := strings.CutPrefix(s, ".blob.")
		if err := checkHost(rest); !ok || err != nil {
			bad.add("storage.suffixes", "%q is not of the form .blob.core.windows.net", s)
		}
	}
	for host, a := range c.Storage.Addresses {
		under := func(suffix string) bool {
			account, ok := strings.CutSuffix(host, hostOnly(suffix))
			return ok && isLabel(account)
		}
		if !slices.ContainsFunc(c.Storage.Suffixes, under) || !a.IsValid() {
			bad.add("storage.addresses", "%q is not the name of a storage account under storage.suffixes, such as account.blob.core.windows.net, without a port", host)
		}
	}
	for _, p := range c.Storage.AllowRanges {
		if !p.IsValid() || p.Bits() == 0 {
			bad.add("storage.allow-ranges", "%s would allow every address, those of this machine among them", p)
		}
	}
}

// place is where the data are.
func (c *Config) place() place { return place{data: c.DataDirectory, passphrase: c.PassphraseFile} }

// deviceAudiences are what tokens for the data plane may be made for: what clients ask for when an HSM
// challenges them, which is the domain that they reached it by, with and without its port.
func (c *Config) deviceAudiences() (out []string) {
	for _, s := range c.Names.DeviceSuffixes {
		out = append(out, originsOf(s)...)
	}
	return append(out, c.Names.DeviceAudiences...)
}

func (c *Config) controlAudiences() []string {
	return append(originsOf(c.Names.ControlHost), c.Names.ControlAudiences...)
}

func originsOf(host string) []string {
	return slices.Compact([]string{"https://" + host, "https://" + hostOnly(host)})
}

func (c *Config) blobPolicy() blob.Policy {
	return blob.Policy{Suffixes: c.Storage.Suffixes, Allow: c.Storage.AllowRanges}
}
