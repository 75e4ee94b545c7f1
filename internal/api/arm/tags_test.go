package arm_test

import (
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestTags: the resource that holds the tags of another, which az tag uses.
func TestTags(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	const behind = "/providers/Microsoft.Resources/tags/default?api-version=2021-04-01"
	for _, of := range []string{mine, group} {
		for _, target := range []string{"GET " + of + behind, "PUT " + of + behind, "PATCH " + of + behind, "DELETE " + of + behind} {
			c.do(target, `{"operation":"Merge","properties":{"tags":{"a":"b"}}}`).Want(404)
		}
	}
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	for _, of := range []string{mine, group} {
		want := func(a hsmtest.Answer, tags string) {
			t.Helper()
			c.same(a.Want(200), `{"id":"`+of+`/providers/Microsoft.Resources/tags/default","name":"default","properties":{"tags":`+tags+`},"type":"Microsoft.Resources/tags"}`)
		}
		patch := func(operation, tags string) hsmtest.Answer {
			return c.do("PATCH "+of+behind, `{"operation":"`+operation+`","properties":{"tags":`+tags+`}}`)
		}
		want(c.do("GET "+of+behind, nil), `{}`)
		want(c.do("PUT "+of+behind, `{"properties":{"tags":{"Env":"prod","x":"y"}}}`), `{"Env":"prod","x":"y"}`)
		want(patch("Merge", `{"ENV":"test","z":"1"}`), `{"ENV":"test","x":"y","z":"1"}`)
		want(patch("delete", `{"X":"other","Z":"1"}`), `{"ENV":"test","x":"y"}`)
		want(patch("Replace", `{"only":"one"}`), `{"only":"one"}`)
		patch("Add", `{}`).WantError(400, "BadRequest", "", "Merge, Replace or Delete")
		want(c.do("GET "+strings.ToUpper(of)+behind, nil), `{"only":"one"}`)
		c.do("DELETE "+of+behind, nil).Want(200)
		want(c.do("GET "+of+behind, nil), `{}`)
	}
	c.do("PUT "+mine+behind, `{"properties":{"tags":{"a<b":"c"}}}`).WantError(400, "BadRequest", "", "a<b")
	c.do("PUT "+mine+behind, `{"properties":{"tags":{"kept":"yes"}}}`).Want(200)
	var got shown
	c.do("GET "+mine, nil).Want(200).JSON(&got)
	if len(got.Tags) != 1 || got.Tags["kept"] != "yes" {
		t.Errorf("%+v", got.Tags)
	}
	c.do("GET ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/ContosoMHSM"+behind, nil).Want(404)
}
