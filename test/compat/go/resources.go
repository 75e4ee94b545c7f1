package main

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
)

// The group and region of the HSMs that this part makes. The group is the runner's.
const (
	group  = "compat"
	region = "westus3"
)

// controlPlane makes the clients of armkeyvault for the service principal, who is Owner of the subscription.
func (s *session) controlPlane() *armkeyvault.ClientFactory {
	o := arm.ClientOptions{ClientOptions: s.options}
	if rm := os.Getenv("REDOUBT_RESOURCE_MANAGER"); os.Getenv("REDOUBT_COMPAT_MODE") == "own-cloud" {
		o.Cloud.Services = map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: rm, Audience: rm}}
	}
	return must(armkeyvault.NewClientFactory(env("AZURE_SUBSCRIPTION_ID"), s.user, &o))
}

// resources walks ManagedHsmsClient and its neighbours: the life of an HSM as a resource.
func (s *session) resources() {
	f := s.controlPlane()
	c := f.NewManagedHsmsClient()
	name := s.key("life") // as an HSM's name
	s.available(c, name, "")
	s.available(c, "no--name", armkeyvault.ReasonAccountNameInvalid)
	made := s.createHSM(c, name)
	s.available(c, strings.ToUpper(name), armkeyvault.ReasonAlreadyExists)
	s.updateHSM(c, name, made)
	s.listHSMs(c, name)
	s.neighbours(f, name)
	s.deleteHSM(c, name)
}

// done waits for the end of a long-running operation. All of them have ended when they are answered.
func done[T any](s *session, p *runtime.Poller[T], err error) T {
	return must(must(p, err).PollUntilDone(s.ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}))
}

// all are the entries of all pages.
func all[P, T any](s *session, p *runtime.Pager[P], entries func(P) []*T) (out []*T, pages int) {
	for p.More() {
		out = append(out, entries(must(p.NextPage(s.ctx)))...)
		pages++
	}
	return out, pages
}

// available asks whether a name can be had; without a reason it can.
func (s *session) available(c *armkeyvault.ManagedHsmsClient, name string, reason armkeyvault.Reason) {
	r := must(c.CheckMhsmNameAvailability(s.ctx, armkeyvault.CheckMhsmNameAvailabilityParameters{Name: to(name)}, nil))
	want(*r.NameAvailable == (reason == "") && value(r.Reason) == reason, "%s: available %v, because of %q", name, *r.NameAvailable, value(r.Reason))
	want((reason == "") == (value(r.Message) == ""), "%s: the message is %q", name, value(r.Message))
	step("%s can be had: %v", name, *r.NameAvailable)
}

// desired is the HSM that is made.
func (s *session) desired() armkeyvault.ManagedHsm {
	return armkeyvault.ManagedHsm{Location: to("West US 3"), Tags: map[string]*string{"made by": to("armkeyvault")},
		SKU: &armkeyvault.ManagedHsmSKU{Family: to(armkeyvault.ManagedHsmSKUFamilyB), Name: to(armkeyvault.ManagedHsmSKUNameCustomB32)},
		Properties: &armkeyvault.ManagedHsmProperties{TenantID: to(env("AZURE_TENANT_ID")), InitialAdminObjectIDs: []*string{to("11111111-1111-4111-8111-111111111111")},
			EnableSoftDelete: to(true), SoftDeleteRetentionInDays: to[int32](8), EnablePurgeProtection: to(false), CreateMode: to(armkeyvault.CreateModeDefault),
			PublicNetworkAccess: to(armkeyvault.PublicNetworkAccessEnabled),
			NetworkACLs:         &armkeyvault.MHSMNetworkRuleSet{Bypass: to(armkeyvault.NetworkRuleBypassOptionsNone), DefaultAction: to(armkeyvault.NetworkRuleActionAllow)}}}
}

