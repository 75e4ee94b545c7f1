package storage

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
)

// grant is what a verified credential allows.
type grant struct {
	kind          grantKind
	permissions   string // sp of a SAS
	resourceTypes string // srt of an account SAS
	principal     string // bearer token or user delegation SAS
	overrides     map[string]string
}

type grantKind int

const (
	grantNone grantKind = iota
	grantKey
	grantAccountSAS
	grantServiceSAS
	grantDelegationSAS
	grantBearer
)

// authorize verifies the credential and checks that it covers the operation.
func (c *call) authorize() error {
	if err := c.authenticateOnly(); err != nil {
		return err
	}
	return c.permit()
}

// authenticateOnly verifies the credential of the request and fills c.grant.
func (c *call) authenticateOnly() error {
	header := c.r.Header.Get("Authorization")
	scheme, value, _ := strings.Cut(header, " ")
	var g grant
	var err error
	switch {
	// A user-bound delegation SAS comes together with the user's token; else the header decides.
	case c.query.Has("sig") && (header == "" || c.query.Has("sduoid")):
		g, err = c.authenticateSAS()
	case header == "":
		err = c.challenge("NoAuthenticationInformation", "")
	case strings.EqualFold(scheme, "SharedKey"):
		g, err = c.authenticateSharedKey(value, false)
	case strings.EqualFold(scheme, "SharedKeyLite"):
		g, err = c.authenticateSharedKey(value, true)
	case strings.EqualFold(scheme, "Bearer"):
		g, err = c.authenticateBearer(value)
	default:
		err = refuse(400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format. Check the value of Authorization header.")
	}
	c.grant = g
	return err
}

// permit decides whether c.grant covers c.op.
func (c *call) permit() error {
	op, g := c.op, c.grant
	if op.anyCredential {
		return nil
	}
	if op.bearerOnly && g.kind != grantBearer {
		return authFailed("Only authentication scheme Bearer is supported")
	}
	switch g.kind {
	case grantKey:
		return nil
	case grantAccountSAS:
		if op.accountSAS == "" {
			return errAuthorization
		}
		if !strings.Contains(g.resourceTypes, string(rune(op.level))) {
			return refuse(403, "AuthorizationResourceTypeMismatch", "This request is not authorized to perform this operation using this resource type.")
		}
		if !strings.ContainsAny(g.permissions, op.accountSAS) {
			return errPermission
		}
		return nil
	case grantServiceSAS, grantDelegationSAS:
		if op.serviceSAS == "" {
			return errAuthorization
		}
		if !strings.ContainsAny(g.permissions, op.serviceSAS) {
			return errPermission
		}
		if g.kind == grantDelegationSAS && !c.mayData() {
			return errPermission
		}
		return nil
	case grantBearer:
		if !c.mayData() {
			return errPermission
		}
		return nil
	default:
		return errAuthorization
	}
}

func (c *call) mayData() bool {
	return c.s.cfg.Authorizer.MayData(c.grant.principal, c.account.Name, c.container, c.op.write)
}

// createOnly reports that the credential may make a blob but not replace one.
func (c *call) createOnly() bool {
	switch c.grant.kind {
	case grantAccountSAS, grantServiceSAS, grantDelegationSAS:
		return c.op.createOrReplace && !strings.Contains(c.grant.permissions, "w")
	default:
		return false
	}
}

// sign is HMAC-SHA256, the one algorithm of all Azure Storage signatures.
func sign(key []byte, message string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

// signedByAny compares in constant time and looks at every key.
func signedByAny(keys [][]byte, message string, mac []byte) bool {
	ok := false
	for _, k := range keys {
		if len(k) > 0 && hmac.Equal(sign(k, message), mac) {
			ok = true
		}
	}
	return ok
}
