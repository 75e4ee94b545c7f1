package arm_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
)

// names follows nextLink to the end and returns the names that were listed, and how many pages that took.
func (c client) names(target string) (names []string, pages int) {
	c.T.Helper()
	for target != "" {
		var page struct {
			Value    []struct{ Name string }
			NextLink string
		}
		c.do("GET "+target, nil).Want(200).JSON(&page)
		for _, v := range page.Value {
			names = append(names, v.Name)
		}
		pages++
		if page.NextLink != "" && !strings.HasPrefix(page.NextLink, hsmtest.Control+"/") {
			c.T.Fatalf("nextLink %s", page.NextLink)
		}
		target = strings.TrimPrefix(page.NextLink, hsmtest.Control)
	}
	return names, pages
}

func TestPagedLists(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	for i, n := range []string{"delta", "Alpha", "echo", "BRAVO", "charlie"} {
		g := "GroupOne"
		if i == 2 {
			g = "grouptwo"
		}
		c.do("PUT ~/resourceGroups/"+g+"/providers/Microsoft.KeyVault/managedHSMs/"+n, c.hsmBody("")).Want(200)
	}
	const all = "~/providers/Microsoft.KeyVault/managedHSMs?" + version
	for _, l := range []struct {
		target, want string
		pages        int
	}{
		{all, "Alpha BRAVO charlie delta echo", 1},
		{all + "&$top=5", "Alpha BRAVO charlie delta echo", 1},
		{all + "&$top=2", "Alpha BRAVO charlie delta echo", 3},
		{all + "&$TOP=1", "Alpha BRAVO charlie delta echo", 5},
		{"~/resourceGroups/GROUPONE/providers/Microsoft.KeyVault/managedHSMs?$top=3&" + version, "Alpha BRAVO charlie delta", 2},
		{"~/resourceGroups/GroupTwo/providers/Microsoft.KeyVault/managedHSMs?$top=3&" + version, "echo", 1},
	} {
		if got, pages := c.names(l.target); strings.Join(got, " ") != l.want || pages != l.pages {
			t.Errorf("%s: %q in %d pages, want %s in %d", l.target, got, pages, l.want, l.pages)
		}
	}
	for _, bad := range []string{"$top=0", "$top=-1", "$top=many", "$skiptoken=%2F%2F", "$skiptoken=" + strings.Repeat("QQ", 4000)} {
		c.do("GET "+all+"&"+bad, nil).WantError(400, "InvalidParameter", "")
	}
	for _, n := range []string{"delta", "echo", "BRAVO"} {
		if _, err := s.Delete(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if got, pages := c.names("~/providers/Microsoft.KeyVault/deletedManagedHSMs?$top=2&" + version); strings.Join(got, " ") != "BRAVO delta echo" || pages != 2 {
		t.Errorf("deleted: %q in %d pages", got, pages)
	}
	if got, _ := c.names(all); strings.Join(got, " ") != "Alpha charlie" {
		t.Errorf("live: %q", got)
	}
}

// TestLargestPage: a page has at most 100 entries, whatever $top asks for.
func TestLargestPage(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	var want []string
	for i := range 103 {
		want = append(want, fmt.Sprintf("many-%03d", i))
		s.Provisioned(want[i])
	}
	for _, top := range []string{"", "&$top=1000"} {
		if got, pages := c.names("~/providers/Microsoft.KeyVault/managedHSMs?" + version + top); !slices.Equal(got, want) || pages != 2 {
			t.Errorf("%q: %d listed in %d pages", top, len(got), pages)
		}
	}
}

// TestResources: the lists of resources of all types, with the filters that az and Terraform send.
func TestResources(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, strings.Replace(c.hsmBody(""), `"sku"`, `"tags":{"env":"prod","o'k":"a and b"},"sku"`, 1)).Want(200)
	c.do("PUT ~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/second", strings.Replace(c.hsmBody(""), "westus3", "eastus", 1)).Want(200)
	c.do("PUT "+accounts+"contosomhsm", `{"location":"westus3"}`).Want(200) // the HSM's name, of another type
	c.do("PUT "+identities+"ant", `{"location":"westus3"}`).Want(201)
	one := `{"id":"` + mine + `","name":"ContosoMHSM","type":"Microsoft.KeyVault/managedHSMs","location":"westus3","tags":{"env":"prod","o'k":"a and b"},"sku":{"family":"B","name":"Standard_B1"}}`
	filtered := func(f string) string { return "~/resources?" + version + "&$filter=" + url.QueryEscape(f) }
	c.same(c.do("GET "+filtered("resourceType eq 'Microsoft.KeyVault/managedHSMs' and location eq 'westus3'"), nil).Want(200), `{"value":[`+one+`]}`)
	for _, f := range []struct{ filter, want string }{
		{"", "ant ContosoMHSM contosomhsm second"},
		{"resourceType eq 'microsoft.keyvault/MANAGEDHSMS'", "ContosoMHSM second"},
		{"resourceType eq 'Microsoft.KeyVault/vaults'", ""},
		{"resourceType ne 'Microsoft.KeyVault/managedHSMs'", "ant contosomhsm"},
		{"resourceType eq 'Microsoft.ManagedIdentity/userAssignedIdentities' or location eq 'eastus'", "ant second"},
		{"name eq 'CONTOSOMHSM'", "ContosoMHSM contosomhsm"},
		{"resourceGroup eq 'contosoresourcegroup' and resourceType eq 'Microsoft.Storage/storageAccounts'", "contosomhsm"},
		{"tagName eq 'env'", "ContosoMHSM"},
		{"tagname eq 'env' and tagvalue eq 'prod'", "ContosoMHSM"},
		{"tagname eq 'env' and tagvalue eq 'a and b'", ""},
		{"tagName eq 'o''k' and tagValue eq 'a and b'", "ContosoMHSM"},
		{strings.Repeat("tagValue ne 'x' and ", 49) + "tagName eq 'env'", "ContosoMHSM"},
	} {
		for _, top := range []string{"", "&$top=1", "&$top=2", "&$top=3"} {
			if got, _ := c.names(filtered(f.filter) + top); strings.Join(got, " ") != f.want {
				t.Errorf("%s %s: %q, want %s", f.filter, top, got, f.want)
			}
		}
	}
	if got, pages := c.names("~/resourceGroups/CONTOSOresourceGroup/resources?$expand=provisioningState&$top=2&" + version); strings.Join(got, " ") != "ant ContosoMHSM contosomhsm" || pages != 2 {
		t.Errorf("of a group: %q in %d pages", got, pages)
	}
	for _, bad := range []string{"name", "name eq", "name eq 'x", "name eq x", "name gt 'x'", "colour eq 'x'", "name eq 'x' nor name eq 'y'", "name eq 'x' and", "substringof('x', name)", "(name eq 'x')",
		strings.Repeat("tagValue ne 'x' and ", 50) + "name ne 'x'", "name ne '" + strings.Repeat("''", 4096) + "'"} { // each is held against every tag of every HSM
		c.do("GET "+filtered(bad), nil).WantError(400, "InvalidFilterInQueryString", "", "resourceType eq")
	}
}

// TestProviders: what clients read to choose an api-version, and the list of operations.
func TestProviders(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	type provider struct {
		Namespace, RegistrationState string
		ResourceTypes                []struct {
			ResourceType, Capabilities string
			APIVersions, Locations     []string
		}
	}
	var p provider
	c.do("GET ~/providers/microsoft.keyvault", nil).Want(200).JSON(&p)
	if p.Namespace != "Microsoft.KeyVault" || p.RegistrationState != "Registered" {
		t.Errorf("%+v", p)
	}
	for _, rt := range p.ResourceTypes {
		if newest := rt.APIVersions[0]; newest != "2026-04-01" {
			t.Errorf("%s: the newest version is %s", rt.ResourceType, newest)
		}
		if rt.ResourceType == "managedHSMs/regions" && rt.APIVersions[len(rt.APIVersions)-1] != "2023-02-01" {
			t.Errorf("%+v", rt)
		}
		if rt.ResourceType == "managedHSMs" && (!slices.Contains(rt.Locations, "westus3") || !strings.Contains(rt.Capabilities, "SupportsTags")) {
			t.Errorf("%+v", rt)
		}
	}
	var all struct{ Value []provider }
	c.do("GET ~/providers", nil).Want(200).JSON(&all)
	if len(all.Value) != 5 || len(all.Value[0].ResourceTypes) != len(p.ResourceTypes) {
		t.Errorf("%d providers", len(all.Value))
	}
	c.do("GET ~/providers/Microsoft.Compute", nil).Want(200).JSON(&p)
	if p.Namespace != "Microsoft.Compute" || len(p.ResourceTypes) != 0 {
		t.Errorf("%+v", p)
	}
	var ops struct {
		Value []struct {
			Name         string
			IsDataAction bool
			Display      map[string]string
		}
	}
	c.as(hsmtest.Stranger).do("GET /providers/Microsoft.KeyVault/operations", nil).Want(200).JSON(&ops)
	var names []string
	for _, o := range ops.Value {
		names = append(names, o.Name)
		if o.IsDataAction || o.Display["resource"] == "" || o.Display["operation"] == "" {
			t.Errorf("%+v", o)
		}
	}
	for _, want := range []string{"Microsoft.KeyVault/managedHSMs/read", "Microsoft.KeyVault/managedHSMs/write", "Microsoft.KeyVault/managedHSMs/delete", "Microsoft.KeyVault/locations/deletedManagedHsms/purge/action"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in %q", want, names)
		}
	}
}

