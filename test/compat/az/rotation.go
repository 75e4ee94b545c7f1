package main

import (
	"os"
	"slices"
	"strings"
	"time"
)

// policy is what az prints of a rotation policy.
type policy struct {
	ID, ExpiresIn   string
	LifetimeActions []struct {
		Action                            string
		TimeAfterCreate, TimeBeforeExpiry string
	}
}

// rotation is rotation-policy show and update, and rotate.
func (s *session) rotation() {
	n := s.name("rotate")
	var first, second bundle
	s.key(&first, "create", "--name", n, "--kty", "EC-HSM", "--curve", "P-384")
	file := s.file("policy.json")
	fatal(os.WriteFile(file, []byte(`{"lifetimeActions": [{"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Rotate"}}], "attributes": {"expiryTime": "P90D"}}`), 0o600))
	var set, shown policy
	s.key(&set, "rotation-policy update", "--name", n, "--value", file)
	s.key(&shown, "rotation-policy show", "--name", n)
	for _, p := range []policy{set, shown} {
		want(p.ExpiresIn == "P90D" && len(p.LifetimeActions) == 1 && p.LifetimeActions[0].TimeBeforeExpiry == "P30D" && strings.EqualFold(p.LifetimeActions[0].Action, "rotate"),
			"the rotation policy is %+v", p)
		equal(p.ID, env("REDOUBT_HSM_URL")+"/keys/"+n+"/rotationpolicy", "id of a rotation policy")
	}
	s.key(&second, "rotate", "--name", n)
	want(second.Key.Kid != first.Key.Kid && second.Key.Crv == "P-384" && !slices.Equal(second.Key.X, first.Key.X), "rotated %+v to %+v", first.Key, second.Key)
	expires := time.Until(*second.Attributes.Expires)
	want(expires > 89*24*time.Hour && expires < 91*24*time.Hour, "after a rotation the key expires %s", second.Attributes.Expires)
	var versions []item
	s.key(&versions, "list-versions", "--name", n)
	equal(len(versions), 2, "versions after a rotation")
	s.refusedKey("BadParameter", "rotation-policy update", "--name", n, "--value", `{"attributes": {"expiryTime": "P1D"}}`)
	step("a rotation policy set and shown; a key rotated")
}
