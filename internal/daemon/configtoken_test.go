package daemon

import (
	"errors"
	"strings"
	"testing"

	"redoubt/internal/authn"
)

// TestConfigToken: what a server would make of a token is told without one, and the token is not.
func TestConfigToken(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	r.rewrite("subject-is-id = true", "subject-is-id = true\ngroup-names = true")
	ask := func(token string) (string, error) {
		var out strings.Builder
		c := configCommand()
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetIn(strings.NewReader(token + "\n"))
		c.SetArgs([]string{"token", "--config", r.file})
		err := c.ExecuteContext(t.Context())
		if len(token) > 100 && strings.Contains(out.String(), token[len(token)-40:]) {
			t.Error("the token is printed")
		}
		return out.String(), err
	}
	out, err := ask(r.idp.sign(r.idp.good("https://"+siteSuffix).with("groups", []string{"/signers"}).with("hasgroups", true)))
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"data plane     good until ", "control plane  refused: Found token with aud=", `object id      "` + siteOwner + `"`, `kind           "person"`,
		"group          " + authn.GroupID(r.idp.srv.URL, "/signers") + "\n", "but            the token does not list"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s\nwant %q", out, want)
		}
	}
	for _, token := range []string{"a.b.c", r.idp.sign(r.idp.good("https://vault.azure.net")), strings.Repeat("x", 100_000)} {
		if out, err := ask(token); !errors.Is(err, errUnbelieved) || strings.Count(out, "refused: ") != 2 {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// TestConfigTokenFromInputOnly: a token as an argument is refused without being repeated, and so is no token at all.
func TestConfigTokenFromInputOnly(t *testing.T) {
	t.Parallel()
	r := newRealm(t, "")
	const secret = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2ln"
	for name, args := range map[string][]string{"an argument": {secret}, "nothing": nil} {
		var out strings.Builder
		c := configCommand()
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetIn(strings.NewReader(" \n"))
		c.SetArgs(append([]string{"token", "--config", r.file}, args...))
		err := c.ExecuteContext(t.Context())
		if !errors.Is(err, errNoToken) || strings.Contains(err.Error()+out.String(), secret) {
			t.Errorf("%s: %v %s", name, err, out.String())
		}
	}
}
