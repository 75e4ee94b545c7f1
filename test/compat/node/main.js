// The Node program of the compat run: every operation of @azure/keyvault-keys. ../README.md has the contract.
import { parseArgs } from "node:util";
import * as artefacts from "./artefacts.js";
import { attestation } from "./attestation.js";
import * as crypto from "./crypto.js";
import * as errors from "./errors.js";
import { Report } from "./harness.js";
import * as imports from "./import.js";
import * as keys from "./keys.js";
import * as life from "./life.js";
import * as localclient from "./localclient.js";
import * as release from "./release.js";
import { signIn } from "./signin.js";
import { Target } from "./target.js";
import { versions } from "./versions.js";

const parts = {
  create: keys.create,
  get: keys.get,
  lists: keys.lists,
  delete: life.deleting,
  backup: life.backup,
  rotation: life.rotation,
  random: life.randomBytes,
  attestation,
  release: release.released,
  policies: release.policies,
  import: imports.asymmetric,
  "import-oct": imports.symmetric,
  "import-byok": imports.byok,
  "import-bad": imports.bad,
  algorithms: crypto.everyAlgorithmIsWalked,
  rsa: crypto.rsa,
  ec: crypto.curves,
  aes: crypto.aes,
  hmac: crypto.hmacs,
  "local-rsa": localclient.publicRSA,
  "local-oct": localclient.oct,
  "local-refusals": localclient.refusals,
  errors: errors.errors,
  use: errors.use,
  versions,
  artefacts: artefacts.write,
  remove: (hsm) => hsm.removeAll(),
};

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { part: { type: "string", multiple: true }, "keep-going": { type: "boolean" } }, // for work on the walk
});
const report = new Report(flags["keep-going"]);
const hsm = positionals[0] === "signin" ? undefined : new Target(report);
const verbs = { walk: parts, verify: { verify: artefacts.verify }, signin: { signin: () => signIn(report) } };
for (const [name, run] of Object.entries(verbs[positionals[0]])) {
  if (!flags.part || flags.part.includes(name)) await report.part(name, () => run(hsm));
}
if (report.failed.length > 0) console.log(`failed: ${report.failed.join(", ")}`);
process.exitCode = report.failed.length > 0 ? 1 : 0;
