package identity

import (
	"errors"
	"strings"
)

var (
	errNoScope   = errors.New("the request names no resource")
	errTwoScopes = errors.New("the request names more than one resource; ask for one token per resource")
	errLongScope = errors.New("the scope is too long")
)

const maxScope = 4096

// scopes is a parsed scope parameter.
type scopes struct {
	resource string // the audience, as the client wrote it; empty when only OpenID scopes were asked for
	openID   bool   // openid: an id_token is wanted
	offline  bool   // offline_access: a refresh token is wanted
}

// parseScope reads the v2 parameter "scope": words separated by spaces, of which the OpenID ones say what else
// to return and the others must agree on one resource.
//
//	https://managedhsm.azure.net/.default            audience https://managedhsm.azure.net
//	https://management.core.windows.net//.default    audience https://management.core.windows.net/
//	https://graph.microsoft.com/User.Read            audience https://graph.microsoft.com
//	https://managedhsm.azure.net                     the same as a bare resource
//	00000003-0000-0000-c000-000000000000/.default    an application id
//
// The double slash is what clients make of a resource that ends in one.
func parseScope(scope string) (scopes, error) {
	var out scopes
	if len(scope) > maxScope {
		return out, errLongScope
	}
	for _, word := range strings.Fields(scope) {
		switch word {
		case "openid":
			out.openID = true
			continue
		case "offline_access":
			out.offline = true
			continue
		case "profile", "email":
			continue
		}
		r := resourceOf(word)
		if out.resource != "" && !sameResource(out.resource, r) {
			return out, errTwoScopes
		}
		if out.resource == "" {
			out.resource = r
		}
	}
	if out.resource == "" && !out.openID && !out.offline {
		return out, errNoScope
	}
	return out, nil
}

func sameResource(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// resourceOf cuts the permission's name off a scope.
func resourceOf(scope string) string {
	if r, ok := strings.CutSuffix(scope, "/.default"); ok {
		return r
	}
	_, rest, isURL := strings.Cut(scope, "://")
	if !isURL {
		rest = scope
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 || i == len(rest)-1 { // no permission: a bare resource
		return scope
	}
	return scope[:len(scope)-len(rest)+i]
}
