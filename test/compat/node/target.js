// The HSM under test and the clients for it. What the environment holds is told in ../README.md.
import assert from "node:assert/strict";
import { all, Wire } from "./harness.js";
import { CryptographyClient, DefaultAzureCredential, KeyClient, ManagedIdentityCredential } from "./sdk.js";

export const RSA_OPS = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"];
export const EC_OPS = ["sign", "verify"];
export const OCT_OPS = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];

// Target is one HSM. Clients are what any program would make: default credentials, verification of the challenge on,
// the library's newest api-version; and the same in both modes. Only the SDK's own retries are switched off, because
// they would hide failures.
export class Target {
  constructor(report) {
    this.url = process.env.REDOUBT_HSM_URL;
    this.prefix = process.env.REDOUBT_COMPAT_PREFIX;
    this.step = report.step;
    this.wire = new Wire();
    this.credential = new DefaultAzureCredential();
    this.keys = new KeyClient(this.url, this.credential, this.options());
    // The Crypto User may not see or recover deleted keys; a managed identity, the Crypto Officer, may.
    this.officerCredential = new ManagedIdentityCredential({ clientId: process.env.REDOUBT_OFFICER_CLIENT_ID });
    this.officer = new KeyClient(this.url, this.officerCredential, this.options());
    this.kept = new Set(); // keys that other programs will use
  }

  options() {
    return { retryOptions: { maxRetries: 0 }, additionalPolicies: [{ policy: this.wire.policy, position: "perRetry" }] };
  }

  // name is a key name of this program and mode.
  name = (suffix) => this.prefix + suffix;

  // speaking is a key client that speaks another api-version.
  speaking(serviceVersion, credential = this.credential) {
    return new KeyClient(this.url, credential, { ...this.options(), serviceVersion });
  }

  // crypto is the ordinary cryptography client: local where it can, remote otherwise.
  crypto = (key) => new CryptographyClient(key, this.credential, this.options());

  // remote is a client that always asks the service: it is given a key without its public part.
  remote = ({ id, name }) => this.crypto({ id, name, properties: { name, vaultUrl: this.url } });

  // checkKey is what every answer with a key must pass. It returns the version.
  checkKey(key, name, keyType, keyOps) {
    const [, version] = new RegExp(`^${this.url}/keys/${name}/([0-9a-f]{32})$`).exec(key.id) ?? assert.fail(`id ${key.id} is not that of ${name}`);
    const p = key.properties;
    assert.deepEqual([key.name, p.name, p.version, p.vaultUrl, p.id, key.key.kid], [name, name, version, this.url, key.id, key.id]);
    assert.deepEqual([key.keyType, [...key.keyOperations].sort()], [keyType, [...keyOps].sort()]);
    for (const part of ["d", "p", "q", "dp", "dq", "qi", "k", "t"]) assert.equal(key.key[part], undefined, `secret part ${part}`);
    this.checkProperties(p);
    return version;
  }

  checkProperties(p) {
    for (const when of [p.createdOn, p.updatedOn]) {
      const age = Date.now() - when.getTime();
      assert.ok(age >= -2000 && age < 3600_000, `created or updated at ${when}`);
    }
    assert.ok(p.recoverableDays >= 7 && p.recoverableDays <= 90, `recoverableDays is ${p.recoverableDays}`);
    assert.equal(p.recoveryLevel, p.recoverableDays < 90 ? "CustomizedRecoverable+Purgeable" : "Recoverable+Purgeable");
    assert.equal(p.hsmPlatform, "0");
    assert.ok(!p.managed);
  }

  // remove deletes and purges a key.
  async remove(name) {
    await (await this.keys.beginDeleteKey(name)).pollUntilDone();
    await this.officer.purgeDeletedKey(name);
  }

  // removeAll deletes and purges every key of this program and mode that nobody will use any more.
  async removeAll() {
    await this.step("all other keys are deleted and purged", async () => {
      const mine = async (list) => (await all(list, (p) => p.name)).filter((n) => n.startsWith(this.prefix));
      for (const n of await mine(this.keys.listPropertiesOfKeys())) if (!this.kept.has(n)) await this.keys.beginDeleteKey(n);
      for (const n of await mine(this.officer.listDeletedKeys())) await this.officer.purgeDeletedKey(n);
      assert.deepEqual((await mine(this.keys.listPropertiesOfKeys())).sort(), [...this.kept].sort(), "keys that are left");
    });
  }
}
