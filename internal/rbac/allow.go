package rbac

import (
	"fmt"
	"strings"

	"redoubt/internal/key"
)

// Scope is where an assignment holds: "/", "/keys" or "/keys/{name}". The zero value is invalid.
// A key scope keeps the letter case it was given and is compared without regard to it.
type Scope string

// The scopes above single keys.
const (
	ScopeRoot Scope = "/"
	ScopeKeys Scope = "/keys"
)

// KeyScope is the scope of one key with all its versions.
func KeyScope(n key.Name) Scope { return ScopeKeys + "/" + Scope(n) }

// ParseScope accepts the forms clients send: with or without a leading slash, doubled and trailing slashes.
func ParseScope(s string) (Scope, error) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '/' })
	switch {
	case len(parts) == 0:
		return ScopeRoot, nil
	case len(parts) == 1 && strings.EqualFold(parts[0], "keys"):
		return ScopeKeys, nil
	case len(parts) == 2 && strings.EqualFold(parts[0], "keys"):
		n, err := key.ParseName(parts[1])
		if err != nil {
			return "", fmt.Errorf("%w: scope %q: %v", ErrBadAssignment, s, err)
		}
		return KeyScope(n), nil
	}
	return "", fmt.Errorf("%w: scope %q; use /, /keys or /keys/{name}", ErrBadAssignment, s)
}

func (s Scope) fold() Scope { return Scope(strings.ToLower(string(s))) }

// Contains tells whether an assignment at s also holds at t.
func (s Scope) Contains(t Scope) bool {
	return s.fold().covers(t.fold())
}

// Equal compares without regard to letter case.
func (s Scope) Equal(t Scope) bool { return s.fold() == t.fold() }

// Assignment gives one principal (or group) one role at one scope.
type Assignment struct {
	ID         string       `json:"id"` // GUID, lower-case
	Scope      Scope        `json:"scope"`
	Principal  string       `json:"principal"` // object id, lower-case GUID
	Definition DefinitionID `json:"definition"`
}

// WireID is the assignment's id as clients know it; it has a leading slash.
func (a Assignment) WireID() string {
	scope := string(a.Scope)
	if a.Scope == ScopeRoot {
		scope = ""
	}
	return scope + "/providers/Microsoft.Authorization/roleAssignments/" + a.ID
}

// Denied is the error of a refused request. Its text begins with the service's own words.
type Denied struct {
	Action Action
	Scope  Scope
	// GroupsLost is the principal's: roles of groups that did not count may have been what is missing.
	GroupsLost string
}

func (d *Denied) Error() string {
	text := fmt.Sprintf("Not authorized to access %s on %s; ask a Managed HSM Administrator or Policy Administrator to assign %q at %s", d.Action, d.Scope, narrowest(d.Action), d.Scope)
	if d.GroupsLost != "" {
		text += ". Roles of groups may not have counted: " + d.GroupsLost
	}
	return text
}

// Unwrap makes errors.Is(err, ErrDenied) hold.
func (d *Denied) Unwrap() error { return ErrDenied }

// looks are the actions that change nothing and give out no plaintext.
var looks = SetOf(KeysRead, DeletedKeysRead, RoleAssignmentsRead, RoleDefinitionsRead, DomainDownloadRead, DomainUploadRead, BackupStatus, RestoreStatus)

// narrowest names the built-in role that grants a and least else, where an action that only looks counts for half.
// Custom roles are not named: whoever is refused may not be one to see them.
func narrowest(a Action) string {
	best, size := "", 1<<10
	for i, s := range builtInGrants {
		if n := 2*s.size() - (s & looks).size(); s.Has(a) && n < size {
			best, size = builtIns[i].Name, n
		}
	}
	return best
}

// builtInGrants is what each of builtIns gives.
var builtInGrants = func() []Set {
	var out []Set
	for _, d := range builtIns {
		s, err := d.Grants()
		if err != nil {
			panic(err) // they are made from sets
		}
		out = append(out, s)
	}
	return out
}()
