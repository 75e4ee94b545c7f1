"""The Python program of the compat run: every operation of azure-keyvault-keys. ../README.md has the contract."""

from __future__ import annotations

import argparse
import logging
import sys

import artefacts
import signin
import walk_attestation
import walk_backups
import walk_crypto
import walk_errors
import walk_import
import walk_keys
import walk_life
import walk_local
import walk_release
import walk_roles
import walk_versions
from harness import Report
from target import Target

PARTS = {
    "create": walk_keys.create,
    "get": walk_keys.get,
    "lists": walk_keys.lists,
    "delete": walk_life.deleting,
    "backup": walk_life.backup,
    "rotation": walk_life.rotation,
    "random": walk_life.random_bytes,
    "attestation": walk_attestation.attestation,
    "release": walk_release.released,
    "policies": walk_release.policies,
    "import": walk_import.asymmetric,
    "import-oct": walk_import.symmetric,
    "import-byok": walk_import.byok,
    "import-bad": walk_import.bad,
    "algorithms": walk_crypto.every_algorithm_is_walked,
    "rsa": walk_crypto.rsa,
    "ec": walk_crypto.curves,
    "aes": walk_crypto.aes,
    "hmac": walk_crypto.hmacs,
    "local-rsa": walk_local.public_rsa,
    "local-ec": walk_local.public_ec,
    "local-private": walk_local.private,
    "local-stand-ins": walk_local.stand_ins,
    "local-dates": walk_local.dates,
    "local-oct": walk_local.oct_without_k,
    "errors": walk_errors.errors,
    "use": walk_errors.use,
    "versions": walk_versions.versions,
    "async": walk_versions.async_clients,
    "definitions": walk_roles.definitions,
    "assignments": walk_roles.assignments,
    "pages": walk_roles.pages,
    "settings": walk_roles.settings,
    "backups": walk_backups.backups,
    "admin-versions": walk_backups.versions,
    "admin-async": walk_backups.async_clients,
    "artefacts": artefacts.write,
    "remove": lambda hsm: hsm.remove_all(),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("walk", "verify", "signin"))
    parser.add_argument("--part", action="append", help="of walk: only this part; may be repeated")
    parser.add_argument("--keep-going", action="store_true", help="after a failure go on with the next part")
    args = parser.parse_args()
    # The library warns each time that it leaves to the service what it could not do itself.
    logging.getLogger("azure").setLevel(logging.ERROR)
    report = Report(args.keep_going)
    if args.verb == "signin":
        report.part("signin", lambda: signin.sign_in(report))
        return 1 if report.failed else 0
    hsm = Target(report)
    if args.verb == "verify":
        report.part("verify", lambda: artefacts.verify(hsm))
    for name, run in PARTS.items() if args.verb == "walk" else ():
        if not args.part or name in args.part:
            report.part(name, lambda: run(hsm))
    if report.failed:
        print(f"failed: {', '.join(report.failed)}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
