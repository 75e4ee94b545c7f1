package main

import (
	"context"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// signIn uses the credentials of azidentity as a program does that knows nothing of dev clouds.
func signIn(ctx context.Context) {
	plain := must(azidentity.NewDefaultAzureCredential(nil))
	uses(ctx, plain, "DefaultAzureCredential")

	app, tenant := env("REDOUBT_WORKLOAD_CLIENT_ID"), env("AZURE_TENANT_ID")
	certs, key, err := azidentity.ParseCertificates(must(os.ReadFile(env("REDOUBT_WORKLOAD_CERTIFICATE"))), nil)
	want(err == nil, "the certificate's file: %v", err)
	uses(ctx, must(azidentity.NewClientCertificateCredential(tenant, app, certs, key, nil)), "ClientCertificateCredential")

	setenv("AZURE_CLIENT_ID", app)
	setenv("AZURE_FEDERATED_TOKEN_FILE", env("REDOUBT_WORKLOAD_TOKEN_FILE"))
	uses(ctx, must(azidentity.NewWorkloadIdentityCredential(nil)), "WorkloadIdentityCredential")
	for _, name := range []string{"AZURE_CLIENT_SECRET", "AZURE_USERNAME", "AZURE_PASSWORD"} { // so that the default credential goes on to the next kind
		setenv(name, "")
	}
	uses(ctx, must(azidentity.NewDefaultAzureCredential(nil)), "DefaultAzureCredential of a workload")
}

// setenv sets a variable, or takes it away.
func setenv(name, value string) {
	if value == "" {
		want(os.Unsetenv(name) == nil, "cannot unset %s", name)
		return
	}
	want(os.Setenv(name, value) == nil, "cannot set %s", name)
}

// uses lists the keys with a credential, and asks it for a token of another resource.
func uses(ctx context.Context, cred azcore.TokenCredential, what string) {
	client := must(azkeys.NewClient(env("REDOUBT_HSM_URL"), cred, nil))
	must(client.NewListKeyPropertiesPager(nil).NextPage(ctx))
	must(cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}}))
	step("%s lists keys", what)
}
