package authn

import (
	"crypto/sha1"
	"fmt"
	"strings"
)

// MaxGroups is how many groups of a principal count. Entra ID puts at most 200 into a token.
const MaxGroups = 256

// namespaceURL is RFC 9562's namespace of names that are URLs (section 6.6).
var namespaceURL = [16]byte{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}

// GroupID is the object id of a group that an issuer knows by name only: the name-based UUID (RFC 9562, version 5)
// of the name in the namespace that is the UUID of the issuer's URL in the namespace of URLs. Names are compared
// byte for byte. Whoever renames a group makes another one of it.
func GroupID(issuer, name string) string {
	b := nameUUID(nameUUID(namespaceURL, issuer), name)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// nameUUID is version 5 of RFC 9562. SHA-1 is what that format has. Nothing is gained by making two names collide:
// who can name groups at an issuer can name one as another is named.
func nameUUID(space [16]byte, name string) (out [16]byte) {
	sum := sha1.Sum(append(space[:], name...))
	copy(out[:], sum[:])
	out[6], out[8] = out[6]&0x0f|0x50, out[8]&0x3f|0x80
	return out
}

// groupsOf are the object ids of a token's groups, each once, and why some of them may be missing.
func groupsOf(c claims, is Issuer) (ids []string, lost string) {
	if len(c.Groups) > MaxGroups {
		return nil, fmt.Sprintf("the token lists %d groups, and more than %d do not count; have the issuer put only groups into it that have roles here", len(c.Groups), MaxGroups)
	}
	if c.MoreGroups {
		lost = "the token does not list the groups of its principal, because they are too many for it (groups overage); have the issuer emit only groups that are assigned to the application"
	}
	seen := make(map[string]bool, len(c.Groups))
	for _, g := range c.Groups {
		if is.GroupNames {
			g = GroupID(is.URL, g)
		} else if g = strings.ToLower(g); !isGUID(g) {
			lost = "the token gives groups that are not object ids; where an issuer names groups, its configuration here needs group-names"
			continue
		}
		if !seen[g] {
			seen[g] = true
			ids = append(ids, g)
		}
	}
	return ids, lost
}
