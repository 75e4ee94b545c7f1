package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
)

// filter is an OData filter on resources as clients write it: "a eq 'x' and b eq 'y' or c eq 'z'". One alternative
// must hold, and all its terms; no alternatives mean everything.
type filter [][]term

// term compares one property, without regard to letter case.
type term struct {
	property string // lower-case
	value    string
	not      bool
}

// filterable are the properties that a filter may name.
var filterable = []string{"resourcetype", "resourcegroup", "name", "location", "tagname", "tagvalue"}

// Bounds of a filter: it is held against every resource there is, tag by tag, while nobody can change any.
const (
	maxTerms  = 50
	maxFilter = 8 << 10 // bytes
)

// parseFilter reads $filter. What it does not understand is refused: everything would be the wrong answer.
func parseFilter(s string) (filter, error) {
	rest := strings.TrimSpace(s)
	if rest == "" {
		return nil, nil
	}
	all := []term{}
	var f filter
	for n := 1; ; n++ {
		if n > maxTerms || len(s) > maxFilter {
			return nil, &azhttp.Problem{Status: http.StatusBadRequest, Code: "InvalidFilterInQueryString", Message: fmt.Sprintf(
				"Invalid $filter in the query string: it has more than %d comparisons or %d bytes. Ask for fewer at a time, such as resourceType eq 'Microsoft.KeyVault/managedHSMs'.", maxTerms, maxFilter)}
		}
		t, behind, ok := nextTerm(rest)
		if !ok {
			return nil, &azhttp.Problem{Status: http.StatusBadRequest, Code: "InvalidFilterInQueryString", Message: "Invalid $filter '" + clip(s) +
				"' in the query string. Use comparisons such as resourceType eq 'Microsoft.KeyVault/managedHSMs' with resourceType, resourceGroup, name, location, tagName or tagValue, joined by 'and' and 'or'."}
		}
		all = append(all, t)
		word, after, _ := strings.Cut(behind, " ")
		switch rest = strings.TrimSpace(after); {
		case behind == "":
			return append(f, all), nil
		case strings.EqualFold(word, "or"):
			f, all = append(f, all), []term{}
		case !strings.EqualFold(word, "and"):
			rest = "" // no term: refused above
		}
	}
}

// nextTerm reads "property eq 'value'" from the beginning of s. In the value two quotes stand for one.
func nextTerm(s string) (t term, rest string, ok bool) {
	property, s, _ := strings.Cut(s, " ")
	op, s, _ := strings.Cut(strings.TrimSpace(s), " ")
	t = term{property: strings.ToLower(property), not: strings.EqualFold(op, "ne")}
	s = strings.TrimSpace(s)
	if !slices.Contains(filterable, t.property) || !t.not && !strings.EqualFold(op, "eq") || !strings.HasPrefix(s, "'") {
		return t, "", false
	}
	for s = s[1:]; ; {
		part, behind, closed := strings.Cut(s, "'")
		if !closed {
			return t, "", false
		}
		t.value += part
		if !strings.HasPrefix(behind, "'") {
			return t, strings.TrimSpace(behind), true
		}
		t.value += "'"
		s = behind[1:]
	}
}

// holds tells whether a resource is one of those that the filter asks for.
func (f filter) holds(r *genericResource) bool {
	return len(f) == 0 || slices.ContainsFunc(f, func(all []term) bool {
		return !slices.ContainsFunc(all, func(t term) bool { return t.holds(r, all) == t.not })
	})
}

// holds compares; a tag's value is that of the tag which the same alternative names.
func (t term) holds(r *genericResource, all []term) bool {
	switch t.property {
	case "resourcetype":
		return strings.EqualFold(r.Type, t.value)
	case "resourcegroup":
		return strings.EqualFold(r.group, t.value)
	case "name":
		return strings.EqualFold(r.Name, t.value)
	case "location":
		return strings.EqualFold(r.Location, t.value)
	}
	for name, value := range r.Tags {
		named := !slices.ContainsFunc(all, func(o term) bool { return o.property == "tagname" && !strings.EqualFold(o.value, name) })
		if t.property == "tagname" && strings.EqualFold(name, t.value) || t.property == "tagvalue" && named && value == t.value {
			return true
		}
	}
	return false
}
