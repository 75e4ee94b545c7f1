package main

import (
	"os"
	"strings"
)

// signsIn signs in as an application in each way that az has, and lists the keys each time. The account that signed in
// last is the one in use.
func (s *session) signsIn() {
	app, tenant := env("REDOUBT_WORKLOAD_CLIENT_ID"), env("AZURE_TENANT_ID")
	token := strings.TrimSpace(string(must(os.ReadFile(env("REDOUBT_WORKLOAD_TOKEN_FILE")))))
	for _, way := range []struct {
		what string
		list string // what the role may list
		args []string
	}{
		{"a secret", "list", []string{"--service-principal", "-u", env("AZURE_CLIENT_ID"), "-p", env("AZURE_CLIENT_SECRET"), "--tenant", tenant}},
		{"a certificate", "list", []string{"--service-principal", "-u", app, "--certificate", env("REDOUBT_WORKLOAD_CERTIFICATE"), "--tenant", tenant}},
		{"a federated token", "list", []string{"--service-principal", "-u", app, "--federated-token", token, "--tenant", tenant}},
		{"a managed identity", "list-deleted", []string{"--identity", "--client-id", env("REDOUBT_OFFICER_CLIENT_ID")}},
		{"a managed identity by IMDS", "list-deleted", []string{"--identity", "--client-id", env("REDOUBT_OFFICER_CLIENT_ID")}},
	} {
		if strings.HasSuffix(way.what, "IMDS") { // App Service's variables would win
			fatal(os.Unsetenv("IDENTITY_ENDPOINT"))
			fatal(os.Unsetenv("IDENTITY_HEADER"))
		}
		s.alone(append([]string{"login", "--allow-no-subscriptions"}, way.args...)...)
		s.alone("keyvault", "key", way.list, "--hsm-name", s.hsm)
		step("az login with %s, then key %s", way.what, way.list)
	}
}

// alone runs a command, which must succeed, as a process of its own: long-lived ones would keep the environment.
func (s *session) alone(args ...string) {
	out, err := s.program(s.executable(), append(args, "--only-show-errors", "-o", "none")...).CombinedOutput()
	want(err == nil, "az %s: %v\n%s", short(args), err, out)
}
