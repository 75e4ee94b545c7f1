// The SDK, from the cache folder where install put it.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.REDOUBT_COMPAT_CACHE, "azure-keyvault-keys-js-4.10.2", "package.json"));

export const { ClientCertificateCredential, DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential } = require("@azure/identity");
export const {
  CryptographyClient, KeyClient, parseKeyVaultKeyIdentifier, logger,
  KnownEncryptionAlgorithms, KnownKeyCurveNames, KnownKeyOperations, KnownKeyTypes, KnownSignatureAlgorithms, KnownKeyExportEncryptionAlgorithm,
} = require("@azure/keyvault-keys");
export const { createDefaultHttpClient, createPipelineFromOptions, createPipelineRequest } = require("@azure/core-rest-pipeline");
