package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// controlHost is where the control plane's requests go. Those to a cloud of its own name are not recorded.
const controlHost = "management.azure.com"

// newestControl is the newest api-version whose documents of managed HSMs are there byte for byte. Later ones are judged
// by it: what they have more stands in allowed.
const newestControl = "2024-04-01-preview"

var (
	controlDocuments = []string{"2021-06-01-preview", "2021-10-01", "2021-11-01-preview", "2022-02-01-preview", "2022-07-01", "2022-11-01", "2023-02-01", "2023-07-01", newestControl}
	controlLater     = []string{"2024-11-01", "2024-12-01-preview", "2025-05-01", "2026-02-01", "2026-03-01-preview", "2026-04-01-preview", "2026-04-01"}
)

// ofHSMs are the paths of the control plane that the documents of managed HSMs have.
var ofHSMs = regexp.MustCompile(`(?i)/providers/Microsoft\.KeyVault/(managedHSMs|deletedManagedHSMs|checkMhsmNameAvailability|operations|locations/[^/]+/deletedManagedHSMs)(/|$)`)

// loadControl reads the documents of the control plane; dir has a folder for each api-version.
func loadControl(dir string) (documents, error) {
	out := documents{}
	for _, version := range controlDocuments {
		for _, name := range []string{"managedHsm", "keysManagedHsm", "providers"} {
			files, err := filepath.Glob(filepath.Join(dir, version, name+".json"))
			if err != nil {
				return nil, err
			}
			if len(files) == 0 && name != "keysManagedHsm" { // older versions have no keys
				return nil, fmt.Errorf("%w: want %s.json in %s, too", errNoDocuments, name, filepath.Join(dir, version))
			}
			for _, f := range files {
				doc, err := loadDocument(f)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", f, err)
				}
				out[version] = append(out[version], routesOf(name, doc)...)
			}
		}
		slices.SortFunc(out[version], func(a, b *route) int { return strings.Compare(literal(b.template), literal(a.template)) })
	}
	return out, nil
}

// controlExchange judges an answer of the control plane about managed HSMs. What clients send there is not judged: az
// sends numbers as strings.
func (j *judge) controlExchange(e exchange) {
	path := e.path()
	if !ofHSMs.MatchString(path) || strings.Count(strings.ToLower(path), "/providers/") > 1 || e.Status == http.StatusUnauthorized {
		return // of another provider, or of another provider's resource behind the HSM
	}
	query, err := e.query()
	if err != nil {
		j.found(e, e.Method+" "+e.Target, "the query is malformed: %v", err)
		return
	}
	version := query.Get("api-version")
	j.versions["control "+version]++
	if slices.Contains(controlLater, version) {
		version = newestControl
	}
	if _, known := j.control[version]; !known {
		if e.Status != http.StatusBadRequest {
			j.found(e, e.Method+" "+path, "api-version %q of the control plane is not known, and the answer is %d", version, e.Status)
		}
		return
	}
	r := j.control.find(version, e.Method, path)
	if r == nil {
		if e.Status != http.StatusNotFound && e.Status != http.StatusBadRequest { // as it must be for what came with a later version
			j.found(e, e.Method+" "+path, "there is no such operation of the control plane in %s", version)
		}
		return
	}
	j.asked[r.id()] = true
	j.response(e, version+" "+r.id(), r)
}

// compareControl asks a complete run for a request of every operation of the newest documents. Whether it can succeed does
// not matter: there are no private endpoints.
func (j *judge) compareControl() {
	for _, r := range j.control[newestControl] {
		if !j.asked[r.id()] {
			j.found(exchange{}, r.id(), "no program asked the control plane for it")
		}
	}
}
