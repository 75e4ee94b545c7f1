package fleet

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// skus are the names of the service's SKUs, with the family of each. They make no difference here; they are there
// so that what is read back is what was asked for.
var skus = []struct{ name, family string }{
	{"Standard_B1", "B"}, {"Custom_B6", "B"}, {"Custom_B32", "B"}, {"Custom_C10", "C"}, {"Custom_C42", "C"},
}

// SKU finds a SKU whatever its letter case, and returns name and family in the published one. An empty family is
// that of the name. ErrBadSKU: there is none of this name, or it is of another family.
func SKU(name, family string) (knownName, knownFamily string, err error) {
	var names []string
	for _, s := range skus {
		if strings.EqualFold(s.name, name) {
			if family != "" && !strings.EqualFold(s.family, family) {
				return "", "", fmt.Errorf("%w: %s is of family %s, not %q", ErrBadSKU, s.name, s.family, family)
			}
			return s.name, s.family, nil
		}
		names = append(names, s.name)
	}
	return "", "", fmt.Errorf("%w: %q; use one of %s", ErrBadSKU, name, strings.Join(names, ", "))
}

// The limits of tags are those that Azure publishes for resources.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
	notInTags   = `<>%&\?/`
)

// checkTags tells whether a resource can have these tags. Their names are unique whatever the letter case.
func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: a resource has at most %d tags, got %d", ErrBadResource, maxTags, len(tags))
	}
	seen := make(map[string]bool, len(tags))
	for name, value := range tags {
		lower := strings.ToLower(name)
		switch {
		case name == "" || utf8.RuneCountInString(name) > maxTagName:
			return fmt.Errorf("%w: a tag's name has 1 to %d characters", ErrBadResource, maxTagName)
		case strings.ContainsAny(name, notInTags) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return fmt.Errorf("%w: the tag name %q has control characters or one of %s", ErrBadResource, name, notInTags)
		case utf8.RuneCountInString(value) > maxTagValue:
			return fmt.Errorf("%w: the value of tag %q has more than %d characters", ErrBadResource, name, maxTagValue)
		case seen[lower]:
			return fmt.Errorf("%w: the tag %q is there twice in different letter case", ErrBadResource, name)
		}
		seen[lower] = true
	}
	return nil
}

// NormalLocation is a location as resources keep it: "West US 3" is "westus3".
func NormalLocation(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, " ", ""))
}

// checkLocation tells whether location, in its normal form, could be one. Any name will do: the server is wherever
// it stands.
func checkLocation(location string) error {
	odd := strings.ContainsFunc(location, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	if odd || len(location) > 64 {
		return fmt.Errorf("%w: location %q; use letters and digits, as in westus3", ErrBadResource, location)
	}
	return nil
}

// sameAdmins tells whether both lists name the same object ids.
func sameAdmins(a, b []string) bool {
	set := func(list []string) map[string]bool {
		m := make(map[string]bool, len(list))
		for _, id := range list {
			m[strings.ToLower(strings.TrimSpace(id))] = true
		}
		return m
	}
	of, other := set(a), set(b)
	for id := range of {
		if !other[id] {
			return false
		}
	}
	return len(of) == len(other)
}
