package main

import (
	"slices"
	"strings"
	"time"
)

// resource is what az prints of an HSM, of a deleted one, and of any resource.
type resource struct {
	ID, Name, Type, Location string
	Tags                     map[string]string
	Properties               struct {
		HsmURI                                  string
		EnablePurgeProtection, EnableSoftDelete bool
		SoftDeleteRetentionInDays               int
		ProvisioningState, PublicNetworkAccess  string
		NetworkACLs                             networkRules
		MhsmID                                  string
		DeletionDate, ScheduledPurgeDate        *time.Time
		PurgeProtectionEnabled                  bool
	}
}

// pool is one HSM as a resource, in a group of its own.
type pool struct {
	s         *session
	name, grp string
	id        string
}

// on is a command with the HSM and its group.
func (p *pool) on(sub string, args ...string) []string {
	return slices.Concat(strings.Fields(sub), []string{"--hsm-name", p.name, "-g", p.grp}, args)
}

// resources are the life of an HSM as a resource: every subcommand of az keyvault that is for it, and the generic
// commands of resources, tags, groups and roles.
func (s *session) resources() {
	p := &pool{s: s, name: s.prefix + "life", grp: s.prefix + "group"}
	p.create()
	p.show()
	p.update()
	p.neighbours()
	p.generic()
	p.tags()
	p.roles()
	p.deleted()
	p.groupGone()
}

func (p *pool) available(name, reason, word string) {
	var a struct {
		NameAvailable   bool
		Reason, Message string
	}
	p.s.json(&a, "keyvault", "check-name", "--name", name)
	want(a.NameAvailable == (reason == "") && a.Reason == reason && strings.Contains(a.Message, word), "%s: %+v", name, a)
}

func (p *pool) create() {
	s := p.s
	var g resource
	s.json(&g, "group", "create", "-n", p.grp, "-l", "westus3")
	equal(g.Name, p.grp, "the group")
	equal(strings.TrimSpace(s.az("group", "exists", "-n", p.grp)), "true", "group exists")
	p.available(p.name, "", "")
	p.available("no--name", "AccountNameInvalid", "3 to 24")
	var made resource
	admin := strings.Trim(strings.TrimSpace(s.az("ad", "signed-in-user", "show", "--query", "id")), `"`)
	s.json(&made, p.on("keyvault create", "-l", "westus3", "--administrators", admin, "--retention-days", "7", "--tags", "a=b", "--bypass", "None", "--default-action", "Deny", "--network-acls-ips", "127.0.0.0/8")...)
	pr := made.Properties
	want(made.Name == p.name && made.Location == "westus3" && made.Tags["a"] == "b" && pr.SoftDeleteRetentionInDays == 7 && pr.EnableSoftDelete && !pr.EnablePurgeProtection &&
		pr.ProvisioningState == "Succeeded" && strings.HasPrefix(pr.HsmURI, "https://"+p.name+".") && len(pr.NetworkACLs.IPRules) == 1, "created %+v", made)
	p.id = made.ID
	p.available(strings.ToUpper(p.name), "AlreadyExists", "in use")
	s.refused("ResourceNotFound", "keyvault", "show", "--hsm-name", "nobody", "-g", p.grp)
	s.refused("BadRequest", slices.Concat(strings.Fields("keyvault create --hsm-name"), []string{s.prefix + "bad", "-g", p.grp, "-l", "westus3", "--administrators", admin, "--retention-days", "91"})...)
	step("created the HSM %s in a group of its own", p.name)
}

// show finds it by name alone, in the lists, and waits for it.
func (p *pool) show() {
	s := p.s
	var got resource
	s.json(&got, "keyvault", "show", "--hsm-name", p.name)
	equal(got.ID, p.id, "show without a group")
	for _, args := range [][]string{{}, {"--resource-type", "hsm"}, {"-g", p.grp}, {"-g", strings.ToUpper(p.grp), "--resource-type", "hsm"}} {
		var all []resource
		s.json(&all, slices.Concat([]string{"keyvault", "list"}, args)...)
		want(slices.ContainsFunc(all, func(r resource) bool { return r.ID == p.id }), "list %q: %d resources", args, len(all))
		want(!contains(args, "-g") || len(all) == 1, "list %q: %d resources", args, len(all))
	}
	s.az("keyvault", "wait-hsm", "--hsm-name", p.name, "--created", "--timeout", "5")
	s.az(p.on("keyvault network-rule wait", "--created", "--timeout", "5")...)
	step("shown and listed by name, group and type")
}

