package arm_test

import (
	"fmt"
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

// What a body may name is bounded, whatever is done with it: each is compared with the others.
func TestBodiesHaveBounds(t *testing.T) {
	t.Parallel()
	c := owner(hsmtest.New(t))
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	many := func(n int, value string) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(`"%d":%s`, i, value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	const behind = "/providers/Microsoft.Resources/tags/default"
	for _, of := range []string{mine, group} {
		c.do("PUT "+of+behind, `{"properties":{"tags":`+many(50, `"x"`)+`}}`).Want(200)
		c.do("PUT "+of+behind, `{"properties":{"tags":`+many(51, `"x"`)+`}}`).WantError(400, "BadRequest", "", "50 tags")
		for _, operation := range []string{"Merge", "Replace", "Delete"} {
			c.do("PATCH "+of+behind, `{"operation":"`+operation+`","properties":{"tags":`+many(51, `"y"`)+`}}`).WantError(400, "BadRequest", "", "50 tags")
		}
		c.do("PATCH "+of+behind, `{"operation":"Merge","properties":{"tags":{"another":"x"}}}`).WantError(400, "BadRequest", "", "50 tags")
	}
	for _, target := range []string{"PUT " + group, "PATCH " + group} {
		c.do(target, `{"location":"westus3","tags":`+many(51, `"x"`)+`}`).WantError(400, "BadRequest", "", "50 tags")
	}
	for _, target := range []string{"PUT " + mine, "PATCH " + mine} {
		c.do(target, strings.Replace(c.hsmBody(""), `"sku"`, `"identity":{"type":"UserAssigned","userAssignedIdentities":`+many(101, "null")+`},"sku"`, 1)).WantError(400, "BadRequest", "", "101 identities")
		c.do(target, strings.Replace(c.hsmBody(""), `"sku"`, `"identity":{"type":"UserAssigned","userAssignedIdentities":`+many(100, "null")+`},"sku"`, 1)).Want(200)
	}
}
