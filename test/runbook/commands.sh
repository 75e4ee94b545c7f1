# Genuine az commands that the runbook does not use, and refusals that an operator meets. The runner sources this
# file in a shell that has read env.sh of an empty dev cloud. The first command that does not do what is said here
# ends the shell.

# refused TEXT COMMAND...: the command must fail, and say TEXT.
refused() {
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then
        printf 'was not refused: %s\n' "${*:1:8}"
        return 1
    fi
    printf '%s\n' "$said"
    case $said in
    *"$text"*) ;;
    *)
        printf 'was refused, without saying "%s": %s\n' "$text" "${*:1:8}"
        return 1
        ;;
    esac
}

# prints TEXT COMMAND...: the command must print just that.
prints() {
    local text=$1 said
    shift
    said=$("$@")
    if [ "$said" != "$text" ]; then
        printf 'printed\n%s\ninstead of "%s": %s\n' "$said" "$text" "${*:1:8}"
        return 1
    fi
}

echo "== signing in"
refused "AADSTS50126" az login -u "$AZURE_USERNAME" -p wrong
refused "AADSTS" az login --service-principal -u "$AZURE_CLIENT_ID" -p wrong --tenant "$AZURE_TENANT_ID"
az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID" -o none
prints servicePrincipal az account show --query user.type -o tsv
refused "delegated" az ad signed-in-user show
az logout
az login -u "$AZURE_USERNAME" -p "$AZURE_PASSWORD" -o none
prints "$AZURE_SUBSCRIPTION_ID" az account show --query id -o tsv
prints Bearer az account get-access-token --resource https://managedhsm.azure.net --query tokenType -o tsv
me=$(az ad signed-in-user show --query id -o tsv)
prints "$me" az ad user show --id "$AZURE_USERNAME" --query id -o tsv
sp=$(az ad sp show --id "$AZURE_CLIENT_ID" --query id -o tsv)

echo "== HSMs"
az group create --name Group --location westus3 -o none
prints true az group exists --name group
prints "" az keyvault list --resource-type hsm --query '[].name' -o tsv
refused "ResourceNotFound" az keyvault show --hsm-name NoSuchHSM --resource-group Group
az keyvault create --hsm-name TestHSM --resource-group Group --location westus3 --administrators "$me" "$sp" --retention-days 7 --tags for=test -o none
prints TestHSM az keyvault list --resource-type hsm --query '[].name' -o tsv
prints TestHSM az keyvault list --resource-group group --query '[].name' -o tsv
prints https://testhsm.managedhsm.azure.net/ az keyvault show --hsm-name TestHSM --query properties.hsmUri -o tsv
prints TestHSM az keyvault show --hsm-name tESThsm --resource-group gROUP --query name -o tsv
prints NotActivated az keyvault show --hsm-name TestHSM --query properties.securityDomainProperties.activationStatus -o tsv
az keyvault wait-hsm --hsm-name TestHSM --created --interval 1 --timeout 20
az keyvault update-hsm --hsm-name TestHSM --bypass None --default-action Allow -o none
prints 7 az keyvault show --hsm-name TestHSM --query properties.softDeleteRetentionInDays -o tsv
refused "VaultNameNotValid" az keyvault create --hsm-name Test_HSM --resource-group Group --location westus3 --administrators "$me" --retention-days 7
az keyvault delete --hsm-name TestHSM
prints TestHSM az keyvault list-deleted --resource-type hsm --query '[].name' -o tsv
prints TestHSM az keyvault show-deleted --hsm-name TestHSM --location westus3 --query name -o tsv
refused "ConflictError" az keyvault create --hsm-name TestHSM --resource-group Group --location westus3 --administrators "$me" --retention-days 7
az keyvault recover --hsm-name TestHSM --location westus3 -o none
prints test az keyvault show --hsm-name TestHSM --query tags.for -o tsv
az keyvault delete --hsm-name TestHSM --resource-group Group
az keyvault purge --hsm-name testhsm --location westus3
prints "" az keyvault list-deleted --resource-type hsm --query '[].name' -o tsv
az keyvault create --hsm-name TestHSM --resource-group Group --location westus3 --administrators "$me" --retention-days 7 -o none

