package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// complete is a configuration with every key that must be given.
const complete = `data-directory = "/var/lib/redoubt"
passphrase-file = "/etc/redoubt/passphrase"
tenant = "72F988BF-86f1-41af-91ab-2d7cd011db47"
subscription = "5f1c3c62-3e7f-4c0e-8f5e-3a1d1c0f9b11"
[listen]
certificate = "/etc/redoubt/cert.pem"
key = "/etc/redoubt/key.pem"
[names]
device-suffixes = ["managedhsm.example.com:8443", "hsm.example.net"]
control-host = "management.example.com"
login-url = "https://login.example.com"
[[issuers]]
url = "https://login.example.com/v2.0"
`

func TestParseConfig(t *testing.T) {
	t.Parallel()
	c, err := parseConfig([]byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	if c.Tenant != "72f988bf-86f1-41af-91ab-2d7cd011db47" || c.Limits.RestorePointMaxAge != Duration(30*time.Minute) || c.Listen.Health != "127.0.0.1:9480" {
		t.Errorf("%+v", c)
	}
	want := []string{"https://managedhsm.example.com:8443", "https://managedhsm.example.com", "https://hsm.example.net"}
	if got := c.deviceAudiences(); !reflect.DeepEqual(got, want) {
		t.Errorf("audiences %q, want %q", got, want)
	}
	for host, is := range map[string]bool{"a.managedhsm.example.com": true, "a.hsm.example.net": true, "hsm.example.net": false, "a.b.hsm.example.net": false, ".hsm.example.net": false, "a.example.com": false, "-a.hsm.example.net": false} {
		if c.isDevice(host) != is {
			t.Errorf("%s: %v", host, !is)
		}
	}
}

// TestBadConfig: every mistake is refused, and named by its line or its key.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ old, new, says string }{
		"unknown key":          {"[listen]", "[listen]\nadress = \"x\"", `line 6: there is no key "listen.adress"`},
		"unknown table":        {"[listen]", "[proxy]\non = true\n[listen]", `there is no key "proxy"`},
		"the dev issuer":       {"[listen]", "dev = true\n[listen]", `line 5: there is no key "dev"`},
		"twice":                {"[listen]", "tenant = \"x\"\n[listen]", "line 5: "},
		"other letter case":    {"[listen]", "Data-Directory = \"/x\"\n[listen]", `"Data-Directory": keys are written in small letters`},
		"syntax":               {"[listen]", "[listen", "line 5: "},
		"wrong type":           {"[names]", "health = 12\n[names]", "line 8: listen.health: what is needed is a text in quotes, not a TOML integer"},
		"a number in quotes":   {"[names]", "[limits]\nkeys = \"5\"\n[names]", "line 9: limits.keys: what is needed is a whole number without quotes, not a TOML string"},
		"yes":                  {"[names]", "[audit]\nsync = 1\n[names]", "line 9: audit.sync: what is needed is true or false"},
		"one for a list":       {"[listen]", "owners = \"x\"\n[listen]", "line 5: owners: what is needed is a list of texts"},
		"no duration":          {"[names]", "reload = \"soon\"\n[names]", "line 8: "},
		"negative duration":    {"[names]", "reload = \"-1s\"\n[names]", "is not a duration"},
		"relative data":        {`"/var/lib/redoubt"`, `"data"`, "data-directory: an absolute path"},
		"no passphrase file":   {`"/etc/redoubt/passphrase"`, `""`, "passphrase-file: an absolute path"},
		"tenant":               {"72F988BF-86f1", "common", "tenant: "},
		"subscription":         {"5f1c3c62-3e7f", "5f1c3c62-3e7z", "subscription: "},
		"owner":                {"[listen]", "owners = [\"me@example.com\"]\n[listen]", "owners: "},
		"health for everybody": {"[names]", "health = \"0.0.0.0:9480\"\n[names]", "listen.health: "},
		"listen":               {"[names]", "address = \"443\"\n[names]", "listen.address: "},
		"listen, no port":      {"[names]", "address = \"127.0.0.1:70000\"\n[names]", "listen.address: "},
		"reload too often":     {"[names]", "reload = \"1ms\"\n[names]", "listen.reload: "},
		"no certificate":       {`"/etc/redoubt/cert.pem"`, `""`, "listen.certificate: "},
		"no suffix":            {`["managedhsm.example.com:8443", "hsm.example.net"]`, `[]`, "names.device-suffixes: at least one"},
		"a suffix with a dot":  {`"hsm.example.net"`, `".hsm.example.net"`, "names.device-suffixes: "},
		"an address":           {`"hsm.example.net"`, `"127.0.0.1"`, "names.device-suffixes: "},
		"a top-level suffix":   {`"hsm.example.net"`, `"net"`, "names.device-suffixes: "},
		"upper case":           {`"hsm.example.net"`, `"HSM.example.net"`, "names.device-suffixes: "},
		"a port":               {`:8443"`, `:443x"`, "the port is no number"},
		"suffix twice":         {`"hsm.example.net"`, `"managedhsm.example.com:8443"`, "stands twice"},
		"control is an HSM":    {`"management.example.com"`, `"management.hsm.example.net"`, "would be the name of an HSM"},
		"login over http":      {`"https://login.example.com"`, `"http://login.example.com"`, "names.login-url: "},
		"graph over http":      {"[[issuers]]", "graph-url = \"http://graph.example.com\"\n[[issuers]]", "names.graph-url: "},
		"wildcard audience":    {"[[issuers]]", "device-audiences = [\"https://*.example.com\"]\n[[issuers]]", "names.device-audiences: "},
		"empty audience":       {"[[issuers]]", "control-audiences = [\"\"]\n[[issuers]]", "names.control-audiences: "},
		"no issuer":            {"[[issuers]]\nurl = \"https://login.example.com/v2.0\"", "", "issuers: at least one"},
		"issuer over http":     {`"https://login.example.com/v2.0"`, `"http://login.example.com/v2.0"`, "must be an https address"},
		"no algorithm":         {"/v2.0\"", "/v2.0\"\nalgorithms = [\"none\"]", `algorithm "none"`},
		"shared secret":        {"/v2.0\"", "/v2.0\"\nalgorithms = [\"HS256\"]", `algorithm "HS256"`},
		"issuer's tenant":      {"/v2.0\"", "/v2.0\"\ntenant = \"common\"", "issuers: "},
		"issuer twice":         {"/v2.0\"", "/v2.0\"\n[[issuers]]\nurl = \"https://login.example.com/v2.0\"", "stands twice"},
		"claim that decides":   {"/v2.0\"", "/v2.0\"\nclaims.object-id = \"iss\"", `"iss" is not the name of a claim`},
		"unknown claim":        {"/v2.0\"", "/v2.0\"\nclaims.name = \"x\"", `there is no key "issuers.claims.name"`},
		"own audience":         {"/v2.0\"", "/v2.0\"\ndevice-audiences = [\"https://*.example.com\"]", "issuers.device-audiences: "},
		"own empty audience":   {"/v2.0\"", "/v2.0\"\ncontrol-audiences = [\"\"]", "issuers.control-audiences: "},
		"attestation, http":    {"[[issuers]]", "[[attestation]]\nurl = \"http://a.example\"\nkeys-file = \"/k\"\n[[issuers]]", "attestation.url: "},
		"attestation, no keys": {"[[issuers]]", "[[attestation]]\nurl = \"https://a.example\"\n[[issuers]]", "attestation.keys-file: "},
		"attestation twice":    {"[[issuers]]", "[[attestation]]\nurl = \"https://a.example\"\nkeys-file = \"/k\"\n[[attestation]]\nurl = \"https://a.example/\"\nkeys-file = \"/k\"\n[[issuers]]", "stands twice"},
		"storage suffix":       {"[names]", "[storage]\nsuffixes = [\"windows.net\"]\n[names]", "storage.suffixes: "},
		"all addresses":        {"[names]", "[storage]\nallow-ranges = [\"0.0.0.0/0\"]\n[names]", "storage.allow-ranges: "},
		"no range":             {"[names]", "[storage]\nallow-ranges = [\"10.0.0.1\"]\n[names]", "line 9: "},
		"no size":              {"[names]", "[audit]\nrotate-size = \"64\"\n[names]", "is not a size"},
		"small audit files":    {"[names]", "[audit]\nrotate-size = \"1KiB\"\n[names]", "audit.rotate-size: "},
		"short audit files":    {"[names]", "[audit]\nrotate-age = \"1s\"\n[names]", "audit.rotate-age: "},
		"keep less than none":  {"[names]", "[audit]\nkeep = -1\n[names]", "audit.keep: "},
		"syslog, no port":      {"[names]", "[audit.syslog]\naddress = \"logs\"\nca-file = \"/ca\"\n[names]", "audit.syslog.address: "},
		"syslog, no authority": {"[names]", "[audit.syslog]\naddress = \"logs:6514\"\n[names]", "audit.syslog.ca-file: "},
		"syslog, no address":   {"[names]", "[audit.syslog]\nhostname = \"x\"\n[names]", "audit.syslog.address: "},
		"syslog, no key":       {"[names]", "[audit.syslog]\naddress = \"logs:6514\"\nca-file = \"/ca\"\ncertificate = \"/c\"\n[names]", "go together"},
		"keep without end":     {"[names]", "[audit]\nkeep = 5\nrotate-size = \"0\"\n[names]", "audit.keep: "},
		"an address, no name":  {"[names]", "[storage.addresses]\n\"10.0.0.1\" = \"10.0.0.1\"\n[names]", "storage.addresses: "},
		"another's name":       {"[names]", "[storage.addresses]\n\"a.example.com\" = \"10.0.0.1\"\n[names]", "storage.addresses: "},
		"a name, no address":   {"[names]", "[storage.addresses]\n\"a.blob.core.windows.net\" = \"b\"\n[names]", "line 9: "},
		"no connections":       {"[names]", "[limits]\nconnections = 0\n[names]", "limits: "},
		"log format":           {"[names]", "[log]\nformat = \"xml\"\n[names]", "log.format: "},
		"log level":            {"[names]", "[log]\nlevel = \"loud\"\n[names]", "log.level: "},
		"access log":           {"[names]", "[log]\naccess = \"yes\"\n[names]", "log.access: "},
		"negative rate":        {"[names]", "[limits]\nrequests-per-second = -1\n[names]", "limits: "},
		"burst below rate":     {"[names]", "[limits]\nrequests-per-second = 10\nburst = 9\n[names]", "limits.burst: "},
		"burst without rate":   {"[names]", "[limits]\nburst = 9\n[names]", "limits.burst: "},
		"no drain":             {"[names]", "[limits]\ndrain = \"0s\"\n[names]", "limits.drain: "},
	} {
		text := strings.Replace(complete, c.old, c.new, 1)
		if text == complete {
			t.Fatalf("%s: nothing was changed", what)
		}
		if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	r := newRealm(t, "")
	if err := os.Chmod(r.file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(r.file); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("a file that others may write: %v", err)
	}
}

