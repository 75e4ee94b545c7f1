package compat;

import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.ClientCertificateCredentialBuilder;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.WorkloadIdentityCredentialBuilder;
import com.azure.security.keyvault.keys.KeyClientBuilder;

/** The credentials of azure-identity, as a program uses them that knows nothing of dev clouds. */
final class SignIn {
    private SignIn() {
    }

    static void all() {
        String app = Session.env("REDOUBT_WORKLOAD_CLIENT_ID");
        String tenant = Session.env("AZURE_TENANT_ID");
        uses("DefaultAzureCredential", new DefaultAzureCredentialBuilder().build());
        uses("ClientCertificateCredential", new ClientCertificateCredentialBuilder().tenantId(tenant).clientId(app)
            .pemCertificate(Session.env("REDOUBT_WORKLOAD_CERTIFICATE")).build());
        uses("WorkloadIdentityCredential", new WorkloadIdentityCredentialBuilder().tenantId(tenant).clientId(app)
            .tokenFilePath(Session.env("REDOUBT_WORKLOAD_TOKEN_FILE")).build());
    }

    /** Lists the keys with a credential, and asks it for a token of another resource. */
    private static void uses(String what, TokenCredential credential) {
        new KeyClientBuilder().vaultUrl(Session.env("REDOUBT_HSM_URL")).credential(credential).buildClient()
            .listPropertiesOfKeys().forEach(p -> { });
        credential.getTokenSync(new TokenRequestContext().addScopes("https://management.azure.com/.default"));
        Session.step(what + " lists keys");
    }
}
