package arm

import (
	"encoding/json"
	"fmt"
	"strings"

	"redoubt/internal/fleet"
	"redoubt/internal/netrule"
)

// applyNetwork puts the network rules of a body into r. Members of networkAcls that are left out stay as they are,
// with PUT as with PATCH: clients of older versions do not send what they do not know, and no rule is to go that way.
func applyNetwork(publicAccess string, acls json.RawMessage, r *fleet.Resource) error {
	if publicAccess != "" {
		access, err := netrule.PublicAccess(publicAccess)
		if err != nil {
			return badNetwork(err)
		}
		r.PublicAccess = access
	}
	if len(acls) == 0 || string(acls) == "null" {
		return nil
	}
	was, err := netrule.Parse(netrule.Set{}, storedACLs(*r))
	if err != nil {
		was = netrule.Set{} // set anew as a whole
	}
	set, err := netrule.Parse(was, acls)
	if err != nil {
		return badNetwork(err)
	}
	r.NetworkACLs, err = json.Marshal(set)
	return err
}

func badNetwork(err error) error {
	return fmt.Errorf("%w: %s", fleet.ErrBadResource, strings.TrimPrefix(err.Error(), netrule.ErrBad.Error()+": "))
}

func storedACLs(r fleet.Resource) []byte {
	if r.NetworkACLs == nil {
		return []byte("{}")
	}
	return r.NetworkACLs
}

// shownACLs are the network rules as answers have them, with all their members.
func shownACLs(r fleet.Resource) json.RawMessage {
	set, err := netrule.Parse(netrule.Set{}, storedACLs(r))
	if err != nil {
		return r.NetworkACLs
	}
	b, err := json.Marshal(set)
	if err != nil {
		return r.NetworkACLs
	}
	return b
}
