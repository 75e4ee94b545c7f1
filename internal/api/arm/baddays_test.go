package arm_test

import (
	"strings"
	"sync"
	"testing"

	"redoubt/internal/hsmtest"
)

// TestCreationsAtOnce: of many creations of one name one makes the HSM. Those in its group are answered with it or
// told to wait, those in other groups that the name is taken.
func TestCreationsAtOnce(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	answers := make([]hsmtest.Answer, 12)
	groups := []string{"one", "two", "three"}
	target := func(i int) string {
		return "~/resourceGroups/" + groups[i%3] + "/providers/Microsoft.KeyVault/managedHSMs/" + []string{"contested", "CONTESTED"}[i%2]
	}
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = c.do("PUT "+target(i), c.hsmBody("")) })
	}
	wg.Wait()
	all := s.List(false)
	if len(all) != 1 || len(s.Records("/fleet/new/")) != 0 {
		t.Fatalf("there are %d HSMs, and records %q", len(all), s.Records("/fleet/"))
	}
	made := 0
	for i, a := range answers {
		switch {
		case a.Status == 200 && strings.Contains(target(i), "/"+all[0].ResourceGroup+"/"):
			made++
		case a.Status == 409 && (strings.Contains(string(a.Body), `"VaultAlreadyExists"`) || strings.Contains(string(a.Body), `"409"`) && strings.Contains(string(a.Body), "still being created")):
		default:
			t.Errorf("%s: %d %s", target(i), a.Status, a.Body)
		}
	}
	if made == 0 {
		t.Error("nobody was told of the HSM")
	}
	s.HSM("contested")
}

// TestDeletionsAtOnce: a deletion that comes second finds nothing, which is what it wanted.
func TestDeletionsAtOnce(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	var wg sync.WaitGroup
	statuses := make([]int, 6)
	for i := range statuses {
		wg.Go(func() { statuses[i] = c.do("DELETE "+mine, nil).Status })
	}
	wg.Wait()
	count := map[int]int{}
	for _, st := range statuses {
		count[st]++
	}
	if count[200] != 1 || count[204] != 5 {
		t.Errorf("statuses %v", statuses)
	}
}

// TestDeletedGroup: what a deleted group held is soft-deleted, purge protection or not, and can be recovered into a
// group of that name.
func TestDeletedGroup(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT "+mine, c.hsmBody(`,"enablePurgeProtection":true`)).Want(200)
	c.do("PUT "+hsms+"/second", c.hsmBody("")).Want(200)
	c.do("PUT ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/third", c.hsmBody("")).Want(200)
	c.do("DELETE ~/resourceGroups/CONTOSORESOURCEGROUP", nil).Want(200)
	if got, _ := c.names("~/providers/Microsoft.KeyVault/deletedManagedHSMs?" + version); strings.Join(got, " ") != "ContosoMHSM second" {
		t.Errorf("deleted are %q", got)
	}
	if got, _ := c.names("~/resources?" + version); strings.Join(got, " ") != "third" {
		t.Errorf("there are %q", got)
	}
	purge := "POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/"
	c.do(purge+"ContosoMHSM/purge", nil).WantError(403, "Forbidden", "", "purge protection")
	c.do(purge+"second/purge", nil).Want(202)
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT "+mine, c.hsmBody(`,"createMode":"recover"`)).Want(200)
	c.do("PATCH "+mine, `{"properties":{"enablePurgeProtection":false}}`).WantError(400, "BadRequest", "", "cannot be switched off")
	c.do("PUT "+mine, c.hsmBody(`,"enablePurgeProtection":false`)).WantError(400, "BadRequest", "", "cannot be switched off")
}
