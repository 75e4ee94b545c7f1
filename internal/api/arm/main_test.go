package arm_test

import (
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/hsmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	version = "api-version=2026-02-01"
)

// client is somebody who speaks to the control plane. In its targets, "~" is the subscription.
type client struct {
	*hsmtest.Web
	who string
}

// owner is the person who owns the subscription.
func owner(s *hsmtest.Site) client { return client{s.Serve(), s.Account.User.ObjectID} }

func (c client) as(who string) client { return client{c.Web, who} }

func (c client) sub() string { return "/subscriptions/" + c.Account.Subscription.ID }

func (c client) do(target string, body any) hsmtest.Answer {
	c.T.Helper()
	method, path, _ := strings.Cut(target, " ")
	path = strings.Replace(path, "~", c.sub(), 1)
	if !strings.Contains(path, "?") {
		path += "?" + version
	}
	return c.Do(hsmtest.Ask{Method: method, Host: host, Path: path, Token: c.Token(c.who, hsmtest.Control), Body: body})
}

var marks = strings.NewReplacer(
	`\{guid\}`, `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
	`\{text\}`, `[^"]*`,
	`\{v\}`, `[0-9a-f]{32}`,
	`\{b64\}`, `[A-Za-z0-9+/]{86}==`,
)

// same wants exactly this body, but for the marks in it; "~" is the subscription, "^" the tenant.
func (c client) same(a hsmtest.Answer, want string) {
	c.T.Helper()
	want = strings.ReplaceAll(strings.ReplaceAll(want, "~", c.sub()), "^", c.Account.Tenant.ID)
	re := regexp.MustCompile("^" + marks.Replace(regexp.QuoteMeta(want)) + "$")
	if !re.Match(a.Body) {
		c.T.Errorf("got  %s\nwant %s", a.Body, want)
	}
}

const (
	group = "~/resourceGroups/ContosoResourceGroup"
	hsms  = group + "/providers/Microsoft.KeyVault/managedHSMs"
	mine  = hsms + "/ContosoMHSM"
)

// hsmBody is a creation as az sends it: the retention is a string.
func (c client) hsmBody(more string) string {
	return `{"location":"westus3","sku":{"name":"Standard_B1","family":"B"},"properties":{"tenantId":"` + c.Account.Tenant.ID +
		`","softDeleteRetentionInDays":"28","initialAdminObjectIds":["` + hsmtest.Admin + `"]` + more + `}}`
}
