package netrule_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"redoubt/internal/netrule"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const open = `{"bypass":"AzureServices","defaultAction":"Allow","ipRules":[],"virtualNetworkRules":[],"serviceTags":[]}`
	for in, want := range map[string]string{
		`{}`: open,
		`{"bypass":null,"ipRules":null,"virtualNetworkRules":[]}`:              open,
		` {"defaultAction":"allow","bypass":"azureservices","serviceTags":[]}`: open,
		`{"bypass":"None"}`:        strings.Replace(open, "AzureServices", "None", 1),
		`{"defaultAction":"DENY"}`: strings.Replace(open, "Allow", "Deny", 1),
		`{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"203.0.113.7"},{"value":"::ffff:203.0.113.7"},{"value":"203.0.113.7/32"},{"value":"2001:DB8::/32"},{"value":"0.0.0.0/0"}]}`: `{"bypass":"AzureServices","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"203.0.113.7"},{"value":"203.0.113.7/32"},{"value":"2001:db8::/32"},{"value":"0.0.0.0/0"}],"virtualNetworkRules":[],"serviceTags":[]}`,
	} {
		s, err := netrule.Parse(netrule.Set{}, []byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		got, err := json.Marshal(s)
		if err != nil || string(got) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", in, got, err, want)
		}
		if again, err := netrule.Parse(netrule.Set{}, got); err != nil || len(again.IPRules) != len(s.IPRules) {
			t.Errorf("%s does not read back: %v", got, err)
		}
	}
}