func (s *session) createHSM(c *armkeyvault.ManagedHsmsClient, name string) armkeyvault.ManagedHsm {
	_, err := c.Get(s.ctx, group, name, nil)
	refused(err, http.StatusNotFound, "ResourceNotFound", "an HSM that is not there")
	bad := s.desired()
	bad.Properties.SoftDeleteRetentionInDays = to[int32](91)
	_, err = c.BeginCreateOrUpdate(s.ctx, group, name, bad, nil)
	refused(err, http.StatusBadRequest, "BadRequest", "91 days")
	p, err := c.BeginCreateOrUpdate(s.ctx, group, name, s.desired(), nil)
	made := done(s, p, err).ManagedHsm
	got := must(c.Get(s.ctx, strings.ToUpper(group), strings.ToUpper(name), nil)).ManagedHsm
	for _, m := range []armkeyvault.ManagedHsm{made, got} {
		pr := m.Properties
		want(strings.HasSuffix(*m.ID, "/resourceGroups/"+group+"/providers/Microsoft.KeyVault/managedHSMs/"+name) && *m.Name == name && *m.Type == "Microsoft.KeyVault/managedHSMs" && *m.Location == region,
			"%s %s %s in %s", *m.ID, *m.Name, *m.Type, *m.Location)
		want(*m.SKU.Family == "B" && *m.SKU.Name == "Custom_B32" && *m.Tags["made by"] == "armkeyvault", "SKU %s, tags %v", *m.SKU.Name, m.Tags)
		want(*pr.ProvisioningState == armkeyvault.ProvisioningStateSucceeded && *pr.SecurityDomainProperties.ActivationStatus == armkeyvault.ActivationStatusNotActivated,
			"%s, %s", *pr.ProvisioningState, *pr.SecurityDomainProperties.ActivationStatus)
		want(strings.HasPrefix(*pr.HsmURI, "https://"+name+".") && *pr.EnableSoftDelete && !*pr.EnablePurgeProtection && *pr.SoftDeleteRetentionInDays == 8 && len(pr.InitialAdminObjectIDs) == 1,
			"%s, %d days", *pr.HsmURI, *pr.SoftDeleteRetentionInDays)
		want(*pr.PublicNetworkAccess == "Enabled" && *pr.NetworkACLs.Bypass == "None" && *pr.NetworkACLs.DefaultAction == "Allow" && m.SystemData.CreatedAt != nil, "network rules %+v", *pr.NetworkACLs)
	}
	step("created and read the HSM %s", *made.ID)
	return made
}

// updateHSM changes it by PUT, which sends it back whole, and by PATCH.
func (s *session) updateHSM(c *armkeyvault.ManagedHsmsClient, name string, made armkeyvault.ManagedHsm) {
	made.Tags["second"] = to("put")
	p, err := c.BeginCreateOrUpdate(s.ctx, group, name, made, nil)
	put := done(s, p, err).ManagedHsm
	want(*put.ID == *made.ID && len(put.Tags) == 2 && *put.Properties.HsmURI == *made.Properties.HsmURI, "after PUT: %s with %d tags", *put.ID, len(put.Tags))
	u, err := c.BeginUpdate(s.ctx, group, name, armkeyvault.ManagedHsm{Tags: map[string]*string{"third": to("patch")},
		Properties: &armkeyvault.ManagedHsmProperties{PublicNetworkAccess: to(armkeyvault.PublicNetworkAccessDisabled)}}, nil)
	patched := done(s, u, err).ManagedHsm
	want(len(patched.Tags) == 1 && *patched.Properties.PublicNetworkAccess == "Disabled" && *patched.Properties.SoftDeleteRetentionInDays == 8, "after PATCH: %+v", *patched.Properties.PublicNetworkAccess)
	for what, change := range map[string]func(*armkeyvault.ManagedHsm){
		"another retention": func(m *armkeyvault.ManagedHsm) { m.Properties.SoftDeleteRetentionInDays = to[int32](90) },
		"another SKU":       func(m *armkeyvault.ManagedHsm) { m.SKU.Name = to(armkeyvault.ManagedHsmSKUNameStandardB1) },
		"no soft delete":    func(m *armkeyvault.ManagedHsm) { m.Properties.EnableSoftDelete = to(false) },
	} {
		m := s.desired()
		change(&m)
		_, err := c.BeginUpdate(s.ctx, group, name, m, nil)
		refused(err, http.StatusBadRequest, "BadRequest", what)
	}
	elsewhere := s.desired()
	elsewhere.Location = to("eastus")
	_, err = c.BeginCreateOrUpdate(s.ctx, group, name, elsewhere, nil)
	refused(err, http.StatusConflict, "InvalidResourceLocation", "another location")
	_, err = c.BeginCreateOrUpdate(s.ctx, "another-group", name, s.desired(), nil)
	refused(err, http.StatusConflict, "VaultAlreadyExists", "another group")
	step("changed the HSM by PUT and PATCH; what is fixed stays")
}