echo "== activation"
refused "security domain" az keyvault key list --hsm-name TestHSM
refused "security domain" az keyvault role assignment list --hsm-name TestHSM
redoubt security-domain keygen --count 3 --no-passwords -o none
cat cert_0.cer >twin.cer
refused "range [3, 10]" az keyvault security-domain download --hsm-name TestHSM --sd-wrapping-keys cert_0.cer cert_1.cer --sd-quorum 2 --security-domain-file sd.json
refused "a quorum of 4 with 3 certificates" az keyvault security-domain download --hsm-name TestHSM --sd-wrapping-keys cert_0.cer cert_1.cer cert_2.cer --sd-quorum 4 --security-domain-file sd.json
refused "certificates 1 and 3 are the same" az keyvault security-domain download --hsm-name TestHSM --sd-wrapping-keys cert_0.cer cert_1.cer twin.cer --sd-quorum 2 --security-domain-file sd.json
prints Success az keyvault security-domain download --hsm-name TestHSM --sd-wrapping-keys cert_0.cer cert_1.cer cert_2.cer --sd-quorum 2 --security-domain-file sd.json --query status -o tsv
prints Active az keyvault show --hsm-name TestHSM --query properties.securityDomainProperties.activationStatus -o tsv
prints Success az keyvault security-domain download --hsm-name TestHSM --sd-wrapping-keys cert_2.cer cert_1.cer cert_0.cer --sd-quorum 3 --security-domain-file sd-again.json --query status -o tsv
refused "already activated" az keyvault security-domain init-recovery --hsm-name TestHSM --sd-exchange-key active.cer

echo "== recovery, az and redoubt by turns"
az keyvault security-domain wait --hsm-name TestHSM --target-operation download
az keyvault create --hsm-name TestHSM2 --resource-group Group --location eastus2 --administrators "$me" --retention-days 7 -o none
az keyvault security-domain init-recovery --hsm-name TestHSM2 --sd-exchange-key second.cer
refused "NotActivated" az keyvault key list --hsm-name TestHSM2
refused "not less than 2" az keyvault security-domain restore-blob --sd-exchange-key second.cer --sd-file sd.json --sd-wrapping-keys cert_0.key --sd-file-restore-blob second.json
refused "quorum" redoubt security-domain restore-blob --sd-exchange-key second.cer --sd-file sd.json --sd-wrapping-keys cert_0.key --sd-file-restore-blob second.json
redoubt security-domain restore-blob --sd-exchange-key second.cer --sd-file sd.json --sd-wrapping-keys cert_2.key cert_0.key --sd-file-restore-blob second.json -o none
refused "already activated" az keyvault security-domain upload --hsm-name TestHSM --sd-file second.json --restore-blob
prints Success az keyvault security-domain upload --hsm-name TestHSM2 --sd-file second.json --restore-blob --query status -o tsv
refused "already activated" az keyvault security-domain upload --hsm-name TestHSM2 --sd-file second.json --restore-blob
export REDOUBT_AUTH=az
redoubt create --hsm-name TestHSM3 --resource-group Group --location eastus2 --administrators "$me" --retention-days 7 -o none
redoubt security-domain init-recovery --hsm-name TestHSM3 --sd-exchange-key third.cer -o none
refused "another exchange key" redoubt security-domain upload --hsm-name TestHSM3 --sd-file second.json --restore-blob
az keyvault security-domain restore-blob --sd-exchange-key third.cer --sd-file sd-again.json --sd-wrapping-keys cert_0.key cert_1.key cert_2.key --sd-file-restore-blob third.json
domain=$(redoubt security-domain inspect --sd-file sd-again.json --query domainId -o tsv)
redoubt security-domain upload --hsm-name TestHSM3 --sd-file third.json --restore-blob --expect-domain "$domain" -o none
for hsm in TestHSM2 TestHSM3; do
    prints Active redoubt show --hsm-name $hsm --query properties.securityDomainProperties.activationStatus -o tsv
    az keyvault delete --hsm-name $hsm
    az keyvault purge --hsm-name $hsm --location eastus2
done

