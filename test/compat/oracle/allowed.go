package main

import "strings"

// allowed are members of answers that the document of an api-version does not have, and why they are there all the
// same. The key is "member" or "operation member", as the oracle prints them.
var allowed = map[string]string{}

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
