package storage

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// sas is a shared access signature as it stands in a query, values decoded but otherwise untouched,
// because that is what was signed.
type sas struct {
	version, start, expiry, permissions, ip, protocol string
	mac                                               []byte
	encryptionScope                                   string
	// account SAS
	services, resourceTypes string
	// service SAS
	resource, identifier string
	// user delegation SAS
	key                                      delegationKey
	authorizedOID, unauthorizedOID, corrID   string
	delegatedOID, signedHeaders, signedQuery string
	// response headers rscc, rscd, rsce, rscl, rsct
	overrides [5]string
}

// overrideHeaders are the response headers that overrides stand for, in the order they are signed.
var overrideHeaders = [5]string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type"}

// parseSAS reads the signature out of a query. Every parameter may stand there once.
func parseSAS(q url.Values) (sas, error) {
	var t sas
	fields := map[string]*string{
		"sv": &t.version, "st": &t.start, "se": &t.expiry, "sp": &t.permissions, "sip": &t.ip, "spr": &t.protocol, "ses": &t.encryptionScope,
		"ss": &t.services, "srt": &t.resourceTypes, "sr": &t.resource, "si": &t.identifier,
		"skoid": &t.key.oid, "sktid": &t.key.tid, "skt": &t.key.start, "ske": &t.key.expiry, "sks": &t.key.service, "skv": &t.key.version, "skdutid": &t.key.delegatedTID,
		"saoid": &t.authorizedOID, "suoid": &t.unauthorizedOID, "scid": &t.corrID, "sduoid": &t.delegatedOID, "srh": &t.signedHeaders, "srq": &t.signedQuery,
		"rscc": &t.overrides[0], "rscd": &t.overrides[1], "rsce": &t.overrides[2], "rscl": &t.overrides[3], "rsct": &t.overrides[4],
	}
	var sig string
	fields["sig"] = &sig
	for name, into := range fields {
		switch v := q[name]; {
		case len(v) > 1:
			return sas{}, authFailed("%s is given more than once.", name)
		case len(v) == 1:
			*into = v[0]
		}
	}
	// A line break in a value could pass for the end of a field in the string to sign.
	for name, values := range q {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n") {
				return sas{}, authFailed("%q holds a line break.", name)
			}
		}
	}
	if _, err := time.Parse("2006-01-02", t.version); err != nil || t.version < versionOldest {
		return sas{}, authFailed("sv is mandatory and must be a service version, %s or later. Cannot be '%s'", versionOldest, t.version)
	}
	mac, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(sig, " ", "+")) // an unescaped "+" decodes as a space
	if err != nil {
		return sas{}, authFailed("Signature is not well formed: not base64.")
	}
	t.mac = mac
	return t, t.check()
}

// check looks at what must be there before anything is computed.
func (t *sas) check() error {
	switch {
	case t.identifier != "":
		return authFailed("Stored access policies (si) are not offered by this server.")
	case t.expiry == "":
		return authFailed("se is mandatory. Cannot be empty")
	case t.permissions == "":
		return authFailed("sp is mandatory. Cannot be empty")
	case t.encryptionScope != "":
		return authFailed("Encryption scopes (ses) are not offered by this server.")
	case t.protocol != "" && t.protocol != "https" && t.protocol != "https,http":
		return authFailed("spr is not valid: '%s'", t.protocol)
	}
	if t.isAccount() {
		return nil
	}
	if t.resource != "c" && t.resource != "b" {
		return authFailed("sr is mandatory and must be c or b on this server. Cannot be '%s'", t.resource)
	}
	return nil
}

func (t *sas) isAccount() bool    { return t.services != "" || t.resourceTypes != "" }
func (t *sas) isDelegation() bool { return t.key.oid != "" }

