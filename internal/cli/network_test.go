package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestNetworkVerbs: the whole rule set is sent, with what was not named as it was.
func TestNetworkVerbs(t *testing.T) {
	t.Parallel()
	const path = armHost + "/subscriptions/sub/resourceGroups/RG/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM2"
	document := strings.Replace(hsmDocument, `"hsmUri"`, `"networkAcls":{"bypass":"AzureServices","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"203.0.113.7"}],"virtualNetworkRules":[]},"hsmUri"`, 1)
	var sent struct {
		Properties struct {
			NetworkACLs  json.RawMessage `json:"networkAcls"`
			PublicAccess string          `json:"publicNetworkAccess"`
		}
	}
	keep := func(rw http.ResponseWriter, r *http.Request) {
		sent.Properties.NetworkACLs, sent.Properties.PublicAccess = nil, ""
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &sent); err != nil {
			t.Error(err)
		}
		answer(rw, 200, document)
	}
	w := &wire{routes: map[string]http.HandlerFunc{"GET " + path: says(200, document), "PATCH " + path: keep, "PUT " + path: keep}}
	hsm := []string{"--hsm-name", "ContosoMHSM2", "-g", "RG"}
	for _, c := range []struct{ command, acls, public string }{
		{"update-hsm --default-action Allow", `{"bypass":"AzureServices","defaultAction":"Allow","ipRules":[{"value":"10.0.0.0/8"},{"value":"203.0.113.7"}]}`, ""},
		{"update-hsm --bypass None --public-network-access Disabled", `{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"203.0.113.7"}]}`, "Disabled"},
		{"network-rule add --ip-address 192.0.2.0/24 10.0.0.0/8", `{"bypass":"AzureServices","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"203.0.113.7"},{"value":"192.0.2.0/24"}]}`, ""},
		{"network-rule remove --ip-address 203.0.113.7/32 10.0.0.0/8", `{"bypass":"AzureServices","defaultAction":"Deny","ipRules":[]}`, ""},
		{"create --location westus3 --administrators oid --default-action Deny --network-acls-ips 10.0.0.1 10.0.0.2 --public-network-access Enabled", `{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.1"},{"value":"10.0.0.2"}]}`, "Enabled"},
		{"create --location westus3 --administrators oid", ``, ""},
	} {
		words := strings.Fields(c.command)
		run(t, w, nil, slices.Concat(words, hsm)...).want(t, 0)
		if string(sent.Properties.NetworkACLs) != c.acls || sent.Properties.PublicAccess != c.public {
			t.Errorf("%s sends %s, %q", c.command, sent.Properties.NetworkACLs, sent.Properties.PublicAccess)
		}
	}
	run(t, w, nil, slices.Concat([]string{"network-rule", "list", "--query", "ipRules[].value", "-o", "tsv"}, hsm)...).want(t, 0, "10.0.0.0/8\n203.0.113.7\n")
	seen := len(w.seen)
	run(t, w, nil, slices.Concat([]string{"network-rule", "add", "--ip-address", "10.0.0.256"}, hsm)...).want(t, 2, "10.0.0.256", "CIDR")
	run(t, w, nil, slices.Concat([]string{"update-hsm"}, hsm)...).want(t, 2, "mi-user-assigned")
	if len(w.seen) != seen {
		t.Errorf("wrong use was sent: %q", w.seen[seen:])
	}
}

func TestSettingVerbs(t *testing.T) {
	t.Parallel()
	const doc = `{"name":"AllowKeyManagementOperationsThroughARM","value":"true","type":"boolean"}`
	w := &wire{routes: map[string]http.HandlerFunc{
		"GET " + hsm + "/settings":                                        says(200, `{"settings":[`+doc+`]}`),
		"GET " + hsm + "/settings/AllowKeyManagementOperationsThroughARM": says(200, doc),
		"GET " + hsm + "/settings/Other":                                  says(404, `{"error":{"code":"SettingNotFound","message":"Setting not found: Other"}}`),
		"PATCH " + hsm + "/settings/AllowKeyManagementOperationsThroughARM": func(rw http.ResponseWriter, r *http.Request) {
			if b, _ := io.ReadAll(r.Body); string(b) != `{"value":"true"}` {
				t.Errorf("body %s", b)
			}
			answer(rw, 200, doc)
		},
	}}
	run(t, w, nil, "setting", "list", "--hsm-name", "contoso", "-o", "tsv").want(t, 0, "AllowKeyManagementOperationsThroughARM\tboolean\ttrue\n")
	run(t, w, nil, "setting", "show", "--hsm-name", "contoso", "--name", "AllowKeyManagementOperationsThroughARM", "--query", "value", "-o", "tsv").want(t, 0, "true\n")
	run(t, w, nil, "setting", "update", "--hsm-name", "contoso", "--name", "AllowKeyManagementOperationsThroughARM", "--value", "true").want(t, 0, `"settingType": "boolean"`)
	run(t, w, nil, "setting", "show", "--hsm-name", "contoso", "--name", "Other").want(t, 3, "Setting not found")
	run(t, w, nil, "setting", "update", "--hsm-name", "contoso", "--name", "x").want(t, 2, "value")
}
