// What is refused, and how the library shows it: status, code, message.
import assert from "node:assert/strict";
import { all, bytes, refused, refusedList } from "./harness.js";
import * as local from "./local.js";
import { CryptographyClient, KeyClient } from "./sdk.js";

const bad = (call, words, inner) => refused(call, 400, "BadParameter", words, inner);

export async function errors(hsm) {
  const { keys, officer, step } = hsm;
  const none = hsm.name("none"), key = await keys.createEcKey(hsm.name("there")), { name } = key, { version } = key.properties;
  await step("a key that is not there: 404 in every operation", async () => {
    const ghost = hsm.remote({ id: `${hsm.url}/keys/${none}/${version}`, name: none }), nowhere = "0".repeat(32);
    for (const call of [
      () => keys.getKey(none), () => keys.getKey(none, { version }), () => keys.getKey(name, { version: nowhere }),
      () => keys.updateKeyProperties(none, { enabled: false }), () => keys.updateKeyProperties(name, nowhere, { enabled: false }),
      () => keys.beginDeleteKey(none), () => keys.backupKey(none),
      () => officer.getDeletedKey(none), () => officer.purgeDeletedKey(none), () => ghost.sign("ES256", Buffer.alloc(32)),
    ]) await refused(call, 404, "KeyNotFound", new RegExp(`${none}|${name}`));
  });
  await step("names and versions that cannot be", async () => {
    for (const n of ["under_score", "a".repeat(128), "sla/sh", "dot.dot", "ünï"]) await bad(() => keys.createEcKey(n), /name/);
    await bad(() => keys.getKey(name, { version: "not-a-version" }), /version/);
  });
  await step("keys that the HSM does not make", async () => {
    await bad(() => keys.createKey(none, "DSA"), /kty/, "KeyTypeNotSupported");
    await bad(() => keys.createRsaKey(none, { keySize: 1024 }), /2048, 3072 or 4096/);
    await bad(() => keys.createEcKey(none, { curve: "P-224" }), /P-256/);
    await bad(() => keys.createOctKey(none, { keySize: 512 }), /128, 192 or 256/);
    await bad(() => keys.createEcKey(none, { keyOps: ["encrypt"] }), /key_ops/);
    await bad(() => keys.createEcKey(none, { keyOps: ["fly"] }), /key_ops/);
  });
  await step("tags beyond the limits", async () => {
    for (const tags of [Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`t${i}`, "x"])), { ["x".repeat(257)]: "y" }, { x: "y".repeat(257) }]) {
      await bad(() => keys.createEcKey(none, { tags }), /tag/);
      await bad(() => keys.updateKeyProperties(name, { tags }), /tag/);
    }
  });
  await step("dates that exclude each other", () => bad(() => keys.createEcKey(none, { notBefore: local.days(2), expiresOn: local.days(1) }), /nbf/));
  await step("exportable and a release policy go together", async () => {
    await bad(() => keys.createEcKey(none, { exportable: true }), /Exportable keys must have release policy/);
    for (const policy of ["no policy", '{"version":"9.9"}', "{}"]) {
      await bad(() => keys.createEcKey(none, { exportable: true, releasePolicy: { encodedPolicy: Buffer.from(policy) } }));
    }
  });
  await step("pages of a size that cannot be", async () => {
    for (const maxPageSize of [26, -1]) {
      await refusedList(hsm.wire, () => keys.listPropertiesOfKeys().byPage({ maxPageSize }).next(), 400, "BadParameter", /maxresults/);
    }
  });
  await step("nothing of it was stored", async () => {
    assert.ok(!(await all(keys.listPropertiesOfKeys(), (p) => p.name)).includes(none));
  });
  await step("a token that nobody signed: 401", async () => {
    // It answers the challenge with a token of its own making.
    const credential = { getToken: async () => ({ token: "eyJhbGciOiJub25lIn0.e30.", expiresOnTimestamp: Date.now() + 3600_000 }) };
    await refused(() => new KeyClient(hsm.url, credential, hsm.options()).getKey(name), 401, "Unauthorized");
  });
  await step("an id that is not one of a key", async () => {
    assert.throws(() => new CryptographyClient(`${hsm.url}/secrets`, hsm.credential), /is not a valid Key Vault key ID/);
  });
}

// use: what disabled, outside its dates, and key_ops mean for each operation.
export async function use(hsm) {
  const { keys, step } = hsm;
  const key = await keys.createRsaKey(hsm.name("use"), { keySize: 2048 });
  const client = hsm.remote(key), digest = Buffer.alloc(32), text = Buffer.from("text"), padding = "RSA-OAEP";
  const signature = (await client.sign("RS256", digest)).result, wrapped = (await client.wrapKey(padding, text)).result, sealed = (await client.encrypt(padding, text)).result;
  const make = { sign: () => client.sign("RS256", digest), wrapKey: () => client.wrapKey(padding, text), encrypt: () => client.encrypt(padding, text) };
  const undo = { unwrapKey: () => client.unwrapKey(padding, wrapped), decrypt: () => client.decrypt(padding, sealed) };
  const verify = () => client.verify("RS256", digest, signature);
  await step("a disabled key does nothing", async () => {
    await keys.updateKeyProperties(key.name, { enabled: false });
    for (const call of [...Object.values({ ...make, ...undo }), verify]) await refused(call, 403, "Forbidden", /disabled/i, "KeyDisabled");
    await keys.updateKeyProperties(key.name, { enabled: true });
  });
  for (const [inner, notBefore, expiresOn] of [["KeyNotYetValid", local.days(1), local.days(2)], ["KeyExpired", local.days(-2), local.days(-1)]]) {
    await step(`${inner}: the key only undoes: verify, unwrap, decrypt`, async () => {
      await keys.updateKeyProperties(key.name, { notBefore, expiresOn });
      for (const call of Object.values(make)) await refused(call, 403, "Forbidden", /./, inner);
      assert.equal((await verify()).result, true);
      for (const call of Object.values(undo)) bytes((await call()).result, text);
    });
  }
  await step("an operation outside key_ops is not permitted", async () => {
    await keys.updateKeyProperties(key.name, { keyOps: ["verify"], notBefore: local.days(-2), expiresOn: local.days(2) });
    assert.equal((await verify()).result, true);
    for (const [word, call] of Object.entries({ ...make, ...undo })) {
      await refused(call, 403, "Forbidden", new RegExp(`Operation ${word} is not permitted on this key`), "KeyOperationForbidden");
    }
  });
}
