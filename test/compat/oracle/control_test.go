package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// managed is a small document of our own in the manner of the control plane's.
const managed = `{"swagger":"2.0","info":{"title":"t","version":"v"},"consumes":["application/json"],"produces":["application/json"],
"paths":{
 "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.KeyVault/managedHSMs/{name}":{
  "get":{"operationId":"Get","parameters":[],"responses":{"200":{"description":"","schema":{"$ref":"#/definitions/HSM"}},"default":{"description":"","schema":{"$ref":"common.json#/definitions/CloudError"}}}},
  "delete":{"operationId":"Delete","parameters":[],"responses":{"200":{"description":""},"204":{"description":""}}}}},
"definitions":{"HSM":{"type":"object","properties":{"id":{"type":"string"},"tags":{"type":"object","additionalProperties":{"type":"string"}},
   "identity":{"$ref":"../../../common-types/v5/managedidentity.json#/definitions/X"}}}}}`

const controlCommon = `{"definitions":{"CloudError":{"type":"object","properties":{"error":{"type":"object","properties":{"code":{"type":"string"},"message":{"type":"string"}}}}}}}`

const noPaths = `{"swagger":"2.0","info":{"title":"t","version":"v"},"paths":{}}`

func controlFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, v := range controlDocuments {
		for name, text := range map[string]string{"managedHsm.json": managed, "common.json": controlCommon, "providers.json": noPaths} {
			if err := os.MkdirAll(filepath.Join(dir, v), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, v, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

const managedPath = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/managedHSMs/h"

// controlAnswer is an answer of the control plane.
func controlAnswer(method, target string, status int, body string) exchange {
	e := answer(method, target, status, body)
	e.Host = controlHost
	return e
}

func TestControlExchanges(t *testing.T) {
	t.Parallel()
	docs, err := loadControl(controlFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	judged := func(e exchange) []string {
		j := open(t)
		j.control = docs
		j.exchange(e)
		return texts(j)
	}
	const v = "?api-version="
	for _, good := range []exchange{
		controlAnswer("GET", managedPath+v+"2021-10-01", 200, `{"id":"x","tags":{"a":"b"},"identity":{"type":"None","more":[1]}}`),
		controlAnswer("GET", strings.ToUpper(managedPath)+v+"2026-02-01", 404, `{"error":{"code":"x","message":"y"}}`),
		controlAnswer("DELETE", managedPath+v+"2023-07-01", 204, ""),
		controlAnswer("GET", managedPath+"/regions"+v+"2021-10-01", 400, `{"anything":1}`),         // not in that version
		controlAnswer("GET", managedPath+v+"2016-01-01", 400, `{"anything":1}`),                    // no such version
		controlAnswer("GET", "/subscriptions/s/resourceGroups"+v+"2016-01-01", 200, `{"other":1}`), // another provider
		controlAnswer("GET", managedPath+"/providers/Microsoft.Resources/tags/default", 200, `{}`), // likewise
	} {
		if got := judged(good); len(got) > 0 {
			t.Errorf("%s %s: %q", good.Method, good.Target, got)
		}
	}
	for want, bad := range map[string]exchange{
		"the member colour is not in":        controlAnswer("GET", managedPath+v+"2026-02-01", 200, `{"colour":1}`),
		"Error at \"/id\"":                   controlAnswer("GET", managedPath+v+"2021-10-01", 200, `{"id":1}`),
		"tags":                               controlAnswer("GET", managedPath+v+"2021-10-01", 200, `{"tags":null}`),
		"the document has no such status":    controlAnswer("GET", managedPath+v+"2021-10-01", 201, `{}`),
		"there is a body where the document": controlAnswer("DELETE", managedPath+v+"2021-10-01", 200, `{}`),
		"error.target is not in":             controlAnswer("GET", managedPath+v+"2021-10-01", 404, `{"error":{"code":"x","message":"y","target":"z"}}`),
		"no such operation of the control":   controlAnswer("POST", managedPath+v+"2021-10-01", 200, `{}`),
		"is not known, and the answer is":    controlAnswer("GET", managedPath+v+"2016-01-01", 200, `{}`),
		"the query is malformed":             controlAnswer("GET", managedPath+"?%zz", 200, `{}`),
	} {
		if got := judged(bad); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%s %s: want %q, got %q", bad.Method, bad.Target, want, got)
		}
	}
}

// A complete run must ask for everything that the newest documents have.
func TestControlCoverage(t *testing.T) {
	t.Parallel()
	j := open(t)
	var err error
	if j.control, err = loadControl(controlFolder(t)); err != nil {
		t.Fatal(err)
	}
	j.exchange(controlAnswer("GET", managedPath+"?api-version=2026-02-01", 404, `{"error":{"code":"x","message":"y"}}`))
	if j.compareControl(); len(j.findings) != 1 || !strings.Contains(texts(j)[0], "DELETE /subscriptions/") {
		t.Errorf("%q", texts(j))
	}
	j.exchange(controlAnswer("DELETE", managedPath+"?api-version=2024-11-01", 200, ""))
	j.findings = map[string]*finding{}
	if j.compareControl(); len(j.findings) != 0 {
		t.Errorf("%q", texts(j))
	}
	if _, err := loadControl(t.TempDir()); err == nil {
		t.Error("without documents")
	}
}
