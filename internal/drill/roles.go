package drill

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/client"
)

// Names of the built-in roles that the drill assigns, and of its own.
const (
	roleCryptoUser    = "Managed HSM Crypto User"
	roleCryptoOfficer = "Managed HSM Crypto Officer"
	roleAuditor       = "Managed HSM Crypto Auditor"
	roleBackup        = "Managed HSM Backup User"
	roleCustom        = "Drill Signer"
)

// The two keys that role checks work on; both are samples, which stay as they are.
const grantedKey, otherKey = 3, 0 // P-256 and RSA-2048

// assignRoles gives everybody what the checks of roleCases expect.
func (d *drill) assignRoles(ctx context.Context, s *step) error {
	h := d.source
	if _, err := h.PutRoleDefinition(ctx, "/", "", client.DefinitionProperties{RoleName: roleCustom, Description: "Signs and verifies, and nothing else",
		Permissions: []client.Permission{{Actions: []string{}, NotActions: []string{}, NotDataActions: []string{}, DataActions: []string{
			"Microsoft.KeyVault/managedHsm/keys/read/action", "Microsoft.KeyVault/managedHsm/keys/sign/action", "Microsoft.KeyVault/managedHsm/keys/verify/action"}}},
		AssignableScopes: []string{"/"}}); err != nil {
		return fmt.Errorf("define the role %s: %w", roleCustom, err)
	}
	roles, err := h.RoleDefinitions(ctx, "/")
	if err != nil {
		return err
	}
	byName := map[string]string{}
	for _, r := range roles {
		byName[r.Properties.RoleName] = r.ID
	}
	granted := "/keys/" + d.plan[grantedKey].name
	for _, a := range []struct{ role, who, scope string }{
		{roleCryptoUser, d.person.id, "/"}, {roleCryptoOfficer, d.person.id, "/"},
		{roleCryptoUser, d.application.id, granted}, {roleAuditor, d.person.id, granted},
		{roleCustom, d.signer.id, "/keys"}, {roleBackup, d.backupID.PrincipalID, "/"},
	} {
		if byName[a.role] == "" {
			return fmt.Errorf("the HSM has no role %q", a.role)
		}
		if _, err := h.CreateRoleAssignment(ctx, a.scope, "", a.who, byName[a.role]); err != nil {
			return fmt.Errorf("assign %s at %s: %w", a.role, a.scope, err)
		}
	}
	s.note("six assignments to four principals, one custom role")
	return nil
}

// roleCase is one request whose answer depends on roles alone.
type roleCase struct {
	who   principal
	what  string
	allow bool
	do    func(ctx context.Context, h *client.HSM) error
}

// roleCases are the requests that are sent to both HSMs. None of the allowed ones changes anything.
func (d *drill) roleCases() []roleCase {
	granted, other := d.plan[grantedKey].name, d.plan[otherKey].name
	digest := randomBytes(32)
	sign := func(name, alg string) func(context.Context, *client.HSM) error {
		return func(ctx context.Context, h *client.HSM) error {
			_, err := h.Sign(ctx, name, "", alg, digest)
			return err
		}
	}
	wrap := func(ctx context.Context, h *client.HSM) error {
		_, err := h.WrapKey(ctx, other, "", client.Cipher{Alg: "RSA-OAEP-256", Value: digest})
		return err
	}
	get := func(name string) func(context.Context, *client.HSM) error {
		return func(ctx context.Context, h *client.HSM) error { _, err := h.GetKey(ctx, name, ""); return err }
	}
	remove := func(ctx context.Context, h *client.HSM) error { _, err := h.DeleteKey(ctx, other); return err }
	list := func(ctx context.Context, h *client.HSM) error { _, err := h.ListKeys(ctx); return err }
	deleted := func(ctx context.Context, h *client.HSM) error { _, err := h.ListDeletedKeys(ctx); return err }
	roles := func(ctx context.Context, h *client.HSM) error { _, err := h.RoleAssignments(ctx, "/"); return err }
	rng := func(ctx context.Context, h *client.HSM) error { _, err := h.RandomBytes(ctx, 16); return err }
	backup := func(ctx context.Context, h *client.HSM) error { _, err := h.StartBackup(ctx, d.storage()); return err }
	domain := func(ctx context.Context, h *client.HSM) error { _, err := h.DownloadStatus(ctx); return err }
	return []roleCase{
		{d.person, "sign with any key", true, sign(other, "PS256")}, {d.person, "list deleted keys", true, deleted}, {d.person, "list role assignments", true, roles},
		{d.application, "sign with its key", true, sign(granted, "ES256")}, {d.application, "read its key", true, get(granted)},
		{d.application, "sign with another key", false, sign(other, "PS256")}, {d.application, "read another key", false, get(other)},
		{d.application, "delete another key", false, remove}, {d.application, "list keys", false, list}, {d.application, "list deleted keys", false, deleted},
		{d.application, "take a backup", false, backup}, {d.application, "look at the security domain", false, domain},
		{d.signer, "sign with a key", true, sign(granted, "ES256")}, {d.signer, "sign with another key", true, sign(other, "PS256")}, {d.signer, "list keys", true, list},
		{d.signer, "wrap with a key", false, wrap}, {d.signer, "delete a key", false, remove}, {d.signer, "list role assignments", false, roles},
		{d.stranger, "sign with a key", false, sign(granted, "ES256")}, {d.stranger, "read a key", false, get(granted)}, {d.stranger, "list keys", false, list},
		{d.stranger, "list role assignments", false, roles}, {d.stranger, "draw random bytes", false, rng}, {d.stranger, "take a backup", false, backup},
	}
}

// run sends the request and tells what was amiss.
func (c roleCase) run(ctx context.Context, h *client.HSM) error {
	err := c.do(ctx, c.who.as(h))
	switch {
	case c.allow && err != nil:
		return fmt.Errorf("%s could not %s: %w", c.who.name, c.what, err)
	case !c.allow && err == nil:
		return fmt.Errorf("%s could %s, without a role for it", c.who.name, c.what)
	case !c.allow && !refusedWith(err, 403, ""):
		return fmt.Errorf("%s could not %s, but for another reason than its roles: %w", c.who.name, c.what, err)
	}
	return nil
}

// checkSourceRoles makes sure that the checks hold before the disaster: what fails here is no matter of
// recovery.
func (d *drill) checkSourceRoles(ctx context.Context, s *step) error {
	cases := d.roleCases()
	for _, c := range cases {
		if err := c.run(ctx, d.source); err != nil {
			return err
		}
	}
	s.note("%d requests of four principals", len(cases))
	return nil
}

// proveRoles sends the same requests to the rebuilt HSM.
func (d *drill) proveRoles(ctx context.Context, s *step) error {
	t := d.proofs.of(proofRoles)
	cases := d.roleCases()
	s.expect(len(cases))
	for _, c := range cases {
		err := c.run(ctx, d.rebuilt)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.check(err == nil, "%v", err)
		s.add(1)
	}
	t.done()
	s.note("%d requests of four principals", len(cases))
	return nil
}

// folderOf is the folder that a finished backup names.
func folderOf(j client.Job) (string, error) {
	for i := len(j.FolderURL) - 1; i >= 0; i-- {
		if j.FolderURL[i] == '/' && i+1 < len(j.FolderURL) {
			return j.FolderURL[i+1:], nil
		}
	}
	return "", errors.New("the backup succeeded without naming its folder")
}
