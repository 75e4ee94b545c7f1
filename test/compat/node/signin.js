// The credentials of @azure/identity, as a program uses them that knows nothing of dev clouds.
import { all } from "./harness.js";
import { ClientCertificateCredential, DefaultAzureCredential, KeyClient, ManagedIdentityCredential, WorkloadIdentityCredential } from "./sdk.js";

// signIn is the verb signin.
export async function signIn(report) {
  const env = process.env;
  const client = (credential) => new KeyClient(env.REDOUBT_HSM_URL, credential, { retryOptions: { maxRetries: 0 } });
  // uses lists the keys with a credential, and asks it for a token of another resource.
  const uses = (what, credential) =>
    report.step(`${what} lists keys`, async () => {
      await all(client(credential).listPropertiesOfKeys());
      await credential.getToken("https://management.azure.com/.default");
    });
  await uses("DefaultAzureCredential", new DefaultAzureCredential());
  await uses("ClientCertificateCredential", new ClientCertificateCredential(env.AZURE_TENANT_ID, env.REDOUBT_WORKLOAD_CLIENT_ID, { certificatePath: env.REDOUBT_WORKLOAD_CERTIFICATE }));
  env.AZURE_CLIENT_ID = env.REDOUBT_WORKLOAD_CLIENT_ID;
  env.AZURE_FEDERATED_TOKEN_FILE = env.REDOUBT_WORKLOAD_TOKEN_FILE;
  await uses("WorkloadIdentityCredential", new WorkloadIdentityCredential());
  for (const name of ["AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"]) delete env[name]; // they would win
  await report.step("ManagedIdentityCredential by IMDS lists deleted keys", async () => {
    await all(client(new ManagedIdentityCredential({ clientId: env.REDOUBT_OFFICER_CLIENT_ID })).listDeletedKeys()); // which the Crypto Officer may
  });
}
