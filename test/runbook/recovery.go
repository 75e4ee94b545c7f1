package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"redoubt/test/internal/devcloud"
)

const (
	source  = "ContosoMHSM"
	rebuilt = "ContosoMHSM2"
)

// furnish gives the source what the page does not need but a restore must bring back: a second version, times
// and tags changed later, a disabled key, a deleted key, roles at every scope, a custom one among them, a setting.
const furnish = `
az keyvault role assignment create --hsm-name ContosoMHSM --role "Managed HSM Crypto Officer" --assignee $oid --scope /keys
az keyvault key create --hsm-name ContosoMHSM --name ledger --kty EC-HSM --curve P-256 --tags year=2026
az keyvault key create --hsm-name ContosoMHSM --name resting --kty RSA-HSM --size 2048 --disabled true --ops sign verify
az keyvault key set-attributes --hsm-name ContosoMHSM --name resting --expires 2040-01-01T00:00:00Z --not-before 2026-01-01T00:00:00Z --tags a=b c=
az keyvault key create --hsm-name ContosoMHSM --name retired --kty EC-HSM --curve P-521 --tags left=behind
az keyvault key delete --hsm-name ContosoMHSM --name retired
az keyvault role definition create --hsm-name ContosoMHSM --role-definition '{"roleName":"Signer","description":"May sign","dataActions":["Microsoft.KeyVault/managedHsm/keys/sign/action"]}'
sp=$(az ad sp show --id "$AZURE_CLIENT_ID" --query id -o tsv)
az keyvault role assignment create --hsm-name ContosoMHSM --role Signer --assignee $sp --scope /keys/ledger
az keyvault role assignment create --hsm-name ContosoMHSM --role "Managed HSM Crypto Service Encryption User" --assignee $sp --scope /keys/payroll
az keyvault setting update --hsm-name ContosoMHSM --name AllowKeyManagementOperationsThroughARM --value true
`

// runbook goes through the whole page: an HSM is made, backed up by both methods and destroyed; and then by
// each method rebuilt and compared.
func (r *run) runbook() error {
	if _, err := r.section(beforeSections[0], "", false); err != nil {
		return err
	}
	start, first := time.Now(), len(r.sh.timing)
	if _, err := r.sh.run(furnish); err != nil {
		return fmt.Errorf("furnish the source: %w", err)
	}
	if _, err := r.sh.run(fmt.Sprintf(signInSecond, r.setUp)); err != nil {
		return fmt.Errorf("sign the second principal in: %w", err)
	}
	if err := r.checkSecond(source); err != nil {
		return err
	}
	before, err := r.takeInventory(source)
	if err != nil {
		return err
	}
	old, err := r.makeProofs(before)
	if err != nil {
		return err
	}
	r.done("inventory and proofs of the source", start, first)
	methods := []string{methodIdentity, methodSAS}
	for i, m := range methods {
		if _, err := r.section(beforeSections[1], m, i > 0); err != nil {
			return err
		}
		if _, err := r.sh.run(fmt.Sprintf("folder_%d=$folder\n", i)); err != nil {
			return err
		}
	}
	if _, err := r.section(beforeSections[2], "", false); err != nil {
		return err
	}
	for i, m := range methods {
		if _, err := r.sh.run(fmt.Sprintf("folder=$folder_%d\n", i)); err != nil {
			return err
		}
		if err := r.rebuild(m, before, old); err != nil {
			return fmt.Errorf("rebuild by %s: %w", m, err)
		}
		if err := r.checkAudit(i + 1); err != nil {
			return fmt.Errorf("audit logs after the rebuild by %s: %w", m, err)
		}
		if i < len(methods)-1 {
			if err := r.tearDown(); err != nil {
				return err
			}
		}
	}
	return errors.Join(r.allExecuted(), r.blobsInPlace())
}

// blobsInPlace checks that the backups went where the variant says: into Azurite, or into the dev cloud's folder.
func (r *run) blobsInPlace() error {
	kept, err := os.ReadDir(filepath.Join(r.cloud(), "blobs"))
	if err != nil {
		return err
	}
	if (len(kept) > 0) == r.azurite {
		return fmt.Errorf("with Azurite: %v, and the dev cloud itself holds %d storage accounts", r.azurite, len(kept))
	}
	return nil
}

// rebuild executes the published sections by one method and proves what came back.
func (r *run) rebuild(method string, before inventory, old []proof) error {
	for _, name := range rebuildSections[:len(rebuildSections)-1] {
		if _, err := r.section(name, method, false); err != nil {
			return err
		}
	}
	last := rebuildSections[len(rebuildSections)-1]
	printed, err := r.section(last, method, false)
	if err != nil {
		return err
	}
	for _, want := range []string{"\ntrue\n", "\npaid in full"} {
		if !strings.Contains(printed, want) {
			return fmt.Errorf("%s: %q was not printed:\n%s", last, strings.TrimSpace(want), devcloud.Indent(printed))
		}
	}
	start, first := time.Now(), len(r.sh.timing)
	after, err := r.takeInventory(rebuilt)
	if err != nil {
		return err
	}
	if err := before.compare(after); err != nil {
		return err
	}
	if err := r.checkProofs(old, before); err != nil {
		return err
	}
	if err := r.checkSecond(rebuilt); err != nil {
		return err
	}
	r.done(fmt.Sprintf("%d versions, %d role assignments, definitions and settings identical; a second principal may exactly the same; %d old proofs hold, new signatures verify under old public keys", len(before.versions), before.assignments, len(old)), start, first)
	return nil
}

// tearDown removes the rebuilt HSM and its files, so that it can be rebuilt by the other method.
func (r *run) tearDown() error {
	_, err := r.sh.run("az keyvault delete --hsm-name ContosoMHSM2\naz keyvault purge --hsm-name ContosoMHSM2 --location westus3\nrm ContosoMHSM2-SDE.cer restore_blob.json\n")
	return err
}
