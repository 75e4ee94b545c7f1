package daemon

import (
	"strings"
	"testing"
)

func TestGroupIDCommand(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	c := configCommand()
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs([]string{"group-id", "--issuer", "https://keycloak.example/realms/hsm", "/signers", "/Signers"})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "19e73f9e-b6fc-5b55-8180-c0418aee086b  /signers\n88064661-d845-5f83-92ef-b4be06f979de  /Signers\n"
	if got := out.String(); got != want {
		t.Errorf("%q", got)
	}
	c.SetArgs([]string{"group-id", "--issuer", "https://keycloak.example/realms/hsm"})
	if c.Execute() == nil {
		t.Error("no name is needed")
	}
}
