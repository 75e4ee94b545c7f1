package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

// newest is the newest stable api-version: its keys document tells which operations there must be.
const newest = "2026-04-01"

// claimed are the api-versions that Redoubt answers, oldest first.
var claimed = []string{"7.2-preview", "7.2", "7.3-preview", "7.3", "7.4-preview.1", "7.4", "7.5-preview.1", "7.5", "7.6-preview.1", "7.6-preview.2", "7.6",
	"2025-06-01-preview", "2025-07-01", "2026-01-01-preview", "2026-03-01-preview", newest, "2026-05-01-preview", "2026-07-01-preview"}

// route is one operation of one document.
type route struct {
	document string // keys, rbac, …
	method   string
	template string // as in the document
	pattern  *regexp.Regexp
	op       *openapi3.Operation
	params   openapi3.Parameters // those of the path and of the operation
}

// id is how the device's operation table names the route.
func (r *route) id() string { return r.method + " " + r.template }

// documents are the routes of each api-version, the most literal ones first.
type documents map[string][]*route

var errNoDocuments = errors.New("the OpenAPI documents of Managed HSM's data plane are not there")

func loadDocuments(dir string) (documents, error) {
	out := documents{}
	for _, version := range claimed {
		files, err := filepath.Glob(filepath.Join(dir, version, "*.json"))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%w: want %s/*.json; test/compat/README.md tells where they come from", errNoDocuments, filepath.Join(dir, version))
		}
		for _, f := range files {
			name := strings.TrimSuffix(filepath.Base(f), ".json")
			if name == "common" {
				continue
			}
			doc, err := loadDocument(f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			out[version] = append(out[version], routesOf(name, doc)...)
		}
		slices.SortFunc(out[version], func(a, b *route) int { return strings.Compare(literal(b.template), literal(a.template)) })
	}
	return out, nil
}

// literal sorts templates: those with words sort behind those with parameters in the same place.
func literal(template string) string { return strings.ReplaceAll(template, "{", "\x01") }

// loadDocument reads a Swagger 2.0 document with its common.json and converts it to OpenAPI 3.
func loadDocument(path string) (*openapi3.T, error) {
	raw, err := readObject(path)
	if err != nil {
		return nil, err
	}
	common, err := readObject(filepath.Join(filepath.Dir(path), "common.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, part := range []string{"definitions", "parameters"} {
		merge(raw, common, part)
	}
	clean(raw)
	b, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	var two openapi2.T
	if err := json.Unmarshal(b, &two); err != nil {
		return nil, err
	}
	return openapi2conv.ToV3(&two)
}

func readObject(path string) (map[string]any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(b, &out)
}

// merge copies a part of common into doc.
func merge(doc, common map[string]any, part string) {
	from, _ := common[part].(map[string]any)
	if len(from) == 0 {
		return
	}
	to, _ := doc[part].(map[string]any)
	if to == nil {
		to = map[string]any{}
		doc[part] = to
	}
	maps.Copy(to, from)
}

// clean makes references to common.json local, opens enumerations that are modelled as strings (a client must take
// values it does not know), and drops examples, which lie in files of their own.
func clean(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "x-ms-examples")
		if ref, ok := v["$ref"].(string); ok {
			v["$ref"] = strings.TrimPrefix(ref, "common.json")
			if strings.HasPrefix(ref, "..") { // to types of all of Azure, which are not there: anything will do
				delete(v, "$ref")
				v["additionalProperties"] = true
			}
		}
		if e, ok := v["x-ms-enum"].(map[string]any); ok && e["modelAsString"] == true {
			delete(v, "enum")
		}
		for _, child := range v {
			clean(child)
		}
	case []any:
		for _, child := range v {
			clean(child)
		}
	}
}

func routesOf(name string, doc *openapi3.T) (out []*route) {
	for template, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			out = append(out, &route{document: name, method: method, template: template, pattern: pattern(template), op: op,
				params: append(slices.Clone(item.Parameters), op.Parameters...)})
		}
	}
	return out
}

// pattern matches the paths of a template as clients send them: a key's version may be empty or left out, a scope may
// hold slashes or be left out, a slash may stand at the end, and letter case does not count.
func pattern(template string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?i)^")
	rest := template
	for rest != "" {
		before, after, found := strings.Cut(rest, "{")
		parameter, next, _ := strings.Cut(after, "}")
		switch {
		case !found:
			b.WriteString(regexp.QuoteMeta(before))
		case parameter == "key-version":
			b.WriteString(regexp.QuoteMeta(strings.TrimSuffix(before, "/")) + "(?:/[^/]*)?")
		case parameter == "scope":
			b.WriteString(regexp.QuoteMeta(strings.TrimSuffix(before, "/")) + "(?:/.*)?")
		default:
			b.WriteString(regexp.QuoteMeta(before) + "[^/]+")
		}
		rest = next
	}
	return regexp.MustCompile(b.String() + "/?$")
}

// find returns the route of a request, or nil.
func (d documents) find(version, method, path string) *route {
	for _, r := range d[version] {
		if r.method == method && r.pattern.MatchString(path) {
			return r
		}
	}
	return nil
}
