package main

import (
	"slices"
	"strings"
)

// allowed are members of answers that the document of an api-version does not have, and why they are there all the
// same. The key is "member" or "operation member", as the oracle prints them.
var allowed = map[string]string{}

// nullable are optional members that the service sends as null, which the documents' version of OpenAPI cannot say.
var nullable = []string{
	"nextLink",   // of the last page
	"innererror", // of errors without one
}

// dropNulls removes those members where they are null.
func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			if child == nil && slices.Contains(nullable, name) {
				delete(v, name)
			}
			dropNulls(child)
		}
	case []any:
		for _, child := range v {
			dropNulls(child)
		}
	}
}

// allow returns the reason for which a member may be there, or "".
func (j *judge) allow(where, member string) string {
	for _, k := range []string{member, where + " " + member} {
		if reason := allowed[k]; reason != "" {
			delete(j.unused, k)
			return reason
		}
	}
	if strings.HasPrefix(member, "error.innererror") { // nests at will
		return "the envelope nests"
	}
	return ""
}