func (p *pool) update() {
	s := p.s
	var got resource
	s.json(&got, p.on("keyvault update-hsm", "--public-network-access", "Disabled")...)
	want(got.Properties.PublicNetworkAccess == "Disabled" && got.Tags["a"] == "b" && got.Properties.HsmURI != "" && len(got.Properties.NetworkACLs.IPRules) == 1, "updated %+v", got)
	s.json(&got, p.on("keyvault update-hsm", "--public-network-access", "Enabled", "--bypass", "AzureServices")...)
	want(got.Properties.PublicNetworkAccess == "Enabled" && got.Properties.NetworkACLs.Bypass == "AzureServices" && got.Properties.NetworkACLs.DefaultAction == "Deny", "updated %+v", got)
	step("updated; what was not named stayed")
}

// neighbours are regions and private endpoints: there is one region, and no endpoint.
func (p *pool) neighbours() {
	s := p.s
	var regions []struct {
		Name      string
		IsPrimary bool
	}
	s.json(&regions, p.on("keyvault region list")...)
	want(len(regions) == 1 && regions[0].Name == "westus3" && regions[0].IsPrimary, "regions %+v", regions)
	s.refused("RegionNotSupported", p.on("keyvault region add", "--region", "eastus")...)
	s.az(p.on("keyvault region remove", "--region", "eastus")...)
	s.az(p.on("keyvault region wait", "--created", "--timeout", "5")...)
	for _, sub := range []string{"private-endpoint-connection list", "private-link-resource list"} {
		equal(strings.TrimSpace(s.az(p.on("keyvault "+sub)...)), "[]", sub)
	}
	for _, verb := range []string{"show", "approve", "reject"} {
		s.refused("no private endpoint", p.on("keyvault private-endpoint-connection "+verb, "--name", "none")...)
	}
	s.az(p.on("keyvault private-endpoint-connection delete", "--name", "none")...)
	s.az(p.on("keyvault private-endpoint-connection wait", "--name", "none", "--deleted", "--timeout", "5")...)
	step("one region, and no private endpoints")
}

// generic are the commands for resources of every type, which choose the api-version by what the provider lists.
func (p *pool) generic() {
	s := p.s
	const hsms = "Microsoft.KeyVault/managedHSMs"
	for _, args := range [][]string{{"-g", p.grp}, {"--name", p.name}, {"--resource-type", hsms, "-g", p.grp}} {
		var all []resource
		s.json(&all, slices.Concat([]string{"resource", "list"}, args)...)
		want(len(all) == 1 && all[0].ID == p.id && all[0].Type == hsms, "resource list %q: %+v", args, all)
	}
	var got resource
	s.json(&got, "resource", "show", "-g", p.grp, "-n", p.name, "--resource-type", hsms)
	equal(got.ID, p.id, "resource show")
	s.json(&got, "resource", "tag", "--ids", p.id, "--tags", "c=d", "-i")
	want(len(got.Tags) == 2 && got.Tags["c"] == "d", "tagged %+v", got.Tags)
	s.json(&got, "resource", "update", "--ids", p.id, "--set", "tags.e=f")
	want(len(got.Tags) == 3 && got.Properties.HsmURI != "", "updated %+v", got)
	s.refused("fixed at creation", "resource", "update", "--ids", p.id, "--set", "properties.softDeleteRetentionInDays=90")
	s.az("resource", "wait", "--ids", p.id, "--exists", "--timeout", "5")
	s.json(&got, "rest", "--url", p.id+"?api-version=2023-07-01")
	equal(got.ID, p.id, "rest")
	s.refused("The supported api-versions are", "rest", "--url", p.id+"?api-version=2016-01-01")
	var operations struct{ Value []struct{ Name string } }
	s.json(&operations, "rest", "--url", "/providers/Microsoft.KeyVault/operations?api-version=2026-02-01")
	want(len(operations.Value) > 5, "%d operations", len(operations.Value))
	step("listed, shown, tagged and updated by az resource, and read by az rest")
}

func (p *pool) tags() {
	s := p.s
	for _, c := range []struct {
		sub   []string
		count int
	}{
		{[]string{"create", "--tags", "x=y"}, 1}, {[]string{"update", "--operation", "merge", "--tags", "z=1"}, 2}, {[]string{"update", "--operation", "delete", "--tags", "x=y"}, 1}, {[]string{"list"}, 1},
	} {
		var got resource
		var tags struct {
			Properties struct{ Tags map[string]string }
		}
		s.json(&tags, slices.Concat([]string{"tag", c.sub[0], "--resource-id", p.id}, c.sub[1:])...)
		equal(len(tags.Properties.Tags), c.count, "tags after "+c.sub[0])
		s.json(&got, "keyvault", "show", "--hsm-name", p.name, "-g", p.grp)
		equal(len(got.Tags), c.count, "tags of the HSM")
	}
	step("tags made, merged and deleted by az tag")
}

