package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	hsmName = "tfhsm"
	signer  = "4d6f5b1e-7a52-4c6e-9f0b-2a8c1d3e5f70" // gets a role; an HSM asks no directory
)

// play is the whole run.
func (t *trial) play(ctx context.Context) error {
	if err := t.holders(ctx); err != nil {
		return err
	}
	// The provider comes from outside, which the dev cloud's proxy refuses to reach.
	if err := t.step("init", func() error { return t.terraform(ctx, t.own, "init") }); err != nil {
		return fmt.Errorf("%w\nThe azurerm provider must come from the registry or from a mirror of yours: test/terraform/README.md", err)
	}
	if err := t.versions(ctx); err != nil {
		return err
	}
	first := []string{"-var-file=" + t.path("first.tfvars.json")}
	changed := append(slices.Clone(first), "-var-file=change.tfvars")
	for _, s := range []struct {
		name string
		run  func() error
	}{
		{"validate", func() error { return t.terraform(ctx, t.cloud, "validate") }},
		{"apply", func() error { return t.terraform(ctx, t.cloud, "apply", append(first, "-auto-approve")...) }},
		{"plan is empty", func() error { return t.emptyPlan(ctx, first) }},
		{"what there is", func() error { return t.proveFirst(ctx) }},
		{"apply changes", func() error { return t.terraform(ctx, t.cloud, "apply", append(changed, "-auto-approve")...) }},
		{"plan is empty", func() error { return t.emptyPlan(ctx, changed) }},
		{"what there is", func() error { return t.proveChanged(ctx) }},
		{"destroy", func() error { return t.terraform(ctx, t.cloud, "destroy", append(changed, "-auto-approve")...) }},
		{"nothing is left", func() error { return t.proveGone(ctx) }},
	} {
		if err := t.step(s.name, s.run); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// step runs one part and says how long it took.
func (t *trial) step(name string, f func() error) error {
	start := time.Now()
	err := f()
	if err == nil {
		fmt.Printf("%-16s %.1f s\n", name, time.Since(start).Seconds())
	}
	return err
}

func (t *trial) terraform(ctx context.Context, env []string, verb string, args ...string) error {
	_, err := t.ask(ctx, env, t.path("config"), t.program, append([]string{verb, "-no-color"}, args...)...)
	return err
}

// emptyPlan wants a plan that changes nothing.
func (t *trial) emptyPlan(ctx context.Context, vars []string) error {
	out, code, err := t.command(ctx, t.cloud, t.path("config"), t.program, append([]string{"plan", "-no-color", "-detailed-exitcode"}, vars...)...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d:\n%s", code, out)
	}
	return err
}

// holders makes the holders' keys, lays their certificates where the dev cloud's vault has them, and names these to the configuration.
func (t *trial) holders(ctx context.Context) error {
	if _, err := t.redoubt(ctx, "security-domain", "keygen", "--no-passwords", "--bits", "2048", "--name", "holder", "--directory", t.path("holders")); err != nil {
		return err
	}
	var ids []string
	for i := range 3 {
		name := fmt.Sprintf("holder_%d.cer", i)
		b, err := os.ReadFile(t.path("holders", name))
		if err != nil {
			return err
		}
		block, _ := pem.Decode(b)
		if block == nil {
			return fmt.Errorf("%s is no PEM file", name)
		}
		if err := os.WriteFile(t.path("cloud", "certificates", name), b, 0o600); err != nil {
			return err
		}
		sum := sha256.Sum256(block.Bytes)
		ids = append(ids, fmt.Sprintf("https://redoubt-holders.vault.azure.net/certificates/holder-%d/%s", i, hex.EncodeToString(sum[:16])))
	}
	vars, err := json.Marshal(map[string]any{"hsm_name": hsmName, "holder_certificate_ids": ids, "signer": signer})
	if err != nil {
		return err
	}
	return os.WriteFile(t.path("first.tfvars.json"), vars, 0o600)
}

func (t *trial) redoubt(ctx context.Context, args ...string) (string, error) {
	return t.ask(ctx, t.cloud, t.work, t.bin+"/redoubt", args...)
}

// versions says what is being tried.
func (t *trial) versions(ctx context.Context) error {
	out, err := t.ask(ctx, t.own, t.path("config"), t.program, "version", "-json")
	if err != nil {
		return err
	}
	var v struct {
		Version   string            `json:"terraform_version"`
		Providers map[string]string `json:"provider_selections"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return err
	}
	fmt.Printf("%s %s\n", t.program, v.Version)
	for _, name := range slices.Sorted(maps.Keys(v.Providers)) {
		fmt.Printf("%s %s\n", name, v.Providers[name])
	}
	return nil
}

// outputs are the configuration's.
type outputs struct {
	URI    struct{ Value string } `json:"hsm_uri"`
	Signer struct {
		Value struct {
			ID      string
			Options []string
		}
	}
	Role struct {
		Value struct {
			Name       string `json:"role_name"`
			Permission []struct {
				Actions []string `json:"data_actions"`
			}
		}
	}
	Domain struct{ Value string } `json:"security_domain"`
}

func (t *trial) outputs(ctx context.Context) (o outputs, err error) {
	text, err := t.ask(ctx, t.cloud, t.path("config"), t.program, "output", "-json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &o)
	}
	return o, err
}

// json asks redoubt and decodes what it says.
func (t *trial) json(ctx context.Context, into any, args ...string) error {
	out, err := t.redoubt(ctx, args...)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	return err
}

// proveFirst: the security domain that Terraform keeps is the HSM's, and its holders are ours; roles and keys are as the configuration
// says.
func (t *trial) proveFirst(ctx context.Context) error {
	o, err := t.outputs(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(t.path("domain.json"), []byte(o.Domain.Value), 0o600); err != nil {
		return err
	}
	var file struct {
		DomainID string
		Quorum   int
		Holders  []struct{ File string }
	}
	args := []string{"security-domain", "inspect", "--sd-file", t.path("domain.json")}
	for i := range 3 {
		args = append(args, "--sd-wrapping-keys", t.path("holders", fmt.Sprintf("holder_%d.key", i)))
	}
	if err := t.json(ctx, &file, args...); err != nil {
		return err
	}
	status, err := t.redoubt(ctx, "show", "--hsm-name", hsmName)
	if err != nil {
		return err
	}
	switch {
	case file.DomainID == "" || !strings.Contains(status, file.DomainID):
		return fmt.Errorf("the security domain in Terraform's state is %s, the HSM's is another: %s", file.DomainID, status)
	case file.Quorum != 2 || len(file.Holders) != 3 || slices.ContainsFunc(file.Holders, func(h struct{ File string }) bool { return h.File == "" }):
		return fmt.Errorf("the security domain: %+v", file)
	case o.URI.Value != "https://"+hsmName+".managedhsm.azure.net/":
		return fmt.Errorf("hsm_uri: %s", o.URI.Value)
	case !slices.Equal(o.Signer.Value.Options, []string{"sign", "verify"}):
		return fmt.Errorf("the key signer: %+v", o.Signer.Value)
	}
	return t.check(ctx, o, "keys/sign/action", []string{"sign", "verify"}, "first")
}

// proveChanged: the changes arrived, in place: the key has no new version.
func (t *trial) proveChanged(ctx context.Context) error {
	o, err := t.outputs(ctx)
	if err != nil {
		return err
	}
	return t.check(ctx, o, "keys/verify/action", []string{"verify"}, "second")
}

// check holds the outputs against what the HSM says of key and role.
func (t *trial) check(ctx context.Context, o outputs, action string, ops []string, stage string) error {
	var k struct {
		Key struct {
			Kid string
			Ops []string `json:"keyOps"`
		}
		Tags map[string]string
	}
	var versions []struct{ Kid string }
	var held []struct {
		Principal string `json:"principalId"`
		Scope     string
	}
	err := errors.Join(t.json(ctx, &k, "key", "show", "--hsm-name", hsmName, "--name", "signer"), t.json(ctx, &versions, "key", "list-versions", "--hsm-name", hsmName, "--name", "signer"),
		t.json(ctx, &held, "role", "assignment", "list", "--hsm-name", hsmName, "--scope", "/keys/signer", "--assignee", signer))
	slices.Sort(k.Key.Ops)
	switch {
	case err != nil:
		return err
	case k.Key.Kid != o.Signer.Value.ID || !slices.Equal(k.Key.Ops, ops) || k.Tags["stage"] != stage || len(versions) != 1:
		return fmt.Errorf("the key signer: %+v with versions %v; Terraform says %+v", k, versions, o.Signer.Value)
	case len(o.Role.Value.Permission) != 1 || !slices.Contains(o.Role.Value.Permission[0].Actions, "Microsoft.KeyVault/managedHsm/"+action):
		return fmt.Errorf("the role: %+v", o.Role.Value)
	case len(held) != 1 || held[0].Scope != "/keys/signer":
		return fmt.Errorf("role assignments of the signer: %+v", held)
	}
	return nil
}

// proveGone: the HSM is not even recoverable.
func (t *trial) proveGone(ctx context.Context) error {
	for _, verb := range []string{"list", "list-deleted"} {
		var all []any
		if err := t.json(ctx, &all, verb); err != nil {
			return err
		}
		if len(all) > 0 {
			return fmt.Errorf("redoubt %s: %v", verb, all)
		}
	}
	return nil
}