// authenticateSAS checks signature, times, address and protocol of the request's SAS.
func (c *call) authenticateSAS() (grant, error) {
	t, err := parseSAS(c.query)
	if err != nil {
		return grant{}, err
	}
	g := grant{kind: grantServiceSAS, permissions: t.permissions}
	keys := c.account.Keys
	var text func(account string) string // the string to sign
	switch {
	case t.isAccount():
		g.kind, g.resourceTypes = grantAccountSAS, t.resourceTypes
		text = t.accountString
	case c.container == "" || t.resource == "b" && c.blob == "":
		return grant{}, errAuthorization
	case t.isDelegation():
		g.kind, g.principal = grantDelegationSAS, t.key.oid
		keys = nil
		for _, k := range c.account.Keys {
			keys = append(keys, t.key.value(k))
		}
		text = func(account string) string {
			return t.delegationString(c.canonicalName(account, t.resource), c.r.Header, c.query)
		}
	default:
		text = func(account string) string { return t.serviceString(c.canonicalName(account, t.resource)) }
	}
	if !slices.ContainsFunc(c.account.spellings(), func(name string) bool { return signedByAny(keys, text(name), t.mac) }) {
		return grant{}, authFailed("Signature did not match. String to sign used was %s", text(c.account.Name))
	}
	if err := c.checkSAS(&t); err != nil {
		return grant{}, err
	}
	g.overrides = map[string]string{}
	for i, h := range overrideHeaders {
		if t.overrides[i] != "" {
			g.overrides[h] = t.overrides[i]
		}
	}
	return g, nil
}

// canonicalName is the resource a service SAS is bound to, with the account's name in one of its spellings.
func (c *call) canonicalName(account, resource string) string {
	name := "/blob/" + account + "/" + c.container
	if resource == "b" {
		name += "/" + c.blob
	}
	return name
}

// checkSAS applies the restrictions a verified signature carries.
func (c *call) checkSAS(t *sas) error {
	if err := timeFrame("Signature", t.start, t.expiry, c.now); err != nil {
		return err
	}
	if t.protocol == "https" && !c.s.cfg.Secure(c.r) {
		return refuse(403, "AuthorizationProtocolMismatch", "This request is not authorized to perform this operation using this protocol.")
	}
	if t.ip != "" && !addressAllowed(t.ip, c.r.RemoteAddr) {
		return refuse(403, "AuthorizationSourceIPMismatch", "This request is not authorized to perform this operation using this source IP.")
	}
	if t.isAccount() && !strings.Contains(t.services, "b") {
		return refuse(403, "AuthorizationServiceMismatch", "This request is not authorized to perform this operation using this service.")
	}
	if !t.isDelegation() {
		return nil
	}
	if t.key.service != "b" {
		return authFailed("sks must be b. Cannot be '%s'", t.key.service)
	}
	if err := timeFrame("User delegation key", t.key.start, t.key.expiry, c.now); err != nil {
		return err
	}
	if t.delegatedOID == "" {
		return nil
	}
	return c.checkDelegatedUser(t.delegatedOID)
}

// checkDelegatedUser: a SAS bound to a user is worth something only together with that user's token.
func (c *call) checkDelegatedUser(oid string) error {
	scheme, token, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return c.challenge("NoAuthenticationInformation", "the shared access signature is bound to a user, whose token is missing")
	}
	g, err := c.authenticateBearer(token)
	if err != nil {
		return err
	}
	if !strings.EqualFold(g.principal, oid) {
		return authFailed("The shared access signature is bound to another user than the one of the token.")
	}
	return nil
}

// timeFrame checks start (optional) <= now < expiry.
func timeFrame(what, start, expiry string, now time.Time) error {
	end, err := parseSASTime(expiry)
	if err != nil {
		return authFailed("%s expiry time '%s' is not well formed.", what, expiry)
	}
	begin, shown := time.Time{}, ""
	if start != "" {
		if begin, err = parseSASTime(start); err != nil {
			return authFailed("%s start time '%s' is not well formed.", what, start)
		}
		shown = begin.Format(http.TimeFormat)
	}
	if now.Before(begin) || !now.Before(end) {
		return authFailed("%s not valid in the specified time frame: Start [%s] - Expiry [%s] - Current [%s]", what, shown, end.Format(http.TimeFormat), now.UTC().Format(http.TimeFormat))
	}
	return nil
}

// parseSASTime reads the ISO 8601 forms that are allowed in st and se.
func parseSASTime(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04Z", "2006-01-02", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	_, err := time.Parse(time.RFC3339, s)
	return time.Time{}, err
}

// addressAllowed checks sip, "a" or "a-b" with both ends included, against a "host:port".
func addressAllowed(sip, remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	from, to, isRange := strings.Cut(sip, "-")
	if !isRange {
		to = from
	}
	lo, err1 := netip.ParseAddr(from)
	hi, err2 := netip.ParseAddr(to)
	if err1 != nil || err2 != nil {
		return false
	}
	at := ap.Addr().Unmap()
	return at.BitLen() == lo.BitLen() && at.Compare(lo) >= 0 && at.Compare(hi) <= 0
}