// roles are those of the control plane at the HSM.
func (p *pool) roles() {
	s := p.s
	const role = "Managed HSM contributor"
	var defs []struct{ Name, RoleName string }
	s.json(&defs, "role", "definition", "list", "--name", role)
	want(len(defs) == 1 && defs[0].Name == "18500a29-7fe2-46b2-a342-b16a415e101d", "the definition is %+v", defs)
	type assignment struct{ Name, Scope, RoleDefinitionName, PrincipalID string }
	var made assignment
	at := []string{"--scope", p.id}
	who := []string{"--role", role, "--assignee", env("AZURE_CLIENT_ID")}
	s.json(&made, slices.Concat(strings.Fields("role assignment create"), who, at)...)
	equal(made.Scope, p.id, "scope of the assignment")
	var all []assignment
	s.json(&all, slices.Concat(strings.Fields("role assignment list"), at)...)
	want(len(all) == 1 && all[0].RoleDefinitionName == role && all[0].Name == made.Name, "assignments %+v", all)
	s.json(&all, slices.Concat(strings.Fields("role assignment list --include-inherited"), at)...)
	want(len(all) > 1, "with those of the subscription: %+v", all)
	s.az(slices.Concat(strings.Fields("role assignment delete"), who, at)...)
	s.json(&all, slices.Concat(strings.Fields("role assignment list"), at)...)
	equal(len(all), 0, "assignments that are left")
	s.refused("doesn't exist", slices.Concat(strings.Fields("role assignment create --role Nonesuch --assignee"), []string{env("AZURE_CLIENT_ID")}, at)...)
	step("a role of the control plane given and taken at the HSM")
}

// deleted is delete, list-deleted, show-deleted, recover and purge.
func (p *pool) deleted() {
	s := p.s
	s.az("keyvault", "delete", "--hsm-name", p.name)
	s.refused("not found", "keyvault", "show", "--hsm-name", p.name)
	p.available(p.name, "AlreadyExists", "Recover")
	s.refused("keyvault recover", p.on("keyvault create", "-l", "westus3", "--administrators", env("AZURE_TENANT_ID"), "--retention-days", "7")...)
	var all []resource
	s.json(&all, "keyvault", "list-deleted", "--resource-type", "hsm")
	want(slices.ContainsFunc(all, func(r resource) bool { return r.Properties.MhsmID == p.id }), "%s is not among %d deleted ones", p.id, len(all))
	var gone, back resource
	s.json(&gone, "keyvault", "show-deleted", "--hsm-name", p.name)
	pr := gone.Properties
	want(pr.MhsmID == p.id && pr.ScheduledPurgeDate.Sub(*pr.DeletionDate) == 7*24*time.Hour && !pr.PurgeProtectionEnabled, "deleted %+v", gone)
	s.json(&back, "keyvault", "recover", "--hsm-name", p.name)
	want(back.ID == p.id && back.Tags["z"] == "1", "recovered %+v", back)
	s.az("resource", "delete", "--ids", p.id)
	s.az("keyvault", "purge", "--hsm-name", p.name)
	p.available(p.name, "", "")
	s.refused("No deleted Vault or HSM was found", "keyvault", "purge", "--hsm-name", p.name)
	step("deleted, shown among the deleted, recovered, deleted again and purged")
}

// groupGone deletes the group with a purge-protected HSM in it, which stays among the deleted ones.
func (p *pool) groupGone() {
	s := p.s
	kept := s.prefix + "kept"
	s.az("keyvault", "create", "--hsm-name", kept, "-g", p.grp, "-l", "westus3", "--administrators", env("AZURE_TENANT_ID"), "--retention-days", "7", "--enable-purge-protection", "true")
	s.refused("cannot be switched off", "resource", "update", "-g", p.grp, "-n", kept, "--resource-type", "Microsoft.KeyVault/managedHSMs", "--set", "properties.enablePurgeProtection=false")
	s.az("group", "delete", "-n", p.grp, "--yes")
	equal(strings.TrimSpace(s.az("group", "exists", "-n", p.grp)), "false", "group exists")
	var gone resource
	s.json(&gone, "keyvault", "show-deleted", "--hsm-name", kept, "--location", "westus3")
	equal(gone.Properties.PurgeProtectionEnabled, true, "purge protection of the deleted HSM")
	s.refused("purge protection is on", "keyvault", "purge", "--hsm-name", kept)
	step("a group deleted with its HSM, which purge protection keeps")
}
