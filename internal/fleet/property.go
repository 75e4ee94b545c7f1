package fleet

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxGroupName is Azure's limit. The group's name is in each audit entry of its HSMs.
const maxGroupName = 90

// check tells whether there can be such a resource.
func (r Resource) check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	switch {
	case r.Subscription == "" || r.ResourceGroup == "" || r.Location == "" || r.Tenant == "":
		return fmt.Errorf("%w: subscription, resource group, location and tenantId are required", ErrBadResource)
	case len(r.ResourceGroup) > maxGroupName:
		return fmt.Errorf("%w: the name of a resource group has at most %d characters", ErrBadResource, maxGroupName)
	case strings.ContainsFunc(r.ResourceGroup+r.Subscription, func(c rune) bool { return c == '/' || c < ' ' || c == 0x7f }):
		return fmt.Errorf("%w: the names of subscription and resource group have no slashes and no control characters", ErrBadResource)
	case r.RetentionDays < 7 || r.RetentionDays > 90:
		return fmt.Errorf("%w: softDeleteRetentionInDays is 7 to 90, got %d", ErrBadResource, r.RetentionDays)
	case len(r.Admins) == 0:
		return fmt.Errorf("%w: initialAdminObjectIds must name at least one administrator", ErrBadResource)
	}
	if _, _, err := SKU(r.SKUName, r.SKUFamily); err != nil {
		return err
	}
	if err := checkLocation(r.Location); err != nil {
		return err
	}
	if err := checkTags(r.Tags); err != nil {
		return err
	}
	return r.checkNetwork()
}

// mayBecome tells whether an update may make n of r.
func (r Resource) mayBecome(n Resource) error {
	switch {
	case !strings.EqualFold(n.Location, r.Location):
		return fmt.Errorf("%w: '%s' is in location '%s' in resource group '%s' and cannot be created in location '%s'; choose another name", ErrElsewhere, r.Name, r.Location, r.ResourceGroup, n.Location)
	case n.ID != r.ID || !strings.EqualFold(n.Name, r.Name) || n.Tenant != r.Tenant:
		return fmt.Errorf("%w: name and tenantId are fixed at creation", ErrImmutable)
	case !strings.EqualFold(n.SKUName, r.SKUName) || !strings.EqualFold(n.SKUFamily, r.SKUFamily):
		return fmt.Errorf("%w: the SKU is fixed at creation (%s)", ErrImmutable, r.SKUName)
	case !sameAdmins(n.Admins, r.Admins):
		return fmt.Errorf("%w: initialAdminObjectIds are those of the creation; who administers the HSM now is decided by role assignments (az keyvault role assignment)", ErrImmutable)
	case n.RetentionDays != r.RetentionDays:
		return fmt.Errorf("%w: softDeleteRetentionInDays is fixed at creation (%d)", ErrImmutable, r.RetentionDays)
	case r.PurgeProtection && !n.PurgeProtection:
		return fmt.Errorf("%w: purge protection cannot be switched off", ErrImmutable)
	}
	return n.check()
}

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
