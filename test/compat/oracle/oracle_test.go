package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// document is a small one of our own in the manner of the real ones.
const document = `{"swagger":"2.0","info":{"title":"t","version":"v"},"consumes":["application/json"],"produces":["application/json"],
"paths":{
 "/keys/{key-name}/{key-version}":{"get":{"operationId":"GetKey","parameters":[{"$ref":"#/parameters/Version"},
   {"name":"key-name","in":"path","required":true,"type":"string"},{"name":"key-version","in":"path","required":true,"type":"string"}],
   "responses":{"200":{"description":"","schema":{"$ref":"#/definitions/Bundle"}},"default":{"description":"","schema":{"$ref":"common.json#/definitions/Failure"}}}}},
 "/keys/{key-name}/versions":{"get":{"operationId":"List","parameters":[{"$ref":"#/parameters/Version"},{"name":"key-name","in":"path","required":true,"type":"string"},
   {"name":"maxresults","in":"query","type":"integer","minimum":1,"maximum":25}],
   "responses":{"200":{"description":"","schema":{"$ref":"#/definitions/Page"}}}}},
 "/keys/{key-name}/create":{"post":{"operationId":"Create","parameters":[{"$ref":"#/parameters/Version"},{"name":"key-name","in":"path","required":true,"type":"string"},
   {"name":"parameters","in":"body","required":true,"schema":{"$ref":"#/definitions/Create"}}],
   "responses":{"200":{"description":"","schema":{"$ref":"#/definitions/Bundle"}}}}}},
"parameters":{"Version":{"name":"api-version","in":"query","required":true,"type":"string"}},
"definitions":{
 "Create":{"type":"object","required":["kty"],"properties":{"kty":{"type":"string","enum":["EC"],"x-ms-enum":{"name":"Kty","modelAsString":true}},
   "actions":{"type":"array","items":{"type":"string","enum":["rotate"],"x-ms-enum":{"name":"A","modelAsString":false}}}}},
 "Attributes":{"allOf":[{"$ref":"common.json#/definitions/Base"}],"properties":{"days":{"type":"integer","format":"int32","readOnly":true}}},
 "Bundle":{"type":"object","required":["key"],"properties":{"key":{"type":"object","properties":{"kid":{"type":"string"},"n":{"type":"string","format":"base64url"}}},
   "attributes":{"$ref":"#/definitions/Attributes"},"tags":{"type":"object","additionalProperties":{"type":"string"}},
   "action":{"type":"string","enum":["rotate","notify"],"x-ms-enum":{"name":"A","modelAsString":false}}}},
 "Page":{"type":"object","properties":{"value":{"type":"array","items":{"$ref":"#/definitions/Bundle"}},"nextLink":{"type":"string"}}}}}`

const common = `{"definitions":{"Base":{"properties":{"enabled":{"type":"boolean"},"created":{"type":"integer","format":"unixtime","readOnly":true}}},
 "Failure":{"type":"object","properties":{"error":{"type":"object","properties":{"code":{"type":"string"},"message":{"type":"string"},"innererror":{"type":"object"}}}}}}}`