// TestAPIVersions: those of the documents are taken, for what they have; others are refused with a list.
func TestAPIVersions(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	for _, v := range []string{"2020-04-01-preview", "2021-10-01", "2022-07-01", "2023-07-01", "2024-11-01", "2025-05-01", "2026-02-01", "2026-03-01-PREVIEW", "2026-04-01"} {
		c.do("GET "+mine+"?api-version="+v, nil).Want(200)
		c.do("GET "+mine+"?API-Version="+v, nil).Want(200)
	}
	for _, r := range []struct {
		target, code string
		words        []string
	}{
		{"GET " + mine + "?x=y", "MissingApiVersionParameter", []string{"api-version"}},
		{"GET " + mine + "?api-version=", "MissingApiVersionParameter", nil},
		{"GET " + mine + "?api-version=2015-06-01", "NoRegisteredProviderFound", []string{"2015-06-01", "'managedHSMs'", "2020-04-01-preview", "2026-04-01"}},
		{"DELETE " + mine + "?api-version=2099-01-01", "NoRegisteredProviderFound", []string{"2026-02-01"}},
		{"GET " + mine + "/regions?api-version=2022-11-01", "NoRegisteredProviderFound", []string{"'managedHSMs/regions'", "are '2023-02-01,"}},
		{"GET " + mine + "/privateEndpointConnections?api-version=2020-04-01-preview", "NoRegisteredProviderFound", []string{"are '2021-04-01-preview,"}},
		{"GET ~/providers/Microsoft.KeyVault/deletedManagedHSMs?api-version=2020-04-01-preview", "NoRegisteredProviderFound", []string{"'deletedManagedHSMs'"}},
		{"POST ~/providers/Microsoft.KeyVault/locations/westus3/deletedManagedHSMs/x/purge?api-version=7.4", "NoRegisteredProviderFound", []string{"'locations/deletedManagedHSMs'"}},
		{"POST ~/providers/Microsoft.KeyVault/checkMhsmNameAvailability?api-version=2021-10-01", "NoRegisteredProviderFound", []string{"are '2022-02-01-preview,"}},
		{"GET /providers/Microsoft.KeyVault/operations?api-version=2019-01-01", "NoRegisteredProviderFound", []string{"'operations'"}},
		{"GET " + mine + "?api-version=" + strings.Repeat("9", 3000), "NoRegisteredProviderFound", nil},
	} {
		c.do(r.target, nil).WantError(400, r.code, "", r.words...)
	}
	// Of other providers, and of vaults that are not there, every version is taken.
	c.do("GET ~/resources?api-version=2015-11-01&$filter=resourceType+eq+%27Microsoft.KeyVault/vaults%27", nil).Want(200)
	c.do("GET ~/providers/Microsoft.KeyVault/vaults?api-version=2015-06-01", nil).Want(200)
	c.do("GET "+mine, nil).Want(200)
}
