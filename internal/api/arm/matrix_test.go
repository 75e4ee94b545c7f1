package arm_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/api/arm"
	"redoubt/internal/cloud"
	"redoubt/internal/hsmtest"
)

// The roles of the matrix, each with its letter. N has none, and A administers every HSM but has no role here.
var matrixRoles = map[string]string{
	"O": cloud.RoleOwner, "C": cloud.RoleContributor, "H": cloud.RoleManagedHSMContributor, "R": cloud.RoleReader, "U": cloud.RoleUserAccessAdministrator, "N": "", "A": "",
}

// matrix says who holds each permission of the route table by a role at the subscription. A permission without a
// line here fails the test: whoever adds a route decides who may use it.
var matrix = map[string]string{
	"":                                                                 "OCHRUNA", // every signed-in principal
	"Microsoft.KeyVault/managedHSMs/read":                              "OCHRU",
	"Microsoft.KeyVault/managedHSMs/write":                             "OCH",
	"Microsoft.KeyVault/managedHSMs/delete":                            "OCH",
	"Microsoft.KeyVault/managedHSMs/keys/read":                         "OCHRU",
	"Microsoft.KeyVault/managedHSMs/keys/write":                        "OCH",
	"Microsoft.KeyVault/managedHSMs/keys/versions/read":                "OCHRU",
	"Microsoft.KeyVault/managedHSMs/privateEndpointConnections/read":   "OCHRU",
	"Microsoft.KeyVault/managedHSMs/privateEndpointConnections/write":  "OCH",
	"Microsoft.KeyVault/managedHSMs/privateEndpointConnections/delete": "OCH",
	"Microsoft.KeyVault/managedHSMs/privateLinkResources/read":         "OCHRU",
	"Microsoft.KeyVault/deletedManagedHsms/read":                       "OCHRU",
	"Microsoft.KeyVault/locations/deletedManagedHsms/read":             "OCHRU",
	"Microsoft.KeyVault/locations/deletedManagedHsms/purge/action":     "OCH",
	"Microsoft.KeyVault/locations/managedHsmOperationResults/read":     "OCHRU",

	"Microsoft.Resources/subscriptions/resources/read":                "OCRU",
	"Microsoft.Resources/subscriptions/resourceGroups/read":           "OCRU",
	"Microsoft.Resources/subscriptions/resourceGroups/write":          "OC",
	"Microsoft.Resources/subscriptions/resourceGroups/delete":         "OC",
	"Microsoft.Resources/subscriptions/resourceGroups/resources/read": "OCRU",

	"Microsoft.Resources/tags/read":   "OCRU",
	"Microsoft.Resources/tags/write":  "OC",
	"Microsoft.Resources/tags/delete": "OC",

	"Microsoft.Authorization/roleDefinitions/read":   "OCRU",
	"Microsoft.Authorization/roleAssignments/read":   "OCRU",
	"Microsoft.Authorization/roleAssignments/write":  "OU",
	"Microsoft.Authorization/roleAssignments/delete": "OU",

	"Microsoft.ManagedIdentity/userAssignedIdentities/read":   "OCRU",
	"Microsoft.ManagedIdentity/userAssignedIdentities/write":  "OC",
	"Microsoft.ManagedIdentity/userAssignedIdentities/delete": "OC",

	"Microsoft.Storage/storageAccounts/read":                 "OCRU",
	"Microsoft.Storage/storageAccounts/write":                "OC",
	"Microsoft.Storage/storageAccounts/delete":               "OC",
	"Microsoft.Storage/storageAccounts/listKeys/action":      "OC",
	"Microsoft.Storage/storageAccounts/regenerateKey/action": "OC",
}

