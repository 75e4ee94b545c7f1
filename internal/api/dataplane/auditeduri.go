package dataplane

import (
	"net/http"
	"strings"
)

// auditedURI is the address of a request as it goes into the audit log. Of the query only what this package reads is
// kept with its value: anything else may be what a client put there by mistake, such as a SAS.
func auditedURI(r *http.Request) string {
	path, query := r.URL.EscapedPath(), r.URL.RawQuery
	if !strings.Contains(query, "&") && harmless(query) || query == "" {
		return join(r.Host, path, query)
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if !harmless(pair) {
			name, _, named := strings.Cut(pair, "=")
			if pair = "..."; named {
				pair = clip(name, 32) + "=..."
			}
		}
		kept = append(kept, pair)
	}
	return join(r.Host, path, strings.Join(kept, "&"))
}

// harmless tells of name=value in a query that its value may be recorded.
func harmless(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	switch name = unquery(name); {
	case strings.EqualFold(name, "api-version"), strings.EqualFold(name, "maxresults"), strings.EqualFold(name, "$filter"):
		return len(pair) <= 256
	}
	return false
}

// longestURI is how much of an address is recorded, bytes.
const longestURI = 2048

func join(host, path, query string) string {
	if query == "" {
		return clip("https://"+host+path, longestURI)
	}
	return clip("https://"+host+path+"?"+query, longestURI)
}
