package main

import (
	"fmt"
	"strings"
)

// A second principal, the dev cloud's service principal: furnish gives it a custom role on one key and a built-in one on
// another. After a restore it must be able to do exactly the same.

// signInSecond signs it in, in a configuration folder of its own.
const signInSecond = `
second() { AZURE_CONFIG_DIR="$PWD/second" az "$@"; }
mkdir second
(
    export AZURE_CONFIG_DIR="$PWD/second"
    %s
    az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID" --allow-no-subscriptions
)
`

// secondDeeds are what it tries, and what it is refused for want of; nothing if it may.
var secondDeeds = []struct{ command, lacks string }{
	{"key sign --name ledger --algorithm ES256 --digest $digest", ""}, // by the custom role at /keys/ledger
	{"key sign --name payroll --algorithm RS256 --digest $digest", "Not authorized to access Microsoft.KeyVault/managedHsm/keys/sign/action on /keys/payroll"},
	{"key show --name payroll", ""}, // by the built-in role at /keys/payroll
	{"key show --name ledger", "Not authorized to access Microsoft.KeyVault/managedHsm/keys/read/action on /keys/ledger"},
	{"role assignment list --scope /", "Not authorized to access Microsoft.KeyVault/managedHsm/roleAssignments/read/action on /"},
}

// checkSecond lets the second principal try everything on an HSM.
func (r *run) checkSecond(hsm string) error {
	for _, d := range secondDeeds {
		out, err := r.sh.run(fmt.Sprintf("if second keyvault %s --hsm-name %s; then echo it may; else echo it may not; fi\n", d.command, hsm))
		if err != nil {
			return err
		}
		may := strings.HasSuffix(strings.TrimSpace(out), "it may")
		if may != (d.lacks == "") || !strings.Contains(out, d.lacks) {
			return fmt.Errorf("the second principal on %s: az keyvault %s: want %q\n%s", hsm, d.command, d.lacks, out)
		}
	}
	return nil
}
