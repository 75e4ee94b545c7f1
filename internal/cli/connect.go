package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

// environment is the process's, with what flags override.
func (a *app) environment(name string) string {
	override := map[string]string{"REDOUBT_AUTH": a.signIn, "REDOUBT_HSM_SUFFIX": a.suffix, "REDOUBT_ARM_ENDPOINT": a.arm,
		"AZURE_AUTHORITY_HOST": a.authority, "AZURE_SUBSCRIPTION_ID": a.subscription}[name]
	if override != "" {
		return override
	}
	return a.getenv(name)
}

// connection makes a client's configuration. It sends nothing.
func (a *app) connection() (client.Config, error) {
	return client.FromEnvironment(a.environment, a.http)
}

func (a *app) client() (*client.Client, error) {
	cfg, err := a.connection()
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

// address names one HSM's data plane.
type address struct{ name, id string }

func (t *address) flags(c *cobra.Command) {
	c.Flags().StringVar(&t.name, "hsm-name", "", "name of the HSM")
	c.Flags().StringVar(&t.id, "id", "", "URL of the HSM, instead of --hsm-name")
	c.MarkFlagsOneRequired("hsm-name", "id")
	c.MarkFlagsMutuallyExclusive("hsm-name", "id")
}

// String is how messages and further commands name it.
func (t *address) String() string {
	if t.id != "" {
		return "--id " + t.id
	}
	return "--hsm-name " + t.name
}

// open finds the HSM.
func (t *address) open(a *app) (*client.Client, *client.HSM, error) {
	c, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	var h *client.HSM
	if t.id != "" {
		h, err = c.HSM(t.id)
	} else {
		h, err = c.HSMNamed(t.name)
	}
	return c, h, err
}

// resource names one HSM of the control plane.
type resource struct{ name, group string }

func (r *resource) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.name, "hsm-name", "", "name of the HSM")
	c.Flags().StringVarP(&r.group, "resource-group", "g", "", "its resource group; found by the name if left out")
	require(c, "hsm-name")
}

// find returns the HSM; it must exist.
func (r *resource) find(ctx context.Context, c *client.Client) (client.ManagedHSM, error) {
	if r.group != "" {
		return c.GetHSM(ctx, r.group, r.name)
	}
	return c.FindHSM(ctx, r.name)
}

// withGroup is the resource as az shows it: its document with the resource group beside.
func withGroup(r client.Resource) (any, error) {
	v, err := generic(r)
	if object, ok := v.(map[string]any); ok && r.ResourceGroup() != "" {
		object["resourceGroup"] = r.ResourceGroup()
	}
	return v, err
}

var hsmColumns = []string{"name", "location", "resourceGroup", "properties.provisioningState", "properties.securityDomainProperties.activationStatus", "properties.hsmUri"}

func (a *app) printHSM(m client.ManagedHSM) error {
	v, err := withGroup(m.Resource)
	if err != nil {
		return fmt.Errorf("show the HSM: %w", err)
	}
	return a.print(v, hsmColumns...)
}
