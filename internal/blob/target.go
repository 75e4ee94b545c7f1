package blob

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Policy says which storage addresses this server may use. A storage address comes with a request
// (storageResourceUri), so it is hostile: without a policy it would make the server send a token, or its
// own network position, to a host of the caller's choice. The zero value allows nothing.
type Policy struct {
	// Suffixes are the ends of host names that are storage accounts, each with a leading dot and, when the
	// port is not 443, with the port: ".blob.core.windows.net", ".blob.core.localhost:10443". Tokens go to
	// these hosts only.
	Suffixes []string
	// Allow lists address ranges that may be dialled although they are not public: private endpoints of
	// storage accounts, an emulator on loopback.
	Allow []netip.Prefix
}

// Target is a storage address that passed ParseTarget. The zero value is invalid.
type Target struct {
	Account   string // lower case
	Container string
	Host      string // account and suffix, lower case, with the port when the suffix has one
}

// URL is the container's address.
func (t Target) URL() string { return "https://" + t.Host + "/" + t.Container }

const maxURI = 2048

// ParseTarget reads a container's address, https://ACCOUNT.SUFFIX/CONTAINER, and refuses everything else
// with ErrBadTarget and a message that says what to change. The account may come in any letter case. The
// text itself is not repeated in the message, because callers paste shared access signatures into it.
func ParseTarget(uri string, p Policy) (Target, error) {
	u, err := parseURI(uri)
	if err != nil {
		return Target{}, err
	}
	host := strings.ToLower(u.Host)
	if _, err := netip.ParseAddr(strings.Trim(u.Hostname(), "[]")); err == nil {
		return Target{}, badTarget("the host is an IP address; use the account's name, like https://ACCOUNT%s/CONTAINER", p.example())
	}
	account, err := p.account(host)
	if err != nil {
		return Target{}, err
	}
	container := strings.TrimPrefix(u.Path, "/")
	if err := checkContainer(container); err != nil {
		return Target{}, err
	}
	return Target{Account: account, Container: container, Host: host}, nil
}

// parseURI checks the form of the address: what every https URL with one plain path has and has not.
func parseURI(uri string) (*url.URL, error) {
	if uri == "" || len(uri) > maxURI {
		return nil, badTarget("it has %d characters, 1 to %d are allowed", len(uri), maxURI)
	}
	for _, c := range []byte(uri) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, badTarget("it has a space, a backslash, a control or a non-ASCII character")
		}
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil: // not wrapped: url.Error repeats the text
		return nil, badTarget("it is not a URL; write https://ACCOUNT.blob.core.windows.net/CONTAINER")
	case u.Scheme != "https" || u.Opaque != "" || u.Host == "":
		return nil, badTarget("only https:// addresses are used; write https://ACCOUNT.blob.core.windows.net/CONTAINER")
	case u.User != nil:
		return nil, badTarget("it has a user name or password before an @; remove them")
	case strings.Contains(uri, "?"):
		return nil, badTarget("it has a query; a shared access signature goes into the token field, not into the address (treat the one sent here as disclosed)")
	case strings.Contains(uri, "#"):
		return nil, badTarget("it has a fragment (#); remove it")
	case strings.Contains(uri, "%"):
		return nil, badTarget("it has percent-encoded characters; container names need none")
	}
	return u, nil
}

// account finds the configured suffix of host (lower case, with port if any) and returns the label before it.
func (p Policy) account(host string) (string, error) {
	for _, suffix := range p.Suffixes {
		account, ok := strings.CutSuffix(host, strings.ToLower(suffix))
		if !ok || !strings.HasPrefix(suffix, ".") {
			continue
		}
		if !isAccount(account) {
			return "", badTarget("%.80q is not a storage account name (3 to 24 letters and digits)", account)
		}
		return account, nil
	}
	return "", badTarget("the host %.120q is not under a storage suffix this server is configured for (%s)", host, strings.Join(p.Suffixes, ", "))
}

func (p Policy) example() string {
	if len(p.Suffixes) == 0 {
		return ".blob.core.windows.net"
	}
	return p.Suffixes[0]
}

func isAccount(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return len(s) >= 3 && len(s) <= 24
}

// checkContainer applies Azure's rules for container names: 3 to 63 lower-case letters, digits and
// hyphens, a letter or digit at both ends, no two hyphens in a row.
func checkContainer(s string) error {
	switch {
	case s == "":
		return badTarget("it names no container; append /CONTAINER")
	case strings.Contains(s, "/"):
		return badTarget("its path has more than the container's name; a backup folder goes into a field of its own, and there is no slash at the end")
	case len(s) < 3 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--"):
		return badTarget("%.80q is not a container name (3 to 63 characters, a letter or digit first and last, no double hyphen)", s)
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == '-') {
			return badTarget("%.80q is not a container name (lower-case letters, digits and hyphens only)", s)
		}
	}
	return nil
}

func badTarget(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadTarget}, args...)...)
}