// TestRoleMatrix asks every route as every role and looks whether it was refused for want of permission.
func TestRoleMatrix(t *testing.T) {
	t.Parallel()
	rows := arm.New(arm.Config{}).Rows()
	for letter, role := range matrixRoles {
		t.Run(letter, func(t *testing.T) {
			t.Parallel()
			s := hsmtest.New(t)
			c := owner(s)
			c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
			c.do("PUT "+mine, c.hsmBody("")).Want(200)
			who := c.as(hsmtest.NewGUID())
			if letter == "A" {
				who = c.as(hsmtest.Admin)
			}
			if role != "" {
				c.grant(role, "~", who.who)
			}
			for _, r := range rows {
				want, known := matrix[r.Action]
				if !known {
					t.Errorf("%s needs the permission %q, which has no line in the matrix", r.Pattern, r.Action)
				}
				who.asks(r, strings.Contains(want, letter))
			}
		})
	}
}

// fill are the values of the patterns' segments.
var fill = strings.NewReplacer("{sub}", "SUB", "{rg}", "ContosoResourceGroup", "{name}", "contosomhsm", "{loc}", "westus3", "{op}", hsmtest.Stranger, "{ns}", "Microsoft.KeyVault")

// asks sends the request of a row and compares whether it is refused. A refusal names action and scope.
func (c client) asks(r arm.Row, allowed bool) {
	c.T.Helper()
	method, path := r.Method, "/"+fill.Replace(r.Pattern)
	if method == "" { // a route of roles: "GET roleassignments one"
		words := strings.Fields(r.Pattern)
		method, path = words[0], mine+"/providers/Microsoft.Authorization/"+words[1]
		if len(words) == 3 {
			path += "/" + hsmtest.NewGUID()
		}
	}
	path = strings.ReplaceAll(path, "{", "x-")
	path = strings.ReplaceAll(strings.Replace(path, "/subscriptions/SUB", "~", 1), "}", "")
	a := c.do(method+" "+path, `{"location":"westus3"}`)
	refused := a.Status == http.StatusForbidden && (method == http.MethodHead || strings.Contains(string(a.Body), "AuthorizationFailed"))
	if refused == allowed {
		c.T.Errorf("%s %s (%s): %d %.200s", method, path, r.Action, a.Status, a.Body)
	}
	if refused && method != http.MethodHead {
		a.WantError(403, "AuthorizationFailed", "", "'"+c.who+"'", fmt.Sprintf("does not have authorization to perform action '%s' over scope '%s", r.Action, c.sub()))
	}
}

// TestScopes: a role counts at its scope and below, whatever the letter case of ids, and nowhere else; lists show what
// lies there.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	const neighbour, elsewhere, gone = hsms + "/neighbour", "~/resourceGroups/other/providers/Microsoft.KeyVault/managedHSMs/elsewhere", "~/providers/Microsoft.KeyVault/deletedManagedHSMs"
	for _, target := range []string{mine, neighbour, elsewhere} {
		c.do("PUT "+target, c.hsmBody("")).Want(200)
	}
	c.do("PUT "+group, `{"location":"westus3"}`).Want(201)
	c.do("PUT ~/resourceGroups/other", `{"location":"westus3"}`).Want(201)
	single := []string{mine, neighbour, elsewhere, group, gone}
	lists := map[string]string{ // what the names are of all who see everything
		"~/providers/Microsoft.KeyVault/managedHSMs?$top=1&" + version: "ContosoMHSM elsewhere neighbour", hsms + "?" + version: "ContosoMHSM neighbour",
		"~/resources?$top=2&" + version: "ContosoMHSM elsewhere neighbour", group + "/resources?" + version: "ContosoMHSM neighbour", "~/resourceGroups?" + version: "ContosoResourceGroup other",
	}
	for _, g := range []struct {
		scope, sees string
		may         []string
	}{
		{"~", "ContosoMHSM elsewhere neighbour ContosoResourceGroup other", single},
		{strings.ToUpper("~"), "ContosoMHSM elsewhere neighbour ContosoResourceGroup other", single},
		{group, "ContosoMHSM neighbour ContosoResourceGroup", []string{mine, neighbour, group}},
		{"~/resourcegroups/CONTOSORESOURCEGROUP", "ContosoMHSM neighbour ContosoResourceGroup", []string{mine, neighbour, group}},
		{"~/resourceGroups/ContosoResource", "", nil}, // the beginning of a name is another name
		{mine, "ContosoMHSM", []string{mine}},
		{strings.ToUpper(mine), "ContosoMHSM", []string{mine}},
		{elsewhere, "elsewhere", []string{elsewhere}},
	} {
		reader := c.as(hsmtest.NewGUID())
		scope := strings.Replace(g.scope, "~", strings.ToUpper(c.sub()), 1)
		c.grant(strings.ToUpper(cloud.RoleReader), scope, strings.ToUpper(reader.who))
		for _, target := range single {
			want := 403
			if slices.Contains(g.may, target) {
				want = 200
			}
			if a := reader.do("GET "+target, nil); a.Status != want {
				t.Errorf("Reader at %s: GET %s: %d, want %d", g.scope, target, a.Status, want)
			}
		}
		for target, whole := range lists {
			var want []string
			for _, name := range strings.Fields(whole) {
				if slices.Contains(strings.Fields(g.sees), name) {
					want = append(want, name)
				}
			}
			a := reader.do("GET "+target, nil)
			if a.Status == 403 && len(want) == 0 {
				continue
			}
			if got, _ := reader.names(target); !slices.Equal(got, want) {
				t.Errorf("Reader at %s: GET %s: %q, want %q", g.scope, target, got, want)
			}
		}
	}
}

