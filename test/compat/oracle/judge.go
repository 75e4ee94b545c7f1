package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// judge collects what is wrong with a recording, and who exercised what.
type judge struct {
	docs  documents
	table []operation

	control documents         // of the control plane; nil: it is not judged
	asked   map[string]bool   // operations of the control plane
	names   map[string]string // of operations, by route

	count     int                        // exchanges
	versions  map[string]int             // exchanges of each api-version
	used      map[string]bool            // api-versions with a request that went well
	findings  map[string]*finding        // by text
	exercised map[string]map[string]bool // programs, by operation name; successful requests count
	unused    map[string]bool            // entries of allowed that nothing needed
}

// finding is one thing that is wrong, however often it was seen.
type finding struct {
	text    string
	times   int
	example exchange
}

func newJudge(docs documents, table []operation) *judge {
	j := &judge{docs: docs, table: table, names: map[string]string{}, versions: map[string]int{}, used: map[string]bool{}, findings: map[string]*finding{}, exercised: map[string]map[string]bool{},
		unused: map[string]bool{}, asked: map[string]bool{}}
	for _, op := range table {
		j.names[strings.ToLower(op.Route)] = op.Name
	}
	for k := range allowed {
		j.unused[k] = true
	}
	return j
}

func (j *judge) found(e exchange, where, format string, args ...any) {
	text := where + ": " + fmt.Sprintf(format, args...)
	f := j.findings[text]
	if f == nil {
		f = &finding{text: text, example: e}
		j.findings[text] = f
	}
	f.times++
}

// exchange judges one request and its answer.
func (j *judge) exchange(e exchange) {
	j.count++
	if e.Host == controlHost {
		if j.control != nil {
			j.controlExchange(e)
		}
		return
	}
	query, err := e.query()
	if err != nil {
		j.found(e, e.Method+" "+e.Target, "the query is malformed: %v", err)
		return
	}
	version := query.Get("api-version")
	if version == "" && strings.HasSuffix(e.path(), "/pending") {
		version = newest // polling addresses carry none
	}
	j.versions[version]++
	if slices.Contains(older, version) {
		version = "7.2-preview"
	}
	if e.Status == http.StatusUnauthorized {
		j.challenge(e)
		return
	}
	if _, known := j.docs[version]; !known {
		if e.Status != http.StatusBadRequest {
			j.found(e, e.Method+" "+e.path(), "api-version %q is not known, and the answer is %d", version, e.Status)
		}
		return
	}
	r := j.docs.find(version, e.Method, e.path())
	if r == nil {
		if e.Status == http.StatusNotFound { // as it must be for what came with a later version
			return
		}
		j.found(e, e.Method+" "+e.path(), "there is no such operation in %s", version)
		return
	}
	where := version + " " + r.id()
	if e.Status < 300 { // what was refused may have been bad on purpose
		j.used[version] = true
		j.request(e, where, r, query)
		j.note(e, r)
	}
	j.response(e, where, r)
}

// older are api-versions that have no document for Managed HSM, and have what its first version has
// (docs/azure-divergences.md).
var older = []string{"7.0", "7.1"}

// challenge judges the answer to a request without a token, or with a bad one.
func (j *judge) challenge(e exchange) {
	h := e.ResponseHeader.Get("WWW-Authenticate")
	if !strings.HasPrefix(h, "Bearer ") || !strings.Contains(h, `authorization="https://`) || !strings.Contains(h, `resource="https://`) {
		j.found(e, "challenge", "%q", h)
	}
	if e.RequestHeader.Get("Authorization") != "" { // what is wrong with a token is told in a body
		if !strings.HasPrefix(e.ResponseBody, `{"error":{"code":"Unauthorized",`) {
			j.found(e, "challenge", "to a bad token has the body %.80q", e.ResponseBody)
		}
	} else if e.ResponseBody != "" && e.ResponseBody != "OK" {
		j.found(e, "challenge", "has the body %.80q", e.ResponseBody)
	}
}

// note remembers who exercised an operation.
func (j *judge) note(e exchange, r *route) {
	name := j.names[strings.ToLower(r.id())]
	if name == "" {
		return // compareTable tells
	}
	if j.exercised[name] == nil {
		j.exercised[name] = map[string]bool{}
	}
	j.exercised[name][e.Program] = true
}

