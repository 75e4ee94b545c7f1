package main

import (
	"slices"
	"strings"
)

// allowed are members of answers that the document of an api-version does not have, and why they are there all the
// same. The key is the end of the member's path.
var allowed = map[string]string{
	"useManagedIdentity":      "of requests: the libraries send it to api-versions before 7.5-preview.1 as well",
	"attributes.exportable":   "recordings of the service have it in every answer; the documents, since 7.3-preview",
	"error.innererror":        "the control plane's errors about keys keep the data plane's inner code; its other errors may have one, too",
	"networkAcls.serviceTags": "in the control plane's documents since 2025-05-01; clients that do not know it take no notice",
}

// nullable are optional members that the service sends as null, which the documents' version of OpenAPI cannot say.
var nullable = []string{
	"nextLink",                                                          // of the last page
	"innererror",                                                        // of errors without one
	"error", "statusDetails", "endTime", "azureStorageBlobContainerUri", // of jobs: recordings have them all, always
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
func (j *judge) allow(member string) string {
	for end, reason := range allowed {
		if member == end || strings.HasSuffix(member, "."+end) {
			delete(j.unused, end)
			return reason
		}
	}
	if strings.HasPrefix(member, "error.innererror.") {
		return "the envelope nests"
	}
	return ""
}
