package daemon

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"

	"redoubt/internal/cloud"
	"redoubt/internal/durable"
)

// credentials are the secrets of the dev cloud's person and service principal. They lie in a file of mode
// 0600 because env.sh must be written anew at every start; the store keeps only their hashes.
type credentials struct {
	Password       string `json:"password"`
	ClientSecret   string `json:"client_secret"`
	IdentityHeader string `json:"identity_header"`
}

func writeCredentials(path string, c cloud.Credentials) error {
	return credentials{c.Password, c.ClientSecret, newIdentityHeader()}.write(path)
}

func (c credentials) write(path string) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, b, 0o600)
}

func readCredentials(path string) (credentials, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return credentials{}, err
	}
	var c credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return credentials{}, fmt.Errorf("%s is damaged; delete it to get new credentials: %w", path, err)
	}
	return c, nil
}

// Variable is one line of env.sh.
type Variable struct{ Name, Value string }

// notProxied leaves localhost out: clients take it for all of its subdomains too, and the proxy is what resolves
// NAME.managedhsm.localhost where the system does not. It answers for localhost itself as well.
const notProxied = "127.0.0.1,::1"

// Env is what env.sh exports: with it, unmodified clients reach this dev cloud under Azure's own names.
func (d *Dev) Env() []Variable {
	_, port, _ := net.SplitHostPort(d.proxyAddr.String())
	a := d.account
	return append([]Variable{
		{"HTTPS_PROXY", "http://127.0.0.1:" + port}, {"NO_PROXY", notProxied},
		{"https_proxy", "http://127.0.0.1:" + port}, {"no_proxy", notProxied}, // where both are set, these win
		{"REQUESTS_CA_BUNDLE", d.path("ca.pem")}, {"SSL_CERT_FILE", d.path("ca.pem")}, {"NODE_EXTRA_CA_CERTS", d.path("ca.pem")},
		{"JAVA_TOOL_OPTIONS", d.javaOptions(port)},
		{"AZURE_CONFIG_DIR", d.path("azure")}, {"AZURE_CORE_COLLECT_TELEMETRY", "false"},
		{"AZURE_TENANT_ID", a.Tenant.ID}, {"AZURE_SUBSCRIPTION_ID", a.Subscription.ID},
		{"AZURE_CLIENT_ID", a.ServicePrincipal.AppID}, {"AZURE_CLIENT_SECRET", d.secrets.Load().ClientSecret},
		{"ARM_TENANT_ID", a.Tenant.ID}, {"ARM_SUBSCRIPTION_ID", a.Subscription.ID}, // Terraform
		{"ARM_CLIENT_ID", a.ServicePrincipal.AppID}, {"ARM_CLIENT_SECRET", d.secrets.Load().ClientSecret},
		{"AZURE_USERNAME", a.User.UPN}, {"AZURE_PASSWORD", d.secrets.Load().Password},
		{"REDOUBT_PROXY_PORT", port}, {"REDOUBT_RESOURCE_MANAGER", d.names.origin("localhost")}, {"REDOUBT_CLOUD", d.cfg.CloudName},
		{"REDOUBT_ATTESTATION", "https://" + azureAttestation}, {"REDOUBT_ATTESTATION_LOCAL", d.names.origin("attest." + d.cfg.Suffix)},
		{"REDOUBT_CERTIFICATES", d.path("certificates")},
	}, d.identityVariables()...)
}

// shellQuote makes s one word of a POSIX shell, whatever it holds.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (d *Dev) writeEnv() error {
	var b strings.Builder
	b.WriteString("# Written by redoubtd dev. Read it with the shell's dot command.\n") // no path here: it could hold a line break
	for _, v := range d.Env() {
		fmt.Fprintf(&b, "export %s=%s\n", v.Name, shellQuote(v.Value))
	}
	return durable.WriteFile(d.path("env.sh"), []byte(b.String()), 0o600)
}

// Get returns one variable of Env.
func (d *Dev) Get(name string) string {
	for _, v := range d.Env() {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}
