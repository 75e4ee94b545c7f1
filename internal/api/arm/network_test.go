package arm_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"redoubt/internal/hsmtest"
)

// network is what an answer says of the network rules: access, action, bypass, addresses.
func (c client) network(a hsmtest.Answer) string {
	c.T.Helper()
	var got struct {
		Properties struct {
			PublicNetworkAccess string
			NetworkACLs         struct {
				Bypass, DefaultAction string
				IPRules               []struct{ Value string }
				VirtualNetworkRules   *[]any
				ServiceTags           *[]any
			}
		}
	}
	a.Want(200).JSON(&got)
	acls := got.Properties.NetworkACLs
	if acls.VirtualNetworkRules == nil || acls.ServiceTags == nil {
		c.T.Errorf("members are missing: %s", a.Body)
	}
	out := got.Properties.PublicNetworkAccess + " " + acls.DefaultAction + " " + acls.Bypass
	for _, r := range acls.IPRules {
		out += " " + r.Value
	}
	return out
}

// TestNetworkRules: what is set is shown, kept, and changed in parts, by PUT as by PATCH.
func TestNetworkRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	if got := c.network(c.do("PUT "+mine, c.hsmBody(`,"publicNetworkAccess":"enabled","networkAcls":{"bypass":"azureservices","defaultAction":"deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"2001:DB8::1"}],"virtualNetworkRules":[]}`))); got != "Enabled Deny AzureServices 10.0.0.0/8 2001:db8::1" {
		t.Errorf("created: %s", got)
	}
	for _, step := range []struct{ method, properties, want string }{
		{"PATCH", `{"networkAcls":{"bypass":"None"}}`, "Enabled Deny None 10.0.0.0/8 2001:db8::1"},
		{"PUT", `{"networkAcls":{"bypass":"AzureServices","defaultAction":"Deny"}}`, "Enabled Deny AzureServices 10.0.0.0/8 2001:db8::1"},
		{"PUT", `{}`, "Enabled Deny AzureServices 10.0.0.0/8 2001:db8::1"},
		{"PATCH", `{"networkAcls":null,"publicNetworkAccess":"disabled"}`, "Disabled Deny AzureServices 10.0.0.0/8 2001:db8::1"},
		{"PUT", `{"networkAcls":{"ipRules":[{"value":"203.0.113.7"}]}}`, "Disabled Deny AzureServices 203.0.113.7"},
		{"PATCH", `{"networkAcls":{"ipRules":[]}}`, "Disabled Deny AzureServices"},
		{"PATCH", `{"networkAcls":{"defaultAction":"Allow"},"publicNetworkAccess":"Enabled"}`, "Enabled Allow AzureServices"},
	} {
		if got := c.network(c.do(step.method+" "+mine, `{"location":"westus3","properties":`+step.properties+`}`)); got != step.want {
			t.Errorf("%s %s: %s, want %s", step.method, step.properties, got, step.want)
		}
	}
	c.do("PATCH "+mine, `{"properties":{"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.1"}]}}}`).Want(200)
	s.Restart()
	if got := owner(s).network(owner(s).do("GET "+mine, nil)); got != "Enabled Deny AzureServices 10.0.0.1" {
		t.Errorf("after a restart: %s", got)
	}
}

// TestBadNetworkRules: what cannot be taken is refused when an HSM is made and when it is changed, and nothing is stored.
func TestBadNetworkRules(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, c.hsmBody(`,"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.1"}]}`)).Want(200)
	other := hsms + "/OtherMHSM"
	eleven := ""
	for i := range 11 {
		eleven += fmt.Sprintf(`,{"value":"10.0.0.%d"}`, i)
	}
	for properties, word := range map[string]string{
		`"publicNetworkAccess":"Off"`:             "Enabled or Disabled",
		`"networkAcls":[]`:                        "networkAcls",
		`"networkAcls":"Deny"`:                    "networkAcls",
		`"networkAcls":{"defaultAction":"Maybe"}`: "Allow or Deny",
		`"networkAcls":{"bypass":"Everybody"}`:    "AzureServices or None",
		`"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.256"}]}`:             "10.0.0.256",
		`"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.1/8"}]}`:             "10.0.0.0/8",
		`"networkAcls":{"defaultAction":"Deny","ipRules":[{"value":""}]}`:                       "ipRules[0]",
		`"networkAcls":{"defaultAction":"Deny","ipRules":[{"address":"10.0.0.1"}]}`:             "address",
		`"networkAcls":{"defaultAction":"Deny","ipRules":["10.0.0.1"]}`:                         "ipRules",
		`"networkAcls":{"defaultAction":"Deny","ipRules":[` + eleven[1:] + `]}`:                 "there can be 10",
		`"networkAcls":{"defaultAction":"Allow","ipRules":[{"value":"10.0.0.1"}]}`:              "must be Deny",
		`"networkAcls":{"virtualNetworkRules":[{"id":"/subscriptions/s/.../subnets/default"}]}`: "virtualNetworkRules",
		`"networkAcls":{"serviceTags":[{"tag":"AzureBackup"}]}`:                                 "serviceTags",
		`"networkAcls":{"defaultAcion":"Deny"}`:                                                 "defaultAcion",
	} {
		if !json.Valid([]byte("{" + properties + "}")) {
			t.Fatalf("%s is not JSON", properties)
		}
		c.do("PUT "+other, c.hsmBody(","+properties)).WantError(400, "BadRequest", "", word)
		for _, method := range []string{"PUT", "PATCH"} {
			c.do(method+" "+mine, `{"properties":{`+properties+`}}`).WantError(400, "BadRequest", "", word)
		}
	}
	if got := c.network(c.do("GET "+mine, nil)); got != "Enabled Deny AzureServices 10.0.0.1" {
		t.Errorf("a refused change left %s", got)
	}
	c.do("GET "+other, nil).Want(404)
}
