"""The credentials of azure-identity, as a program uses them that knows nothing of dev clouds."""

from __future__ import annotations

import os
from typing import Any

from azure.identity import CertificateCredential, DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.keys import KeyClient

from harness import Report


def sign_in(report: Report) -> None:
    app, tenant = os.environ["REDOUBT_WORKLOAD_CLIENT_ID"], os.environ["AZURE_TENANT_ID"]
    uses(report, "DefaultAzureCredential", DefaultAzureCredential())
    uses(report, "CertificateCredential", CertificateCredential(tenant, app, os.environ["REDOUBT_WORKLOAD_CERTIFICATE"]))
    os.environ.update(AZURE_CLIENT_ID=app, AZURE_FEDERATED_TOKEN_FILE=os.environ["REDOUBT_WORKLOAD_TOKEN_FILE"])
    uses(report, "WorkloadIdentityCredential", WorkloadIdentityCredential())
    for name in ("AZURE_CLIENT_SECRET", "AZURE_USERNAME", "AZURE_PASSWORD"):  # so that the default credential goes on to the next kind
        del os.environ[name]
    uses(report, "DefaultAzureCredential of a workload", DefaultAzureCredential())
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"):  # they would win
        del os.environ[name]
    with report.step("ManagedIdentityCredential by IMDS lists deleted keys"):  # which the Crypto Officer may
        list(client(ManagedIdentityCredential(client_id=os.environ["REDOUBT_OFFICER_CLIENT_ID"])).list_deleted_keys())


def client(credential: Any) -> KeyClient:
    return KeyClient(os.environ["REDOUBT_HSM_URL"], credential, retry_total=0)


def uses(report: Report, what: str, credential: Any) -> None:
    """Lists the keys with a credential, and asks it for a token of another resource."""
    with report.step(f"{what} lists keys"):
        list(client(credential).list_properties_of_keys())
        credential.get_token("https://management.azure.com/.default")