// listHSMs finds it in both lists, whatever the size of a page.
func (s *session) listHSMs(c *armkeyvault.ManagedHsmsClient, name string) {
	for _, top := range []*int32{nil, to[int32](1), to[int32](2)} {
		bySub, pages := all(s, c.NewListBySubscriptionPager(&armkeyvault.ManagedHsmsClientListBySubscriptionOptions{Top: top}),
			func(p armkeyvault.ManagedHsmsClientListBySubscriptionResponse) []*armkeyvault.ManagedHsm {
				return p.Value
			})
		byGroup, _ := all(s, c.NewListByResourceGroupPager(group, &armkeyvault.ManagedHsmsClientListByResourceGroupOptions{Top: top}),
			func(p armkeyvault.ManagedHsmsClientListByResourceGroupResponse) []*armkeyvault.ManagedHsm {
				return p.Value
			})
		for what, list := range map[string][]*armkeyvault.ManagedHsm{"subscription": bySub, "group": byGroup} {
			count := 0
			for _, m := range list {
				if *m.Name == name {
					count++
				}
			}
			want(count == 1, "%s is %d times in the list of the %s", name, count, what)
		}
		want(top == nil || pages >= len(bySub)/int(*top), "%d HSMs in %d pages", len(bySub), pages)
	}
	_, err := c.NewListBySubscriptionPager(&armkeyvault.ManagedHsmsClientListBySubscriptionOptions{Top: to[int32](0)}).NextPage(s.ctx)
	refused(err, http.StatusBadRequest, "InvalidParameter", "pages of none")
	step("found in the lists of subscription and group, page by page")
}

// neighbours are regions, private endpoints and operations.
func (s *session) neighbours(f *armkeyvault.ClientFactory, name string) {
	regions, _ := all(s, f.NewMHSMRegionsClient().NewListByResourcePager(group, name, nil),
		func(p armkeyvault.MHSMRegionsClientListByResourceResponse) []*armkeyvault.MHSMGeoReplicatedRegion {
			return p.Value
		})
	want(len(regions) == 1 && *regions[0].Name == region && *regions[0].IsPrimary && *regions[0].ProvisioningState == armkeyvault.GeoReplicationRegionProvisioningStateSucceeded, "regions %v", regions)
	pec := f.NewMHSMPrivateEndpointConnectionsClient()
	ends, _ := all(s, pec.NewListByResourcePager(group, name, nil),
		func(p armkeyvault.MHSMPrivateEndpointConnectionsClientListByResourceResponse) []*armkeyvault.MHSMPrivateEndpointConnection {
			return p.Value
		})
	want(len(ends) == 0, "%d private endpoint connections", len(ends))
	_, err := pec.Get(s.ctx, group, name, "none", nil)
	refused(err, http.StatusNotFound, "ResourceNotFound", "a private endpoint connection")
	_, err = pec.Put(s.ctx, group, name, "none", armkeyvault.MHSMPrivateEndpointConnection{Properties: &armkeyvault.MHSMPrivateEndpointConnectionProperties{}}, nil)
	refused(err, http.StatusNotFound, "ResourceNotFound", "a private endpoint connection to be approved")
	d, err := pec.BeginDelete(s.ctx, group, name, "none", nil)
	done(s, d, err)
	links := must(f.NewMHSMPrivateLinkResourcesClient().ListByMHSMResource(s.ctx, group, name, nil))
	want(len(links.Value) == 0, "%d private link resources", len(links.Value))
	operations, _ := all(s, f.NewOperationsClient().NewListPager(nil), func(p armkeyvault.OperationsClientListResponse) []*armkeyvault.Operation { return p.Value })
	want(slices.ContainsFunc(operations, func(o *armkeyvault.Operation) bool {
		return *o.Name == "Microsoft.KeyVault/managedHSMs/write" && *o.Display.Resource != ""
	}), "%d operations", len(operations))
	step("one region, no private endpoints, %d operations", len(operations))
}

