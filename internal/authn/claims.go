package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// ClaimNames says which claims of an issuer's tokens hold what. An empty name is that of Entra ID's tokens, or
// what plain OpenID Connect has in its place.
type ClaimNames struct {
	ObjectID    string // "oid", and with SubjectIsID "sub" where there is none
	Tenant      string // "tid"
	Groups      string // "groups": a list of strings, or one
	UserName    string // the first of "upn", "unique_name" and "preferred_username"
	DisplayName string // "name"
	// AppID, when set, is a claim that only programs' tokens have. Otherwise "idtyp" tells programs from people,
	// or, without it, that there is no user name; and the application id is the first of "appid" and "azp".
	AppID string
}

// complete puts names in the place of empty ones, and refuses those that mean something else.
func (n ClaimNames) complete() (ClaimNames, error) {
	for _, s := range []string{n.ObjectID, n.Tenant, n.Groups, n.UserName, n.DisplayName, n.AppID} {
		if slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "typ"}, s) || len(s) > 200 {
			return n, fmt.Errorf("authn: %q is not the name of a claim about who acts", printable(s))
		}
	}
	n.Tenant, n.Groups, n.DisplayName = firstOf(n.Tenant, "tid"), firstOf(n.Groups, "groups"), firstOf(n.DisplayName, "name")
	return n, nil
}

// claims are what a token says, as far as it matters here.
type claims struct {
	Issuer      string
	Audience    texts
	Expires     unix
	NotBefore   unix
	Type        string
	Tenant      string
	ObjectID    string
	UserName    string
	DisplayName string
	AppID       string
	App         bool
	Groups      texts
	MoreGroups  bool // the issuer has left groups out of the token
	ForClient   bool // it is an ID token of Entra ID
	Bound       bool // whoever shows it has to prove that they have a key
}

// parseClaims reads claims by the names that an issuer gives them.
func parseClaims(payload []byte, n ClaimNames, subjectIsID bool) (c claims, err error) {
	m, err := readMembers(payload)
	if err != nil {
		return claims{}, unreadable(err)
	}
	object := []string{firstOf(n.ObjectID, "oid")}
	if n.ObjectID == "" && subjectIsID {
		object = append(object, "sub")
	}
	user := []string{n.UserName}
	if n.UserName == "" {
		user = []string{"upn", "unique_name", "preferred_username"}
	}
	for _, r := range []struct {
		into  *string
		names []string
	}{{&c.Issuer, []string{"iss"}}, {&c.Type, []string{"typ"}}, {&c.Tenant, []string{n.Tenant}}, {&c.ObjectID, object}, {&c.UserName, user}, {&c.DisplayName, []string{n.DisplayName}}} {
		if *r.into, err = m.text(r.names...); err != nil {
			return claims{}, unreadable(err)
		}
	}
	more := m.groupsElsewhere(n.Groups)
	err = errors.Join(m.read("aud", &c.Audience), m.read("exp", &c.Expires), m.read("nbf", &c.NotBefore), m.read(n.Groups, &c.Groups), c.readApp(m, n.AppID))
	if err != nil {
		return claims{}, unreadable(err)
	}
	c.MoreGroups = more
	c.Bound = m.has("cnf") // RFC 7800: of DPoP, of mutual TLS (RFC 8705), of Entra ID's PoP tokens
	c.ForClient, err = m.entraIDToken()
	return c, err
}

// entraIDToken tells ID tokens of Entra ID from its access tokens, which no "typ" does: only access tokens name the client
// that they were given to, in "azp" or, of version 1, in "appid" ("idtyp" is in access tokens only, too). The audience of
// both may be an application's id.
func (m members) entraIDToken() (bool, error) {
	var version any
	if err := m.read("ver", &version); err != nil {
		return false, unreadable(err)
	}
	return version == "2.0" && !m.has("azp") || version == "1.0" && !m.has("appid") && !m.has("idtyp"), nil
}

// has tells whether there is a member, and not null.
func (m members) has(name string) bool {
	b, ok := m[name]
	return ok && string(b) != "null"
}

// readApp tells programs from people.
func (c *claims) readApp(m members, name string) (err error) {
	if name != "" {
		c.AppID, err = m.text(name)
		c.App = c.AppID != ""
		return err
	}
	kind, err := m.text("idtyp")
	if err != nil {
		return err
	}
	if c.App = kind == "app" || kind == "" && c.UserName == ""; c.App {
		c.AppID, err = m.text("appid", "azp")
	}
	return err
}

// groupsElsewhere tells whether the issuer has put a link in the place of groups that are too many for a token, as
// Entra ID does: "_claim_names" names the claims that are elsewhere (OpenID Connect Core 1.0, 5.6.2), "hasgroups"
// stands for the same where there is no room for that.
func (m members) groupsElsewhere(groups string) bool {
	if b, ok := m["hasgroups"]; ok && string(b) != "false" && string(b) != "null" {
		return true
	}
	var elsewhere map[string]json.RawMessage
	if json.Unmarshal(m["_claim_names"], &elsewhere) != nil {
		return false
	}
	_, ok := elsewhere[groups]
	return ok
}

// members are those of a JSON object, by their exact names. Names in JWTs are case-sensitive (RFC 7519, section 4),
// which encoding/json is not: to it a claim "OID", which an issuer may let a user choose, would do for "oid".
type members map[string]json.RawMessage

// readMembers reads an object of which no name occurs twice, and nothing else.
func readMembers(b []byte) (members, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	m := make(members)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("%q occurs twice", printable(name))
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		m[name] = v
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return m, nil
}

// text is the first of these members that is a string and not empty. One that is no string is an error.
func (m members) text(names ...string) (s string, err error) {
	for _, n := range names {
		if err := m.read(n, &s); err != nil {
			return "", err
		}
		if s != "" {
			return s, nil
		}
	}
	return "", nil
}

// read decodes a member, if it is there.
func (m members) read(name string, into any) error {
	b, ok := m[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%q is of another kind", printable(name))
	}
	return nil
}

func unreadable(err error) error {
	return fmt.Errorf("%w: its claims cannot be read: %v", ErrBadToken, err)
}

// texts is a string or a list of strings (RFC 7519, 4.1.3).
type texts []string

func (a *texts) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*a = texts{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("neither a string nor a list of strings")
	}
	*a = many
	return nil
}

// unix is a NumericDate (RFC 7519, 2) cut to whole seconds.
type unix int64

func (u *unix) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 1<<40 {
		return errors.New("not a time")
	}
	*u = unix(f)
	return nil
}

func (u unix) time() time.Time { return time.Unix(int64(u), 0) }
