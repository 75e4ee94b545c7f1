package daemon

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/audit"
)

// names says which host names the dev cloud owns and what stands behind each. Two families are served:
// Azure's own names, through the proxy and without a port, and local ones under a suffix with this
// listener's port, for clients that register a cloud of their own.
type names struct {
	port    string                 // port of the TLS listener
	suffix  string                 // local suffix, "localhost" unless configured
	account func(name string) bool // does a storage account of this name exist
}

// role is what stands behind a host name.
type role int

const (
	roleNone role = iota
	roleIdentity
	roleControl
	roleGraph
	roleDevice
	roleStorage
	roleAttestation
	roleVault
	roleLocal // bare local name: control plane, /adfs, /graph, /metadata and the desk on one origin
)

const (
	azureDevices = ".managedhsm.azure.net"
	azureBlobs   = ".blob.core.windows.net"

	// azureAttestation is a name of our own below Azure Attestation's, which belongs to nobody there.
	azureAttestation = "redoubt.attest.azure.net"

	// azureVault is the one key vault, with the certificates of security domains' holders. It is one name, so that the authority gets
	// no power over the vaults of others.
	azureVault = vaultLabel + ".vault.azure.net"
	vaultLabel = "redoubt-holders"
)

// of finds the role of a host name without port, lower-case.
func (n *names) of(host string) role {
	switch host {
	case "login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net":
		return roleIdentity
	case "management.azure.com", "management.core.windows.net":
		return roleControl
	case "graph.microsoft.com":
		return roleGraph
	case n.suffix, "localhost", "127.0.0.1":
		return roleLocal
	case "login." + n.suffix:
		return roleIdentity
	case azureAttestation, "attest." + n.suffix:
		return roleAttestation
	case azureVault, vaultLabel + ".vault." + n.suffix:
		return roleVault
	}
	for _, d := range []string{azureDevices, ".managedhsm." + n.suffix} {
		if label, ok := strings.CutSuffix(host, d); ok && isLabel(label) {
			return roleDevice
		}
	}
	for _, d := range []string{azureBlobs, ".blob.core." + n.suffix} {
		if label, ok := strings.CutSuffix(host, d); ok && isLabel(label) && n.account(label) {
			return roleStorage
		}
	}
	return roleNone
}

// owned tells whether the proxy may hand over a connection for host:port.
func (n *names) owned(host, port string) bool {
	switch n.of(host) {
	case roleNone:
		return false
	case roleLocal:
		return port == n.port
	default: // the others have both kinds of name
	}
	if strings.HasSuffix(host, "."+n.suffix) {
		return port == n.port
	}
	// MSAL for Java asks Azure's instance discovery at the port of the authority that it was given.
	return port == "443" || port == n.port && n.of(host) == roleIdentity
}

// azureDomains are Azure's own names that the dev cloud stands for.
var azureDomains = []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net", "management.azure.com",
	"management.core.windows.net", "graph.microsoft.com", azureDevices[1:], azureBlobs[1:], azureAttestation, azureVault}

// domains are the name constraints of the authority.
func (n *names) domains() []string {
	local := []string{n.suffix, "localhost"}
	return slices.Concat(azureDomains, slices.Compact(local))
}

// isLabel tells whether s can be the label of a name: no dot, and nothing that a certificate would take for
// a wildcard.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// privateSuffixes are the names of a single label that belong to nobody (RFC 2606, RFC 6762, ICANN's
// reservation of .internal): the authority may vouch for everything below them.
var privateSuffixes = []string{"localhost", "test", "example", "invalid", "local", "internal"}

// checkSuffix refuses a local suffix that the authority must not get power over, or that is no name at all.
func checkSuffix(s string) error {
	labels := strings.Split(s, ".")
	above := func(d string) bool { return d == s || strings.HasSuffix(d, "."+s) || strings.HasSuffix(s, "."+d) }
	switch {
	case slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) || len(s) > 100:
		return fmt.Errorf("--suffix %q: want a lower-case domain such as localhost or cloud.example.com", s)
	case net.ParseIP(s) != nil:
		return fmt.Errorf("--suffix %s: want a domain, not an address", s)
	case slices.ContainsFunc(azureDomains, above), len(labels) == 1 && !slices.Contains(privateSuffixes, s):
		return fmt.Errorf("--suffix %s: the dev cloud's authority would vouch for names of others; use one of %s, or a domain of your own", s, strings.Join(privateSuffixes, ", "))
	}
	return nil
}

// origin is the URL of a local host with this listener's port.
func (n *names) origin(host string) string { return "https://" + host + ":" + n.port }

// isLocal tells whether a request came by a local name.
func (n *names) isLocal(host string) bool {
	host = hostOnly(host)
	return host == n.suffix || strings.HasSuffix(host, "."+n.suffix) || n.of(host) == roleLocal
}

// loginURL is the authority that a client which reached host must use.
func (n *names) loginURL(host string) string {
	if n.isLocal(host) {
		return n.origin("localhost")
	}
	return "https://login.microsoftonline.com"
}

func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		hostport = h
	}
	return strings.ToLower(strings.TrimSuffix(hostport, "."))
}

// dispatch sends each request to the service that its host name stands for.
type dispatch struct {
	names                                     *names
	identity, control, graph, device, storage http.Handler
	attestation, desk, vault                  http.Handler
	trail                                     *audit.Trail // has the requests for other names
	seen                                      azhttp.Observer
}

// ServeHTTP implements http.Handler.
func (d *dispatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch d.names.of(hostOnly(r.Host)) {
	case roleIdentity:
		d.identity.ServeHTTP(w, r)
	case roleControl:
		d.control.ServeHTTP(w, r)
	case roleGraph:
		d.graph.ServeHTTP(w, r)
	case roleDevice:
		d.device.ServeHTTP(w, r)
	case roleStorage:
		d.storage.ServeHTTP(w, r)
	case roleAttestation:
		d.attestation.ServeHTTP(w, r)
	case roleVault:
		d.vault.ServeHTTP(w, r)
	case roleLocal:
		d.local(w, r)
	default:
		misdirected(d.trail, d.seen, w, r, "this dev cloud does not own the name "+hostOnly(r.Host))
	}
}

// local serves the services that share the bare local name, told apart by the first path segment.
func (d *dispatch) local(w http.ResponseWriter, r *http.Request) {
	first, _, _ := strings.Cut(strings.TrimLeft(r.URL.Path, "/"), "/")
	switch strings.ToLower(first) {
	case "adfs", "common", "organizations", "consumers", "device", "discovery":
		d.identity.ServeHTTP(w, r)
	case deskPath:
		d.desk.ServeHTTP(w, r)
	case "graph":
		r2 := r.Clone(r.Context())
		r2.URL.Path = strings.Replace(r.URL.Path, "/"+first, "", 1)
		r2.URL.RawPath = ""
		d.graph.ServeHTTP(w, r2)
	default:
		if isTenantPath(r.URL.Path) {
			d.identity.ServeHTTP(w, r)
			return
		}
		d.control.ServeHTTP(w, r)
	}
}

// isTenantPath recognises /{tenant guid}/oauth2/… and /{tenant guid}/v2.0/….
func isTenantPath(p string) bool {
	segs := strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	return len(segs) >= 2 && len(segs[0]) == 36 && strings.Count(segs[0], "-") == 4
}