echo "== roles"
refused "Managed HSM Crypto" az keyvault key create --hsm-name TestHSM --name first --kty EC-HSM --curve P-256
az keyvault role assignment create --hsm-name TestHSM --role "Managed HSM Crypto User" --assignee "$AZURE_USERNAME" --scope /keys -o none
az keyvault role assignment create --hsm-name TestHSM --role "Managed HSM Crypto Officer" --assignee-object-id "$me" --scope / -o none
prints 3 az keyvault role assignment list --hsm-name TestHSM --query 'length(@)' -o tsv
prints 1 az keyvault role assignment list --hsm-name TestHSM --role "Managed HSM Crypto User" --assignee "$AZURE_USERNAME" --query 'length(@)' -o tsv
prints 1 az keyvault role definition list --hsm-name TestHSM --query "length([?roleName=='Managed HSM Administrator'])" -o tsv
custom=$(az keyvault role definition create --hsm-name TestHSM --role-definition '{"roleName":"Signer","description":"May sign","dataActions":["Microsoft.KeyVault/managedHsm/keys/sign/action"]}' --query name -o tsv)
prints Signer az keyvault role definition show --hsm-name TestHSM --name "$custom" --query roleName -o tsv
prints "Signs" az keyvault role definition update --hsm-name TestHSM --role-definition "{\"name\":\"$custom\",\"roleName\":\"Signer\",\"description\":\"Signs\",\"dataActions\":[\"Microsoft.KeyVault/managedHsm/keys/sign/action\"]}" --query description -o tsv
prints 1 az keyvault role definition list --hsm-name TestHSM --custom-role-only true --query 'length(@)' -o tsv
az keyvault role assignment create --hsm-name TestHSM --role Signer --assignee "$sp" --scope /keys/first -o none
prints Signer az keyvault role assignment list --hsm-name TestHSM --scope /keys/first --query '[].roleName' -o tsv
az keyvault role assignment delete --hsm-name TestHSM --role Signer --assignee "$sp" --scope /keys/first -o none
prints "" az keyvault role assignment list --hsm-name TestHSM --scope /keys/first --query '[].roleName' -o tsv
az keyvault role definition delete --hsm-name TestHSM --name "$custom" -o none

echo "== keys"
az keyvault key create --hsm-name TestHSM --name first --kty EC-HSM --curve P-256 --ops sign verify --tags a=b -o none
az keyvault key create --hsm-name TESTHSM --name first --kty EC-HSM --curve P-384 -o none
prints P-384 az keyvault key show --hsm-name TestHSM --name first --query key.crv -o tsv
prints 2 az keyvault key list-versions --hsm-name TestHSM --name first --query 'length(@)' -o tsv
refused "KeyNotFound" az keyvault key show --hsm-name TestHSM --name nosuchkey
prints "2041-01-01T00:00:00+00:00" az keyvault key set-attributes --hsm-name TestHSM --name first --expires 2041-01-01T00:00:00Z --query attributes.expires -o tsv
prints false az keyvault key set-attributes --hsm-name TestHSM --name first --enabled false --query attributes.enabled -o tsv
refused "disabled" az keyvault key sign --hsm-name TestHSM --name first --algorithm ES384 --digest "$(printf '%064d' 0)"
az keyvault key set-attributes --hsm-name TestHSM --name first --enabled true -o none
az keyvault key delete --hsm-name TestHSM --name first -o none
prints "" az keyvault key list --hsm-name TestHSM --query '[].name' -o tsv
prints first az keyvault key list-deleted --hsm-name TestHSM --query '[].name' -o tsv
az keyvault key show-deleted --hsm-name TestHSM --name first -o none
refused "Conflict" az keyvault key create --hsm-name TestHSM --name first --kty EC-HSM --curve P-256
az keyvault key recover --hsm-name TestHSM --name first -o none
prints 2 az keyvault key list-versions --hsm-name TestHSM --name first --query 'length(@)' -o tsv
az keyvault key create --hsm-name TestHSM --name second --kty oct-HSM --size 128 -o none
az keyvault key delete --hsm-name TestHSM --name second -o none
az keyvault key purge --hsm-name TestHSM --name second -o none
prints "" az keyvault key list-deleted --hsm-name TestHSM --query '[].name' -o tsv

