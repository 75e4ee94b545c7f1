package dataplane

import (
	"slices"
	"strings"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

// versions are the api-versions of the data plane, oldest first (rest-api 0.1). Versions older than Managed
// HSM itself come first: az before 2.46 asks for keys with them, and they have what 7.2 has.
var versions = []string{
	"7.0-preview", "7.0", "7.1-preview", "7.1",
	"7.2-preview", "7.2", "7.3-preview", "7.3", "7.4-preview.1", "7.4", "7.5-preview.1", "7.5",
	"7.6-preview.1", "7.6-preview.2", "7.6", "2025-06-01-preview", "2025-07-01",
	"2026-01-01-preview", "2026-03-01-preview", "2026-04-01", "2026-05-01-preview", "2026-07-01-preview",
}

// apiVersion is a place in the list.
type apiVersion int

// The versions that brought new members.
var (
	firstVersion = rank("7.2-preview")
	sinceHSM     = rank("7.5-preview.1")      // attributes.hsmPlatform
	sinceKeySize = rank("2026-01-01-preview") // attributes.key_size
	// secureunwrapkey needs applicationTrustedIssuer
	sinceTrustedIssuer = rank("2026-07-01-preview")
	newestVersion      = apiVersion(len(versions) - 1)
	versionsByName     = func() map[string]apiVersion {
		m := make(map[string]apiVersion, len(versions))
		for i, name := range versions {
			m[name] = apiVersion(i)
		}
		return m
	}()
)

// rank finds a version that must be in the list.
func rank(name string) apiVersion {
	i := slices.Index(versions, name)
	if i < 0 {
		panic("dataplane: no api-version " + name)
	}
	return apiVersion(i)
}

// has tells whether what came with since is there for a client that asks for v. Versions from before Managed
// HSM count as its first.
func (v apiVersion) has(since apiVersion) bool { return since <= max(v, firstVersion) }

func (v apiVersion) String() string { return versions[v] }

// askedVersion reads api-version from a query. A poll may go without: the address of a long-running
// operation has none, and clients send it back as it is.
func askedVersion(query string, poll bool) (apiVersion, error) {
	name, found := "", false
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(azhttp.Unquery(k), "api-version") {
			continue
		}
		if v = azhttp.Unquery(v); found && v != name {
			return 0, badVersion("InvalidApiVersionParameter", "The api-version is given twice, as '"+azhttp.Clip(name, 32)+"' and as '"+azhttp.Clip(v, 32)+"'.")
		}
		name, found = v, true
	}
	if name == "" {
		if poll {
			return newestVersion, nil
		}
		return 0, badVersion("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	v, known := versionsByName[name]
	if !known {
		return 0, badVersion("InvalidApiVersionParameter", "The api-version '"+azhttp.Clip(name, 32)+"' is invalid.")
	}
	return v, nil
}

// badVersion says what there is, the newest first.
func badVersion(inner, message string) error {
	names := slices.Clone(versions[firstVersion:])
	slices.Reverse(names)
	p := azhttp.Bad(message + " The supported versions are '" + strings.Join(names, ",") + "'.")
	p.Inner = inner
	return p
}

// unquery undoes the escapes of one part of a query; nearly none has any.
// target is what a request is routed to.
type target struct {
	op      hsm.Operation
	handle  handler
	since   apiVersion
	poll    bool
	manages bool // not the keys but the HSM
}

// targetOf makes the target of a route. Since when there is an operation behind it stands in the operation
// table, where the version of a key has a segment that may be left out.
func targetOf(r route) target {
	first, _, _ := strings.Cut(r.pattern, "/")
	out := target{handle: r.handle, poll: strings.HasSuffix(r.pattern, "/pending"), manages: first != "keys" && first != "deletedkeys" && first != "rng"}
	want := shapeOf(r.method + " /" + r.pattern)
	for i, row := range hsm.Table() {
		if shapeOf(row.Route) == want || shapeOf(strings.Replace(row.Route, "/{key-version}", "", 1)) == want {
			out.op, out.since = hsm.Operation(i+1), rank(row.Since)
			return out
		}
	}
	panic("dataplane: no operation of the table has the route " + want)
}

// shapeOf is a route without the names of its parameters.
func shapeOf(route string) string {
	segs := strings.Split(route, "/")
	for i, s := range segs {
		if strings.HasPrefix(s, "{") {
			segs[i] = "{}"
		}
	}
	return strings.Join(segs, "/")
}