// request judges what a client sent, and so that the recording is read as it was meant.
func (j *judge) request(e exchange, where string, r *route, query url.Values) {
	for name, values := range query {
		p := r.params.GetByInAndName("query", name)
		switch {
		case p == nil && (name == "$skiptoken" || name == "domain"): // of next links and polling addresses, which are ours to make
		case p == nil && name == "api-version":
		case p == nil:
			j.found(e, where, "the query parameter %s is not in the document", name)
		default:
			if err := checkParameter(p, values[0]); err != nil {
				j.found(e, where, "the query parameter %s: %v", name, err)
			}
		}
	}
	if r.op.RequestBody == nil {
		if e.RequestBody != "" && e.RequestBody != "{}" {
			j.found(e, where, "there is a request body where the document has none")
		}
		return
	}
	content := r.op.RequestBody.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil {
		j.found(e, where, "the document has no schema for the request's body")
		return
	}
	j.body(e, where+" request", content.Schema, e.RequestBody, fold, openapi3.VisitAsRequest())
}

func checkParameter(p *openapi3.Parameter, value string) error {
	var v any = value
	if p.Schema.Value.Type.Is("integer") {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return err
		}
		v = n
	}
	return p.Schema.Value.VisitJSON(v)
}

// response judges an answer.
func (j *judge) response(e exchange, where string, r *route) {
	where += " " + strconv.Itoa(e.Status)
	ref := r.op.Responses.Status(e.Status)
	if ref == nil {
		if e.Status < 400 {
			j.found(e, where, "the document has no such status")
			return
		}
		if ref = r.op.Responses.Default(); ref == nil {
			j.found(e, where, "the document has no answer for errors")
			return
		}
	}
	content := ref.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil {
		if e.ResponseBody != "" {
			j.found(e, where, "there is a body where the document has none")
		}
		return
	}
	if t := e.ResponseHeader.Get("Content-Type"); !strings.EqualFold(t, "application/json; charset=utf-8") {
		j.found(e, where, "the content type is %q", t)
	}
	for name, h := range ref.Value.Headers {
		if h.Value.Required && e.ResponseHeader.Get(name) == "" {
			j.found(e, where, "the header %s is missing", name)
		}
	}
	asItIs := func(_ *openapi3.Schema, v any) any { return v }
	j.body(e, where, content.Schema, e.ResponseBody, asItIs, openapi3.VisitAsResponse())
}

// body judges a JSON body against a schema, and reports members that the schema does not have.
func (j *judge) body(e exchange, where string, schema *openapi3.SchemaRef, text string, read func(*openapi3.Schema, any) any, as openapi3.SchemaValidationOption) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		j.found(e, where, "the body is no JSON: %v: %.80q", err, text)
		return
	}
	dropNulls(v)
	v = read(schema.Value, v)
	options := append([]openapi3.SchemaValidationOption{as, openapi3.MultiErrors(), openapi3.EnableFormatValidation(), openapi3.DisableSchemaErrorDetails()}, formats()...)
	if err := schema.Value.VisitJSON(v, options...); err != nil {
		for line := range strings.SplitSeq(err.Error(), " | ") {
			j.found(e, where, "%s", line)
		}
	}
	for _, m := range unknownMembers(schema.Value, v, "") {
		if reason := j.allow(m); reason == "" {
			j.found(e, where, "the member %s is not in the document", m)
		}
	}
}

// report prints what was found.
func (j *judge) report(out io.Writer) error {
	fmt.Fprintf(out, "%d exchanges with the api-versions %s\n", j.count, strings.Join(slices.SortedFunc(maps.Keys(j.versions), cmp.Compare), ", "))
	for k := range j.unused {
		fmt.Fprintf(out, "note: no answer needed the exception %q\n", k)
	}
	if len(j.findings) == 0 {
		return nil
	}
	for _, text := range slices.Sorted(maps.Keys(j.findings)) {
		f := j.findings[text]
		fmt.Fprintf(out, "%s\n    %d times, first by %s (%s): %s %s\n", f.text, f.times, f.example.Program, f.example.Mode, f.example.Method, f.example.Target)
		if f.example.RequestBody != "" {
			fmt.Fprintf(out, "    request: %.600s\n", f.example.RequestBody)
		}
		if f.example.ResponseBody != "" {
			fmt.Fprintf(out, "    answer:  %.600s\n", f.example.ResponseBody)
		}
	}
	return fmt.Errorf("%d findings", len(j.findings))
}