echo "== storage"
az storage account create --name testaccount --resource-group Group --location westus3 -o none
prints testaccount az storage account list --query '[].name' -o tsv
prints https://testaccount.blob.core.windows.net/ az storage account show --name testaccount --query primaryEndpoints.blob -o tsv
key=$(az storage account keys list --account-name testaccount --query '[0].value' -o tsv)
refused "Authentication failure" az storage container create --account-name testaccount --name backups --account-key "$(printf 'another key' | base64)"
prints true az storage container create --account-name testaccount --name backups --account-key "$key" --query created -o tsv
prints false az storage container create --account-name testaccount --name backups --account-key "$key" --query created -o tsv
end=$(date -u -d "30 minutes" '+%Y-%m-%dT%H:%MZ')
write=$(az storage container generate-sas --name backups --account-name testaccount --permissions crdw --expiry "$end" --account-key "$key" -o tsv)
read=$(az storage container generate-sas --name backups --account-name testaccount --permissions rl --expiry "$end" --account-key "$key" -o tsv)
old=$(az storage container generate-sas --name backups --account-name testaccount --permissions crdw --expiry 2020-01-01T00:00Z --account-key "$key" -o tsv)
refused "required permissions" az storage blob list --account-name testaccount --container-name backups --auth-mode login
az role assignment create --role "Storage Blob Data Reader" --assignee "$AZURE_USERNAME" --scope "$(az storage account show --name testaccount --query id -o tsv)" -o none
prints "" az storage blob list --account-name testaccount --container-name backups --auth-mode login --query '[].name' -o tsv

echo "== backup and restore"
refused "identity" az keyvault backup start --hsm-name TestHSM --use-managed-identity true --storage-account-name testaccount --blob-container-name backups
id=$(az identity create --name testidentity --resource-group Group --query id -o tsv)
az keyvault update-hsm --hsm-name TestHSM --mi-user-assigned "$id" -o none
refused "Storage Blob Data Contributor" az keyvault backup start --hsm-name TestHSM --use-managed-identity true --storage-account-name testaccount --blob-container-name backups
refused "expired" az keyvault backup start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --storage-container-SAS-token "$old"
refused "write" az keyvault backup start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --storage-container-SAS-token "$read"
refused "container" az keyvault backup start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name elsewhere --storage-container-SAS-token "$write"
az role assignment create --role "Storage Blob Data Contributor" --assignee-object-id "$(az identity show --name testidentity --resource-group Group --query principalId -o tsv)" --assignee-principal-type ServicePrincipal --scope "$(az storage account show --name testaccount --query id -o tsv)" -o none
folder=$(az keyvault backup start --hsm-name testhsm --use-managed-identity true --storage-account-name TESTACCOUNT --blob-container-name backups --query folderUrl -o tsv)
folder=${folder##*/}
case $folder in mhsm-TestHSM-????????????????) ;; *) echo "the folder is called $folder"; false ;; esac
prints "$folder/manifest.json" az storage blob list --account-name testaccount --container-name backups --sas-token "$read" --query "[?ends_with(name, 'json')].name" -o tsv
refused "required permissions" az storage blob list --account-name testaccount --container-name backups --sas-token "$write"
refused "manifest" az keyvault restore start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --storage-container-SAS-token "$read" --backup-folder mhsm-TestHSM-2020083120161860
refused "first" az keyvault restore start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --storage-container-SAS-token "$read" --backup-folder "$folder" --key-name first
az keyvault key delete --hsm-name TestHSM --name first -o none
az keyvault key purge --hsm-name TestHSM --name first -o none
az keyvault restore start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --use-managed-identity true --backup-folder "$folder" --key-name first -o none
prints 2 az keyvault key list-versions --hsm-name TestHSM --name first --query 'length(@)' -o tsv
az keyvault restore start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --storage-container-SAS-token "$read" --backup-folder "$folder" -o none
refused "no restore point" az keyvault restore start --hsm-name TestHSM --storage-account-name testaccount --blob-container-name backups --storage-container-SAS-token "$read" --backup-folder "$folder"

echo "all commands ran"