// TestParseOver: a part changes what it names, and base itself stays as it was.
func TestParseOver(t *testing.T) {
	t.Parallel()
	base, err := netrule.Parse(netrule.Set{}, []byte(`{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.1"},{"value":"10.0.0.2"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"bypass":"AzureServices"}`:             "AzureServices Deny 10.0.0.1 10.0.0.2",
		`{"ipRules":[{"value":"10.0.0.3"}]}`:     "None Deny 10.0.0.3",
		`{"ipRules":[],"defaultAction":"Allow"}`: "None Allow",
		`{}`:                                     "None Deny 10.0.0.1 10.0.0.2",
		`{"ipRules":null}`:                       "None Deny",
		`{"IPRULES":[{"value":"10.0.0.3"}]}`:     "None Deny 10.0.0.3",
	} {
		s, err := netrule.Parse(base, []byte(in))
		got := s.Bypass + " " + s.DefaultAction
		for _, r := range s.IPRules {
			got += " " + r.Value
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
	// A rule that names no address is refused, not taken for the one that stood in its place.
	for _, in := range []string{`{"ipRules":[{}]}`, `{"ipRules":[null]}`, `{"ipRules":[{"value":null}]}`, `{"iprules":[{"value":"10.0.0.3"},{}]}`} {
		if s, err := netrule.Parse(base, []byte(in)); !errors.Is(err, netrule.ErrBad) {
			t.Errorf("%s: %v, %v", in, s.IPRules, err)
		}
	}
	if base.IPRules[0].Value != "10.0.0.1" {
		t.Errorf("the base became %v", base.IPRules)
	}
}

// Rules that are there twice are one; but not without bounds, since each is compared with the others.
func TestParseManyRules(t *testing.T) {
	t.Parallel()
	same := func(n int) []byte {
		return []byte(`{"defaultAction":"Deny","ipRules":[` + strings.TrimSuffix(strings.Repeat(`{"value":"10.0.0.1"},`, n), ",") + `]}`)
	}
	if s, err := netrule.Parse(netrule.Set{}, same(100)); err != nil || len(s.IPRules) != 1 {
		t.Errorf("%d rules, %v", len(s.IPRules), err)
	}
	if _, err := netrule.Parse(netrule.Set{}, same(101)); !errors.Is(err, netrule.ErrBad) {
		t.Errorf("101 rules: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	rules := func(values ...string) string {
		var list []string
		for _, v := range values {
			list = append(list, `{"value":"`+v+`"}`)
		}
		return `{"defaultAction":"Deny","ipRules":[` + strings.Join(list, ",") + `]}`
	}
	var eleven []string
	for i := range netrule.MaxIPRules + 1 {
		eleven = append(eleven, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String())
	}
	for in, want := range map[string]string{
		``:                                   "cannot be read",
		`null garbage`:                       "followed by",
		`[]`:                                 "not a JSON array",
		`"Deny"`:                             "not a JSON string",
		`{"defaultAcion":"Deny"}`:            `unknown field "defaultAcion"`,
		`{"defaultAction":"Denied"}`:         `defaultAction is Allow or Deny, not "Denied"`,
		`{"defaultAction":true}`:             "defaultAction that cannot be a JSON bool",
		`{"bypass":"Logging"}`:               `bypass is AzureServices or None, not "Logging"`,
		`{"ipRules":["10.0.0.1"]}`:           "ipRules that cannot be a JSON string",
		`{"ipRules":{"value":"10.0.0.1"}}`:   "cannot be a JSON object",
		`{"ipRules":[{"value":"10.0.0.1"}]}`: "must be Deny",
		`{"defaultAction":"Allow","ipRules":[{"value":"10.0.0.1"}]}`:                 "remove the ipRules",
		`{"defaultAction":"Deny","ipRules":[{"value":"10.0.0.1","action":"Allow"}]}`: "unknown field",
		`{"virtualNetworkRules":[{"id":"/subscriptions/s/subnets/a"}]}`:              "virtualNetworkRules are not supported",
		`{"serviceTags":[{"tag":"AzureCloud"}]}`:                                     "serviceTags are not supported",
		rules(""):                                                                    "ipRules[0]",
		rules("10.0.0.1", "10.0.0.300"):                                              `ipRules[1]: "10.0.0.300" is neither`,
		rules("10.0.0"):                                                              "CIDR form",
		rules("010.0.0.1"):                                                           "CIDR form",
		rules(" 10.0.0.1"):                                                           "CIDR form",
		rules("10.0.0.0/33"):                                                         "CIDR form",
		rules("10.0.0.0/08"):                                                         "CIDR form",
		rules("10.0.0.1-10.0.0.9"):                                                   "CIDR form",
		rules("10.0.0.5/24"):                                                         "the range is 10.0.0.0/24",
		rules("2001:db8::1/64"):                                                      "the range is 2001:db8::/64",
		rules("::ffff:10.0.0.0/104"):                                                 "mixes",
		rules("fe80::1%eth0"):                                                        "CIDR form",
		rules("hsm.example.com"):                                                     "CIDR form",
		rules(strings.Repeat("9", 100000)):                                           "CIDR form",
		rules(eleven...):                                                             "there can be 10",
	} {
		_, err := netrule.Parse(netrule.Set{}, []byte(in))
		if !errors.Is(err, netrule.ErrBad) || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.100s: %v, want %q", in, err, want)
		}
	}
	for in, want := range map[string]string{"": "Enabled", "enabled": "Enabled", "DISABLED": "Disabled", "Off": "", "SecuredByPerimeter": ""} {
		got, err := netrule.PublicAccess(in)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, netrule.ErrBad) {
			t.Errorf("publicNetworkAccess %q: %q, %v", in, got, err)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	const some = `{"defaultAction":"Deny","ipRules":[{"value":"10.1.0.0/16"},{"value":"203.0.113.7"},{"value":"2001:db8::/32"},{"value":"fe80::/10"}]}`
	for _, c := range []struct {
		access, acls, client string
		want                 bool
	}{
		{"", "", "198.51.100.1", true},
		{"Enabled", `{}`, "198.51.100.1", true},
		{"Enabled", `{}`, "", true},
		{"Enabled", `{"defaultAction":"Deny"}`, "198.51.100.1", false},
		{"Enabled", `{"defaultAction":"Deny"}`, "127.0.0.1", false},
		{"Enabled", some, "10.1.255.255", true},
		{"Enabled", some, "::ffff:10.1.2.3", true},
		{"Enabled", some, "10.2.0.0", false},
		{"Enabled", some, "203.0.113.7", true},
		{"Enabled", some, "203.0.113.8", false},
		{"Enabled", some, "2001:db8:ffff::1", true},
		{"Enabled", some, "2001:db9::1", false},
		{"Enabled", some, "fe80::1%eth0", true},
		{"Enabled", some, "::1", false},
		{"Enabled", some, "", false},
		{"Disabled", some, "10.1.0.1", false},
		{"Disabled", `{}`, "127.0.0.1", false},
		{"Enabled", `{"defaultAction":"Deny","ipRules":[{"value":"0.0.0.0/0"}]}`, "198.51.100.1", true},
		{"Enabled", `{"defaultAction":"Deny","ipRules":[{"value":"0.0.0.0/0"}]}`, "2001:db8::1", false},
		{"Enabled", `{"defaultAction":"Deny","ipRules":[{"value":"::/0"}]}`, "198.51.100.1", false},
	} {
		var acls []byte
		if c.acls != "" {
			acls = []byte(c.acls)
		}
		r, err := netrule.Compile(c.access, acls)
		if err != nil {
			t.Fatal(err)
		}
		client, _ := netip.ParseAddr(c.client)
		if got := r.Allow(client); got != c.want || r.Open() && !got || r.Public() != (c.access != "Disabled") {
			t.Errorf("%s %s lets in %q: %v", c.access, c.acls, c.client, got)
		}
	}
	for _, none := range []*netrule.Rules{nil, {}} {
		if none.Allow(netip.MustParseAddr("127.0.0.1")) || none.Open() || none.Public() || none.Trusted() {
			t.Errorf("%v lets somebody in", none)
		}
	}
	for _, c := range [][2]string{{"Off", `{}`}, {"Enabled", `{"defaultAction":"Deni"}`}, {"Enabled", `[]`}} {
		if _, err := netrule.Compile(c[0], []byte(c[1])); !errors.Is(err, netrule.ErrBad) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"bypass":"None","defaultAction":"Deny","ipRules":[{"value":"10.0.0.0/8"},{"value":"2001:db8::1"}],"virtualNetworkRules":[],"serviceTags":[]}`,
		`{"defaultAction":"Deny","ipRules":[{"value":"::ffff:1.2.3.4"}]}`, `null`, `{"ipRules":null}`, `[`} {
		f.Add(s, "10.0.0.1")
	}
	f.Fuzz(func(t *testing.T, doc, client string) {
		s, err := netrule.Parse(netrule.Set{}, []byte(doc))
		if err != nil {
			if !errors.Is(err, netrule.ErrBad) {
				t.Fatal(err)
			}
			return
		}
		once, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := netrule.Parse(netrule.Set{}, once)
		if err != nil {
			t.Fatalf("%s does not read back: %v", once, err)
		}
		if twice, _ := json.Marshal(again); string(twice) != string(once) {
			t.Fatalf("%s becomes %s", once, twice)
		}
		r, err := netrule.Compile("", once)
		if err != nil {
			t.Fatal(err)
		}
		a, err := netip.ParseAddr(client)
		in := s.DefaultAction == netrule.Allow
		for _, rule := range s.IPRules {
			if p, perr := netip.ParsePrefix(rule.Value); perr == nil {
				in = in || p.Contains(a.Unmap().WithZone(""))
			} else {
				in = in || err == nil && netip.MustParseAddr(rule.Value) == a.Unmap().WithZone("")
			}
		}
		if r.Allow(a) != in {
			t.Fatalf("%s lets in %q: %v", once, client, !in)
		}
	})
}