// deleteHSM deletes it, finds it among the deleted, recovers it and purges it.
func (s *session) deleteHSM(c *armkeyvault.ManagedHsmsClient, name string) {
	remove := func() {
		p, err := c.BeginDelete(s.ctx, group, name, nil)
		done(s, p, err)
	}
	remove()
	remove() // what is not there is deleted
	_, err := c.Get(s.ctx, group, name, nil)
	refused(err, http.StatusNotFound, "ResourceNotFound", "a deleted HSM")
	s.available(c, name, armkeyvault.ReasonAlreadyExists)
	_, err = c.BeginCreateOrUpdate(s.ctx, group, name, s.desired(), nil)
	refused(err, http.StatusConflict, "ConflictError", "a creation over a deleted HSM")
	var e *azcore.ResponseError
	want(errors.As(err, &e) && strings.Contains(e.Error(), "recover") && strings.Contains(e.Error(), "purge"), "the answer does not say what to do: %v", err)
	gone := must(c.GetDeleted(s.ctx, name, region, nil)).DeletedManagedHsm
	p := gone.Properties
	want(*gone.Name == name && *gone.Type == "Microsoft.KeyVault/deletedManagedHSMs" && strings.HasSuffix(*p.MhsmID, "/managedHSMs/"+name) && *p.Location == region && !*p.PurgeProtectionEnabled &&
		p.ScheduledPurgeDate.Sub(*p.DeletionDate) == 8*24*time.Hour && *p.Tags["third"] == "patch", "deleted: %s, %v to %v", *gone.ID, p.DeletionDate, p.ScheduledPurgeDate)
	list, _ := all(s, c.NewListDeletedPager(nil), func(p armkeyvault.ManagedHsmsClientListDeletedResponse) []*armkeyvault.DeletedManagedHsm {
		return p.Value
	})
	want(slices.ContainsFunc(list, func(d *armkeyvault.DeletedManagedHsm) bool { return *d.ID == *gone.ID }), "%s is not among %d deleted ones", *gone.ID, len(list))
	step("deleted the HSM; it is listed and can be had back until %s", p.ScheduledPurgeDate.Format(time.DateOnly))

	back := s.desired()
	back.Properties.CreateMode = to(armkeyvault.CreateModeRecover)
	r, err := c.BeginCreateOrUpdate(s.ctx, group, name, back, nil)
	recovered := done(s, r, err).ManagedHsm
	want(len(recovered.Tags) == 1 && *recovered.Properties.SoftDeleteRetentionInDays == 8, "recovered: %+v", recovered.Tags)
	_, err = c.GetDeleted(s.ctx, name, region, nil)
	refused(err, http.StatusNotFound, "DeletedManagedHsmNotFound", "a recovered HSM among the deleted")
	_, err = c.BeginPurgeDeleted(s.ctx, name, region, nil)
	refused(err, http.StatusNotFound, "DeletedManagedHsmNotFound", "the purge of a live HSM")
	step("recovered it")

	remove()
	g, err := c.BeginPurgeDeleted(s.ctx, name, region, nil)
	done(s, g, err)
	_, err = c.GetDeleted(s.ctx, name, region, nil)
	refused(err, http.StatusNotFound, "DeletedManagedHsmNotFound", "a purged HSM")
	s.available(c, name, "")
	step("purged it; the name is free")
}
