package dataplane_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/hsmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hsmName = "ContosoMHSM"
	host    = "contosomhsm.managedhsm.azure.net"
	version = "api-version=2026-04-01"
)

// client is somebody who speaks to one HSM.
type client struct {
	*hsmtest.Web
	who string
}

// as is a client of the site's HSM; who is an object id, "" sends no token.
func as(w *hsmtest.Web, who string) client { return client{w, who} }

// do sends a request; target is "METHOD /path", and api-version is added when it has none.
func (c client) do(target string, body any) hsmtest.Answer {
	c.T.Helper()
	method, path, _ := strings.Cut(target, " ")
	switch {
	case strings.Contains(path, "api-version="):
	case strings.Contains(path, "?"):
		path += "&" + version
	default:
		path += "?" + version
	}
	a := hsmtest.Ask{Method: method, Host: host, Path: path, Body: body}
	if c.who != "" {
		a.Token = c.Token(c.who, hsmtest.Devices)
	}
	return c.Do(a)
}

// marks stand for what differs from run to run in the bodies that tests expect.
var marks = strings.NewReplacer(
	`\{v\}`, `[0-9a-f]{32}`,
	`\{guid\}`, `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
	`\{b64\}`, `[A-Za-z0-9_-]+`,
	`\{text\}`, `[^"]*`,
	`\{json\}`, `(?:[^"\\]|\\.)*`,
)

// same wants exactly this body, but for the marks in it.
func same(t testing.TB, a hsmtest.Answer, want string) {
	t.Helper()
	re := regexp.MustCompile("^" + marks.Replace(regexp.QuoteMeta(want)) + "$")
	if !re.Match(a.Body) {
		t.Errorf("got  %s\nwant %s", a.Body, want)
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