// TestRolesOfGroups: a role of a group is one of its members, as their tokens name them.
func TestRolesOfGroups(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	c.do("PUT "+mine, c.hsmBody("")).Want(200)
	staff := hsmtest.NewGUID()
	c.grant(cloud.RoleReader, group, staff)
	ask := func(groups ...string) hsmtest.Answer {
		claims := s.Claims(hsmtest.Stranger)
		claims["aud"], claims["groups"] = hsmtest.Control, groups
		return c.Do(hsmtest.Ask{Method: "GET", Host: host, Path: strings.Replace(mine, "~", c.sub(), 1) + "?" + version, Token: s.Forge("RS256", claims)})
	}
	ask(hsmtest.NewGUID(), strings.ToUpper(staff)).Want(200)
	ask(hsmtest.NewGUID()).WantError(403, "AuthorizationFailed", "")
	ask().WantError(403, "AuthorizationFailed", "")
}

// TestPlanesAreApart: whoever owns the resource has no key, and whoever administers the HSM has no resource.
func TestPlanesAreApart(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	c := owner(s)
	s.Active("contosomhsm")
	device := func(who, method, path string) hsmtest.Answer {
		return c.Do(hsmtest.Ask{Method: method, Host: "contosomhsm.managedhsm.azure.net", Path: path + "?api-version=7.4", Token: c.Token(who, hsmtest.Devices), Body: `{"kty":"RSA-HSM"}`})
	}
	c.do("GET "+mine, nil).Want(200)
	for _, target := range []string{"GET /keys", "POST /keys/k/create", "GET /providers/Microsoft.Authorization/roleAssignments", "POST /securitydomain/download", "POST /backup"} {
		method, path, _ := strings.Cut(target, " ")
		device(c.who, method, path).WantError(403, "AccessDenied", "", "Not authorized")
	}
	admin := c.as(hsmtest.Admin)
	device(admin.who, "GET", "/providers/Microsoft.Authorization/roleAssignments").Want(200)
	for _, target := range []string{"GET " + mine, "PATCH " + mine, "DELETE " + mine, "GET " + hsms, "GET ~/providers/Microsoft.KeyVault/deletedManagedHSMs"} {
		admin.do(target, "{}").WantError(403, "AuthorizationFailed", "")
	}
	// A token for one plane is none for the other.
	c.Do(hsmtest.Ask{Method: "GET", Host: "contosomhsm.managedhsm.azure.net", Path: "/keys?api-version=7.4", Token: c.Token(hsmtest.Officer, hsmtest.Control)}).Want(401)
	c.Do(hsmtest.Ask{Method: "GET", Host: host, Path: c.sub() + "?" + version, Token: c.Token(c.who, hsmtest.Devices)}).Want(401)
}