// TestConfigurationPage: docs/configuration.md has a row for each key with its default, and for nothing else, and
// its example is good.
func TestConfigurationPage(t *testing.T) {
	t.Parallel()
	page := string(must[[]byte](t)(os.ReadFile("../../docs/configuration.md")))
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z.-]+)` \\|(.*?)\\| ").FindAllStringSubmatch(page, -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two rows", m[1])
		}
		rows[m[1]] = strings.Trim(m[2], " `")
	}
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			key, f := prefix+v.Type().Field(i).Tag.Get("toml"), v.Field(i)
			if f.Kind() == reflect.Struct {
				walk(key+".", f)
				continue
			}
			if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct && f.Type().Elem() != reflect.TypeFor[netip.Prefix]() {
				walk(key+".", reflect.New(f.Type().Elem()).Elem())
				continue
			}
			row, ok := rows[key]
			delete(rows, key)
			if want := shown(f); !ok || row != want && (row != "-" || want != "" && want != "[]") && key != "issuers.algorithms" {
				t.Errorf("%s: the page says %q, the program %q", key, row, want)
			}
		}
	}
	walk("", reflect.ValueOf(defaults()))
	for key := range rows {
		t.Errorf("%s has a row and no key", key)
	}
	_, rest, _ := strings.Cut(page, "```toml\n")
	example, _, _ := strings.Cut(rest, "```")
	if _, err := parseConfig([]byte(example)); err != nil {
		t.Errorf("the example: %v", err)
	}
}

// shown is a default as the page writes it; "" may be "-", for what must be given.
func shown(v reflect.Value) string {
	d, isDuration := v.Interface().(Duration)
	switch {
	case isDuration && time.Duration(d)%time.Minute == 0:
		return strings.TrimSuffix(d.String(), "0s")
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return "[]"
	case v.Kind() == reflect.Map && v.Len() == 0:
		return "{}"
	case v.Kind() == reflect.Slice:
		return fmt.Sprintf("%q", v.Interface())
	}
	return fmt.Sprint(v.Interface())
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte("[[issuers]]\nurl = 1\n[names]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b)
		if err != nil {
			return
		}
		if len(c.Issuers) == 0 || len(c.Names.DeviceSuffixes) == 0 || c.DataDirectory == "" || c.check() != nil {
			t.Errorf("accepted: %+v", c)
		}
	})
}