// folder lays the document out for every api-version.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, v := range claimed {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"keys.json": document, "common.json": common} {
			if err := os.WriteFile(filepath.Join(dir, v, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func open(t *testing.T, table ...operation) *judge {
	t.Helper()
	docs, err := loadDocuments(folder(t))
	if err != nil {
		t.Fatal(err)
	}
	return newJudge(docs, table)
}

// answer is a good one, to be spoilt.
func answer(method, target string, status int, body string) exchange {
	return exchange{Program: "go", Mode: "proxy", Method: method, Target: target, Status: status, ResponseBody: body,
		ResponseHeader: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
}

const version = "?api-version=7.5"

func TestGoodExchanges(t *testing.T) {
	t.Parallel()
	create := answer("POST", "/keys/a/create"+version, 200, `{"key":{}}`)
	create.RequestBody = `{"kty":"NEW","actions":["Rotate"]}` // enumerations that are modelled as strings are open; letter case does not count in requests
	challenge := answer("GET", "/keys/a/"+version, 401, "")
	challenge.ResponseHeader = http.Header{"Www-Authenticate": {`Bearer authorization="https://l/t", resource="https://r"`}}
	badToken := challenge
	badToken.RequestHeader = http.Header{"Authorization": {"(cut)"}}
	badToken.ResponseBody = `{"error":{"code":"Unauthorized","message":"m"}}`
	for name, e := range map[string]exchange{
		"bad token":       badToken,
		"no such path":    answer("GET", "/secrets/a"+version, 404, `{}`),
		"get":             answer("GET", "/keys/a/v"+version, 200, `{"key":{"kid":"k","n":"AQAB"},"attributes":{"enabled":true,"created":1,"days":7},"tags":{"any":"thing"},"action":"rotate"}`),
		"without version": answer("GET", "/keys/a"+version, 200, `{"key":{}}`),
		"empty version":   answer("GET", "/keys/a/"+version, 200, `{"key":{}}`),
		"letter case":     answer("GET", "/Keys/a/VERSIONS"+version+"&maxresults=25", 200, `{"value":[{"key":{}}],"nextLink":null}`),
		"next link":       answer("GET", "/keys/a/versions"+version+"&$skiptoken=x", 200, `{"value":[],"nextLink":"https://h/"}`),
		"error":           answer("GET", "/keys/a/v"+version, 404, `{"error":{"code":"KeyNotFound","message":"m","innererror":null}}`),
		"unknown version": answer("GET", "/keys/a/v?api-version=1.0", 400, `{}`),
		"create":          create,
		"challenge":       challenge,
	} {
		j := open(t)
		j.exchange(e)
		if len(j.findings) > 0 {
			t.Errorf("%s: %v", name, texts(j))
		}
	}
}

func TestBadExchanges(t *testing.T) {
	t.Parallel()
	body := func(text string) exchange { return answer("GET", "/keys/a/v"+version, 200, text) }
	create := func(request string) exchange {
		e := answer("POST", "/keys/a/create"+version, 200, `{"key":{}}`)
		e.RequestBody = request
		return e
	}
	untyped := body(`{"key":{}}`)
	untyped.ResponseHeader = http.Header{"Content-Type": {"text/plain"}}
	for name, c := range map[string]struct {
		e    exchange
		want string
	}{
		"no such path":            {answer("GET", "/secrets/a"+version, 200, `{}`), "no such operation"},
		"no such method":          {answer("PUT", "/keys/a/v"+version, 200, `{}`), "no such operation"},
		"unknown version is fine": {answer("GET", "/keys/a/v?api-version=1.0", 200, `{}`), "is not known"},
		"missing version is fine": {answer("GET", "/keys/a/v", 200, `{}`), "is not known"},
		"unknown parameter":       {answer("GET", "/keys/a/v"+version+"&top=1", 200, `{"key":{}}`), "parameter top"},
		"too large a page":        {answer("GET", "/keys/a/versions"+version+"&maxresults=26", 200, `{}`), "maxresults"},
		"status":                  {answer("GET", "/keys/a/v"+version, 201, `{"key":{}}`), "no such status"},
		"undocumented error":      {answer("POST", "/keys/a/create"+version, 409, `{}`), "no answer for errors"},
		"no JSON":                 {body(`<html>`), "no JSON"},
		"content type":            {untyped, "content type"},
		"required member":         {body(`{"tags":{}}`), `"key" is missing`},
		"type":                    {body(`{"key":{"kid":1}}`), "/key/kid"},
		"base64":                  {body(`{"key":{"n":"AQ=="}}`), "base64url"},
		"time":                    {body(`{"key":{},"attributes":{"created":-1}}`), "no time"},
		"int32":                   {body(`{"key":{},"attributes":{"days":2147483648}}`), "days"},
		"closed enumeration":      {body(`{"key":{},"action":"Rotate"}`), "/action"},
		"null":                    {body(`{"key":null}`), "not nullable"},
		"unknown member":          {body(`{"key":{"d":"AQ"}}`), "member key.d"},
		"unknown in base":         {body(`{"key":{},"attributes":{"size":1}}`), "member attributes.size"},
		"unknown in list":         {answer("GET", "/keys/a/versions"+version, 200, `{"value":[{"key":{"x":1}}]}`), "member value[].key.x"},
		"request without body":    {create(""), "no JSON"},
		"request lacks a member":  {create(`{}`), `"kty" is missing`},
		"request with another":    {create(`{"kty":"EC","more":1}`), "member more"},
		"request's enumeration":   {create(`{"kty":"EC","actions":["turn"]}`), "/actions/0"},
		"body of a challenge":     {answer("GET", "/keys/a/v"+version, 401, `{"error":{"code":"Unauthorized","message":"m"}}`), "has the body"},
		"bare challenge":          {answer("GET", "/keys/a/v"+version, 401, ""), "challenge"},
	} {
		j := open(t)
		j.exchange(c.e)
		if !slices.ContainsFunc(texts(j), func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%s: want a finding with %q, got %q", name, c.want, texts(j))
		}
	}
}

func texts(j *judge) (out []string) {
	for _, f := range j.findings {
		out = append(out, f.text)
	}
	return out
}

// A whole run: what is missing in the table or was never exercised is found, and the lists are compared.
func TestRun(t *testing.T) {
	t.Parallel()
	table := []operation{{"KeyGet", "GET /keys/{key-name}/{key-version}", "7.2-preview"}, {"KeyListVersions", "GET /keys/{key-name}/versions", "7.2-preview"},
		{"KeyCreate", "POST /keys/{key-name}/create", "7.2-preview"}}
	create := answer("POST", "/keys/a/create"+version, 200, `{"key":{}}`)
	create.RequestBody = `{"kty":"EC"}`
	recording := []exchange{}
	for _, v := range claimed {
		recording = append(recording, answer("GET", "/keys/a/v?api-version="+v, 200, `{"key":{}}`))
	}
	recording = append(recording, controlAnswer("GET", managedPath+"?api-version=2023-07-01", 200, `{}`), controlAnswer("DELETE", managedPath+"?api-version=2023-07-01", 204, ""),
		create, answer("GET", "/keys/a/versions"+version, 200, `{}`))
	recording = slices.Clip(recording)
	o := options{documents: folder(t), control: controlFolder(t), lists: t.TempDir(), complete: true, update: true}
	run := func(table []operation, recording []exchange) (string, error) {
		o.recording, o.table = t.TempDir(), filepath.Join(t.TempDir(), "table.json")
		var lines bytes.Buffer
		for _, e := range recording {
			lines.Write(append(must(json.Marshal(e)), '\n'))
		}
		must(0, os.WriteFile(filepath.Join(o.recording, "a.jsonl"), lines.Bytes(), 0o600))
		must(0, os.WriteFile(o.table, must(json.Marshal(table)), 0o600))
		var out bytes.Buffer
		err := run(o, &out)
		return out.String() + fmt.Sprint(err), err
	}
	if out, err := run(table, recording); err != nil {
		t.Fatal(out)
	}
	o.update = false
	if out, err := run(table, recording); err != nil {
		t.Fatal(out)
	}
	for want, c := range map[string]struct {
		table     []operation
		recording []exchange
	}{
		"has no such row":         {table[1:], recording},
		"no program exercised":    {table, recording[:len(recording)-1]},
		"no program used it":      {table, recording[1:]},
		"asked the control plane": {table, append(slices.Clone(recording[:len(recording)-3]), recording[len(recording)-2:]...)},
		"in the documents since":  {[]operation{table[0], table[1], {table[2].Name, table[2].Route, "7.3"}}, recording},
		"exercised.txt is stale":  {table, append(recording, exchange{Program: "az", Method: "GET", Target: "/keys/a" + version, Status: 200, ResponseBody: `{"key":{}}`, ResponseHeader: recording[0].ResponseHeader})},
		"the recording is empty":  {table, nil},
		"7.5 GET /keys/{key-name": {table, append(recording, answer("GET", "/keys/a"+version, 200, `{}`))},
	} {
		if out, err := run(c.table, c.recording); err == nil || !strings.Contains(out, want) {
			t.Errorf("want %q, got %s", want, out)
		}
	}
	o.documents = t.TempDir()
	if out, err := run(table, recording); err == nil || !strings.Contains(out, "are not there") {
		t.Errorf("without documents: %s", out)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestPattern: paths as clients send them.
func TestPattern(t *testing.T) {
	t.Parallel()
	const keys, roles = "/keys/{key-name}/{key-version}/sign", "/{scope}/providers/Microsoft.Authorization/roleAssignments"
	for path, template := range map[string]string{"/keys/a/1/sign": keys, "/keys/a//sign": keys, "/keys/a/sign": keys, "/KEYS/a/1/SIGN/": keys,
		"/providers/Microsoft.Authorization/roleAssignments": roles, "///providers/microsoft.authorization/roleassignments": roles, "/keys/a/providers/Microsoft.Authorization/roleAssignments/": roles} {
		if !pattern(template).MatchString(path) {
			t.Errorf("%s is no %s", path, template)
		}
	}
	for path, template := range map[string]string{"/keys//1/sign": keys, "/keys/a/1/verify": keys, "/x/keys/a/1/sign": keys, "xproviders/Microsoft.Authorization/roleAssignments": roles,
		"/providers/Microsoft.Authorization/roleAssignments/1": roles} {
		if pattern(template).MatchString(path) {
			t.Errorf("%s is a %s", path, template)
		}
	}
}
