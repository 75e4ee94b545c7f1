package rbac

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// The built-in roles as the service has them (docs/azure-divergences.md names the source): id, name and
// the data actions without their common prefix.
const (
	sixRoleActions = "roleAssignments/read/action roleAssignments/write/action roleAssignments/delete/action " +
		"roleDefinitions/read/action roleDefinitions/write/action roleDefinitions/delete/action "
	cryptoUserKeys = "keys/read/action keys/write/action keys/rotate/action keys/import/action keys/release/action keys/backup/action keys/restore/action " +
		"keys/encrypt/action keys/decrypt/action keys/wrap/action keys/unwrap/action keys/sign/action keys/verify/action keys/derive/action keys/create keys/delete "
)

var published = []struct{ id, name, actions string }{
	{"a290e904-7015-4bba-90c8-60543313cdb4", "Managed HSM Administrator", sixRoleActions +
		"securitydomain/download/action securitydomain/download/read securitydomain/upload/action securitydomain/upload/read securitydomain/transferkey/read " +
		"backup/start/action restore/start/action backup/status/action restore/status/action"},
	{"515eb02d-2335-4d2d-92f2-b1cbdf9c3778", "Managed HSM Crypto Officer", sixRoleActions +
		"keys/deletedKeys/read/action keys/deletedKeys/delete keys/deletedKeys/recover/action keys/export/action"},
	{"21dbd100-6940-42c2-9190-5d6cb909625b", "Managed HSM Crypto User", "roleDefinitions/read/action roleAssignments/read/action rng/action " + cryptoUserKeys},
	{"4bd23610-cdcf-4971-bdee-bdc562cc28e4", "Managed HSM Policy Administrator", sixRoleActions},
	{"2c18b078-7c48-4d3a-af88-5a3a1b3f82b3", "Managed HSM Crypto Auditor", "roleAssignments/read/action roleDefinitions/read/action keys/read/action keys/deletedKeys/read/action"},
	{"33413926-3206-4cdd-b39a-83574fe37a17", "Managed HSM Crypto Service Encryption User", "keys/read/action keys/wrap/action keys/unwrap/action"},
	{"21dbd100-6940-42c2-9190-5d6cb909625c", "Managed HSM Crypto Service Release User", "keys/release/action"},
	{"7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8", "Managed HSM Backup User", "backup/start/action backup/status/action keys/backup/action"},
	{"6efe6056-5259-49d2-8b3d-d3d73544b20b", "Managed HSM Restore", "restore/start/action restore/status/action keys/restore/action"},
}

func TestBuiltInRolesAreThePublishedOnes(t *testing.T) {
	t.Parallel()
	if got := BuiltIns(); len(got) != len(published) {
		t.Errorf("%d built-in roles; want %d", len(got), len(published))
	}
	for _, want := range published {
		d, ok := BuiltIn(DefinitionID(want.id))
		if !ok || d.Name != want.name || !d.BuiltIn || d.Description != "" || len(d.Actions)+len(d.NotActions)+len(d.NotDataActions) != 0 {
			t.Errorf("%s: %+v, %v", want.name, d, ok)
			continue
		}
		var actions []string
		for s := range strings.FieldsSeq(want.actions) {
			actions = append(actions, "Microsoft.KeyVault/managedHsm/"+s)
		}
		got := slices.Clone(d.DataActions)
		slices.Sort(got)
		slices.Sort(actions)
		if !slices.Equal(got, actions) {
			t.Errorf("%s grants\n%v\nwant\n%v", want.name, got, actions)
		}
		g, err := d.Grants()
		if err != nil || !slices.Equal(g.Names(), d.DataActions) {
			t.Errorf("%s: grants %v, %v", want.name, g.Names(), err)
		}
	}
	if _, ok := BuiltIn("770fd66c-6266-4643-9d4e-b616870898d5"); ok {
		t.Error("a role without data actions is built in")
	}
}

// Whoever holds BuiltIns' answer cannot change the roles.
func TestBuiltInsAreACopy(t *testing.T) {
	t.Parallel()
	BuiltIns()[0] = Definition{}
	if d, ok := BuiltIn(Administrator); !ok || d.Name == "" {
		t.Error("a caller changed the built-in roles")
	}
}

