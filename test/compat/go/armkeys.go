package main

import (
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// armKeys walks ManagedHsmKeysClient: keys as resources of the control plane. The runner has switched on the setting
// of this program's HSM that allows it; the az program shows what happens without.
func (s *session) armKeys() {
	c := s.controlPlane().NewManagedHsmKeysClient()
	hsm, name := env("REDOUBT_HSM_NAME"), s.key("arm")
	_, err := c.Get(s.ctx, group, hsm, name, nil)
	refused(err, http.StatusNotFound, "KeyNotFound", "a key that is not there")
	desired := armkeyvault.ManagedHsmKeyCreateParameters{Tags: map[string]*string{"made by": to("armkeyvault")}, Properties: &armkeyvault.ManagedHsmKeyProperties{
		Kty: to(armkeyvault.JSONWebKeyTypeRSAHSM), KeySize: to[int32](2048), KeyOps: []*armkeyvault.JSONWebKeyOperation{to(armkeyvault.JSONWebKeyOperationSign), to(armkeyvault.JSONWebKeyOperationVerify)},
		Attributes: &armkeyvault.ManagedHsmKeyAttributes{Enabled: to(true), Expires: to[int64](4102444800)},
		RotationPolicy: &armkeyvault.ManagedHsmRotationPolicy{Attributes: &armkeyvault.ManagedHsmKeyRotationPolicyAttributes{ExpiryTime: to("P1Y")},
			LifetimeActions: []*armkeyvault.ManagedHsmLifetimeAction{{Action: &armkeyvault.ManagedHsmAction{Type: to(armkeyvault.KeyRotationPolicyActionTypeRotate)}, Trigger: &armkeyvault.ManagedHsmTrigger{TimeBeforeExpiry: to("P30D")}}}}}}
	made := must(c.CreateIfNotExist(s.ctx, group, hsm, name, desired, nil)).ManagedHsmKey
	got := must(c.Get(s.ctx, group, hsm, strings.ToUpper(name), nil)).ManagedHsmKey
	again := must(c.CreateIfNotExist(s.ctx, group, hsm, name, armkeyvault.ManagedHsmKeyCreateParameters{Properties: &armkeyvault.ManagedHsmKeyProperties{
		Kty: to(armkeyvault.JSONWebKeyTypeEC), CurveName: to(armkeyvault.JSONWebKeyCurveNameP256)}}, nil)).ManagedHsmKey
	for what, k := range map[string]armkeyvault.ManagedHsmKey{"made": made, "read": got, "made again": again} {
		p := k.Properties
		want(strings.HasSuffix(*k.ID, "/managedHSMs/"+hsm+"/keys/"+name) && *k.Name == name && *k.Type == "Microsoft.KeyVault/managedHSMs/keys" && *k.Tags["made by"] == "armkeyvault", "%s: %s, %s", what, *k.ID, *k.Type)
		want(*p.Kty == armkeyvault.JSONWebKeyTypeRSAHSM && *p.KeySize == 2048 && len(p.KeyOps) == 2 && *p.Attributes.Enabled && *p.Attributes.Expires == 4102444800 && *p.Attributes.Created > 1700000000,
			"%s: %s of %d bits", what, *p.Kty, value(p.KeySize))
		want(*p.RotationPolicy.Attributes.ExpiryTime == "P1Y" && len(p.RotationPolicy.LifetimeActions) == 1 && *p.RotationPolicy.LifetimeActions[0].Action.Type == armkeyvault.KeyRotationPolicyActionTypeRotate,
			"%s: rotation policy %+v", what, p.RotationPolicy)
		want(*p.KeyURIWithVersion == *made.Properties.KeyURIWithVersion, "%s: another version, %s", what, *p.KeyURIWithVersion)
	}
	step("made %s and read it; making it again changed nothing", *made.ID)
	s.seenFromBothSides(c, hsm, name, *made.Properties.KeyURIWithVersion)
	for what, p := range map[string]*armkeyvault.ManagedHsmKeyProperties{"a size that there is not": {Kty: to(armkeyvault.JSONWebKeyTypeRSA), KeySize: to[int32](1000)}, "no type": {}} {
		_, err := c.CreateIfNotExist(s.ctx, group, hsm, s.key("arm-bad"), armkeyvault.ManagedHsmKeyCreateParameters{Properties: p}, nil)
		refused(err, http.StatusBadRequest, "BadParameter", what)
	}
	_, err = c.Get(s.ctx, group, hsm, s.key("arm-bad"), nil)
	refused(err, http.StatusNotFound, "KeyNotFound", "what was refused")
}

// seenFromBothSides finds the key in the lists of the control plane and in the data plane.
func (s *session) seenFromBothSides(c *armkeyvault.ManagedHsmKeysClient, hsm, name, uri string) {
	keys, _ := all(s, c.NewListPager(group, hsm, nil), func(p armkeyvault.ManagedHsmKeysClientListResponse) []*armkeyvault.ManagedHsmKey { return p.Value })
	want(slices.ContainsFunc(keys, func(k *armkeyvault.ManagedHsmKey) bool {
		return *k.Name == name && *k.Properties.KeyURIWithVersion == uri
	}), "%s is not among %d keys", name, len(keys))
	versions, _ := all(s, c.NewListVersionsPager(group, hsm, name, nil), func(p armkeyvault.ManagedHsmKeysClientListVersionsResponse) []*armkeyvault.ManagedHsmKey {
		return p.Value
	})
	want(len(versions) == 1 && *versions[0].Properties.KeyURIWithVersion == uri && *versions[0].Type == "Microsoft.KeyVault/managedHSMs/keys/versions", "%d versions", len(versions))
	one := must(c.GetVersion(s.ctx, group, hsm, name, *versions[0].Name, nil)).ManagedHsmKey
	want(*one.Properties.Kty == armkeyvault.JSONWebKeyTypeRSAHSM && *one.Properties.KeyURIWithVersion == uri, "version %s", *one.ID)
	k := must(s.client.GetKey(s.ctx, name, "", nil))
	want(string(*k.Key.KID) == uri && *k.Key.Kty == azkeys.KeyTypeRSAHSM && len(k.Key.KeyOps) == 2, "in the data plane it is %s", *k.Key.KID)
	policy := must(s.client.GetKeyRotationPolicy(s.ctx, name, nil))
	want(value(policy.Attributes.ExpiryTime) == "P1Y" && len(policy.LifetimeActions) == 1, "in the data plane its policy is %+v", policy.Attributes)
	step("found it among %d keys of the control plane and in the data plane", len(keys))
}
