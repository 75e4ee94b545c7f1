// Package rbac is the HSM's own access control: principals, scopes, data actions, role definitions and
// assignments, as Managed HSM's local RBAC has them. It is pure: deciding is a function of a compiled
// table, with no I/O and no clock.
//
// The control plane's access control is another matter (package cloud): owning the Azure resource gives
// no right to any key.
package rbac

// Principal is who calls: always passed as a parameter, never through a context.
type Principal struct {
	ID     string // object id, lower-case GUID
	Tenant string // tenant id, lower-case GUID
	AppID  string // application id for service principals and managed identities, else empty
	UPN    string // user principal name, else empty
	// Groups are the object ids of groups, lower-case. The list is not changed once a Principal has it: tables
	// remember what it comes to.
	Groups []string
	// GroupsLost says why groups of the principal may be missing from Groups, or is empty: they are all there. A
	// refusal repeats it, so that nobody has fewer rights without a word.
	GroupsLost string
}