func TestActionsRoundTrip(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for a := Action(1); a < actionEnd; a++ {
		s := a.String()
		if seen[s] || !strings.HasPrefix(s, "Microsoft.KeyVault/managedHsm/") || strings.HasSuffix(s, "/") {
			t.Errorf("action %d is called %q", a, s)
		}
		seen[s] = true
		if got, err := ParseAction(s); err != nil || got != a {
			t.Errorf("%s: parsed as %d, %v", s, got, err)
		}
		if !SetOf(a).Has(a) || SetOf(a).Has(a+1) {
			t.Errorf("%s: the set of it is %v", s, SetOf(a).Names())
		}
	}
	// The names that the specification lists, with their irregular endings.
	for _, s := range []string{"keys/create", "keys/delete", "keys/deletedKeys/delete", "securitydomain/download/read", "securitydomain/upload/read", "securitydomain/transferkey/read"} {
		if !seen["Microsoft.KeyVault/managedHsm/"+s] {
			t.Errorf("%s is not an action", s)
		}
	}
	if n := len(seen); n != 36 { // 34 published, and rotate and derive which the service returned
		t.Errorf("%d actions; want 36", n)
	}
	for _, s := range []string{"", "invalid", "*", "Microsoft.KeyVault/managedHsm/", "Microsoft.KeyVault/managedHsm/*", "Microsoft.KeyVault/managedHsm/keys/read", "microsoft.keyvault/managedhsm/keys/create/action"} {
		if _, err := ParseAction(s); !errors.Is(err, ErrBadDefinition) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if s := Action(0).String() + actionEnd.String() + Action(255).String(); s != "invalidinvalidinvalid" {
		t.Errorf("actions that are none are called %q", s)
	}
}

func TestGrantsSubtract(t *testing.T) {
	t.Parallel()
	d := Definition{DataActions: SetOf(KeysSign, KeysVerify).Names(), NotDataActions: SetOf(KeysVerify, KeysRead).Names()}
	if g, err := d.Grants(); err != nil || g != SetOf(KeysSign) {
		t.Errorf("%v, %v", g.Names(), err)
	}
	for _, d := range []Definition{{DataActions: []string{"x"}}, {NotDataActions: []string{"x"}}} {
		if _, err := d.Grants(); !errors.Is(err, ErrBadDefinition) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if g, err := (Definition{}).Grants(); err != nil || g != 0 || len(g.Names()) != 0 || g.Names() == nil {
		t.Errorf("nothing grants %v, %v", g, err)
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	got, err := Canonical([]string{"microsoft.keyvault/managedHSM/keys/SIGN/action", KeysCreate.String(), KeysSign.String()})
	if want := []string{KeysSign.String(), KeysCreate.String()}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for name, says := range map[string]string{"Microsoft.KeyVault/managedHsm/keys/*": "no wildcards", "*": "no wildcards", "Microsoft.KeyVault/managedHsm/keys/fly/action": "unknown data action"} {
		if _, err := Canonical([]string{KeysSign.String(), name}); !errors.Is(err, ErrBadDefinition) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseGUID(t *testing.T) {
	t.Parallel()
	const guid = "a290e904-7015-4bba-90c8-60543313cdb4"
	if got, err := ParseGUID(strings.ToUpper(guid)); err != nil || got != guid {
		t.Errorf("%q, %v", got, err)
	}
	for _, s := range []string{"", guid[1:], guid + "0", "a290e904-7015-4bba-90c860543313-cdb4", "g290e904-7015-4bba-90c8-60543313cdb4",
		"{" + guid[1:35] + "}", "a290e90407015-4bba-90c8-60543313cdb4", "a290e904-7015-4bba-90c8-60543313cd\x004", "a290e904-7015-4bba-90c8-60543313cdḃ"[:36], "../../../../../../../../../../../../"} {
		if got, err := ParseGUID(s); !errors.Is(err, ErrBadAssignment) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

func TestParseDefinitionID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{string(CryptoUser), strings.ToUpper(string(CryptoUser)), CryptoUser.Wire(), "/" + CryptoUser.Wire(),
		"/microsoft.keyvault/PROVIDERS/microsoft.authorization/roledefinitions/" + string(CryptoUser)} {
		if got, err := ParseDefinitionID(s); err != nil || got != CryptoUser {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	if want := "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b"; CryptoUser.Wire() != want {
		t.Errorf("wire id %q", CryptoUser.Wire())
	}
	for _, s := range []string{"", "/", "Managed HSM Crypto User", "/subscriptions/x/roleDefinitions/" + string(CryptoUser), CryptoUser.Wire() + "/x", "//" + CryptoUser.Wire()} {
		if got, err := ParseDefinitionID(s); !errors.Is(err, ErrBadAssignment) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

// GUIDs are one of the few things a stranger's text decides: whatever comes in, what comes out is a plain
// lower-case GUID that parses to itself.
func FuzzParseGUID(f *testing.F) {
	for _, s := range []string{"a290e904-7015-4bba-90c8-60543313cdb4", "A290E904-7015-4BBA-90C8-60543313CDB4", CryptoUser.Wire(), ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (string, error){ParseGUID, func(s string) (string, error) { d, err := ParseDefinitionID(s); return string(d), err }} {
			g, err := parse(s)
			if err != nil {
				continue
			}
			again, err := parse(g)
			if err != nil || again != g || len(g) != 36 || strings.Trim(g, "0123456789abcdef-") != "" {
				t.Errorf("%q: %q, then %q, %v", s, g, again, err)
			}
		}
	})
}
