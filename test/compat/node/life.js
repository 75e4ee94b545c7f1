// Delete, recover, purge, backup, restore, rotation and random bytes.
import assert from "node:assert/strict";
import { all, bytes, refused, refusedList, sameSet } from "./harness.js";
import * as local from "./local.js";

export async function deleting(hsm) {
  const { keys, officer, step } = hsm;
  const name = hsm.name("deleted");
  const notFound = (call) => refused(call, 404, "KeyNotFound", new RegExp(name));
  const key = await keys.createEcKey(name, { tags: { a: "b" } });
  await step("a Crypto User may not see deleted keys, a Crypto Officer may not make keys", async () => {
    for (const [action, call] of [
      ["keys/deletedKeys/read", () => keys.getDeletedKey(name)],
      ["keys/deletedKeys/delete", () => keys.purgeDeletedKey(name)],
      ["keys/create", () => officer.createEcKey(name)],
      ["keys/read", () => officer.getKey(name)],
    ]) await refused(call, 403, "AccessDenied", new RegExp(`Not authorized to access Microsoft.KeyVault/managedHsm/${action}.* on /`));
    await refusedList(hsm.wire, () => all(keys.listDeletedKeys()), 403, "AccessDenied", /keys.deletedKeys.read.* on [/]/);
  });
  await step("delete: the poller waits for the deleted key", async () => {
    const poller = await keys.beginDeleteKey(name);
    const done = await poller.pollUntilDone();
    assert.ok(poller.isDone());
    for (const deleted of [done, poller.getResult(), await officer.getDeletedKey(name)]) {
      assert.deepEqual([deleted.id, deleted.properties.tags], [key.id, { a: "b" }]);
      bytes(deleted.key.x, key.key.x);
      const { recoveryId, scheduledPurgeDate, deletedOn, recoverableDays } = deleted.properties;
      assert.equal(recoveryId, `${hsm.url}/deletedkeys/${name}`);
      assert.equal(scheduledPurgeDate - deletedOn, recoverableDays * 86400_000);
    }
  });
  await step("a deleted key is not found, its name is taken", async () => {
    await notFound(() => keys.getKey(name));
    await refused(() => keys.createEcKey(name), 409, "Conflict", /./, "ObjectIsDeletedButRecoverable");
    await notFound(() => keys.beginDeleteKey(name));
    await notFound(() => hsm.remote(key).sign("ES256", Buffer.alloc(32)));
  });
  await step("recover: the poller waits for the key", async () => {
    const poller = await officer.beginRecoverDeletedKey(name);
    const done = await poller.pollUntilDone();
    for (const recovered of [done, await keys.getKey(name)]) {
      assert.deepEqual([recovered.id, recovered.properties.tags], [key.id, { a: "b" }]);
      bytes(recovered.key.x, key.key.x);
    }
    await notFound(() => officer.getDeletedKey(name));
    await notFound(() => officer.purgeDeletedKey(name));
  });
  await step("a poller goes on from its serialised state", async () => {
    const poller = await keys.beginDeleteKey(name);
    const resumed = await keys.beginDeleteKey(name, { resumeFrom: poller.toString() });
    assert.equal((await resumed.pollUntilDone()).id, key.id);
  });
  await step("purge: gone for good, and the name is free", async () => {
    assert.equal(await officer.purgeDeletedKey(name), undefined);
    await notFound(() => officer.getDeletedKey(name));
    assert.notEqual((await keys.createEcKey(name)).id, key.id);
    await hsm.remove(name);
  });
}

export async function backup(hsm) {
  const { keys, officer, step } = hsm;
  const name = hsm.name("backup"), data = local.random(20), digest = local.digest("ES256", data), versions = [];
  for (const n of ["0", "1", "2"]) versions.push(await keys.createEcKey(name, { tags: { n } }));
  await keys.updateKeyProperties(name, versions[0].properties.version, { enabled: false });
  const before = (await hsm.remote(versions[1]).sign("ES256", digest)).result;
  let blob;
  await step("backup", async () => {
    blob = await keys.backupKey(name);
    assert.ok(blob instanceof Uint8Array && blob.length > 100);
  });
  await step("restore over a key, and over a deleted one, is refused", async () => {
    await refused(() => keys.restoreKeyBackup(blob), 409, "Conflict");
    await keys.beginDeleteKey(name);
    await refused(() => keys.restoreKeyBackup(blob), 409, "Conflict", /./, "ObjectIsDeletedButRecoverable");
    await officer.purgeDeletedKey(name);
  });
  await step("restore of what is no backup is refused", async () => {
    const changed = Buffer.from(blob);
    changed[changed.length >> 1] ^= 1;
    for (const bad of [changed, blob.subarray(0, -1), Buffer.concat([blob, Buffer.alloc(1)]), Buffer.from("no backup")]) {
      await refused(() => keys.restoreKeyBackup(bad), 400, "BadParameter");
    }
    await refused(() => keys.getKey(name), 404, "KeyNotFound");
  });
  await step("restore brings every version, with its attributes, tags and material", async () => {
    assert.equal((await keys.restoreKeyBackup(blob)).id, versions[2].id);
    const listed = await all(keys.listPropertiesOfKeyVersions(name), (p) => [p.id, p.tags, p.enabled]);
    sameSet(listed.map(String), versions.map((k, i) => String([k.id, k.properties.tags, i > 0])));
    assert.ok((await hsm.remote(versions[1]).verify("ES256", digest, before)).result);
    const made = await hsm.remote(versions[1]).sign("ES256", digest);
    assert.ok(local.verifies(local.publicKey(versions[1].key), "ES256", data, made.result));
  });
}

export async function rotation(hsm) {
  const { keys, step } = hsm;
  const name = hsm.name("rotated");
  const first = await keys.createRsaKey(name, { keySize: 3072, tags: { a: "b" }, keyOps: ["sign", "verify"] });
  await step("a key without a rotation policy", async () => {
    const policy = await keys.getKeyRotationPolicy(name);
    assert.deepEqual([policy.lifetimeActions ?? [], policy.expiresIn ?? undefined], [[], undefined]);
  });
  for (const [action, expiresIn] of [
    [{ timeBeforeExpiry: "P30D" }, "P90D"], [{ timeAfterCreate: "P2M" }, "P1Y6M"], [{ timeAfterCreate: "P40D" }, undefined], [{ timeBeforeExpiry: "P28D" }, "P100D"],
  ]) {
    await step(`update rotation policy to ${JSON.stringify(action)}, expiry ${expiresIn}`, async () => {
      const wanted = { lifetimeActions: [{ action: "Rotate", ...action }], expiresIn };
      for (const got of [await keys.updateKeyRotationPolicy(name, wanted), await keys.getKeyRotationPolicy(name)]) {
        assert.deepEqual([got.id, got.expiresIn ?? undefined], [`${hsm.url}/keys/${name}/rotationpolicy`, expiresIn]);
        assert.deepEqual(JSON.parse(JSON.stringify(got.lifetimeActions)), wanted.lifetimeActions);
        assert.ok(got.createdOn && got.updatedOn >= got.createdOn);
      }
    });
  }
  await step("rotate: a new version like the first, that expires as the policy says", async () => {
    const second = await keys.rotateKey(name);
    assert.notEqual(second.id, first.id);
    assert.notDeepEqual(Buffer.from(second.key.n), Buffer.from(first.key.n));
    assert.deepEqual([second.keyType, second.key.n.length, [...second.keyOperations].sort(), second.properties.tags], ["RSA-HSM", 384, ["sign", "verify"], { a: "b" }]);
    assert.equal(second.properties.expiresOn - second.properties.createdOn, 100 * 86400_000);
    assert.equal((await keys.getKey(name)).id, second.id);
  });
  await step("policies out of bounds are refused", async () => {
    for (const [action, expiresIn] of [
      [{ timeAfterCreate: "P1D" }], [{ timeBeforeExpiry: "P30D" }], [{ timeBeforeExpiry: "P80D" }, "P90D"], [{ timeAfterCreate: "P40D" }, "P3D"], [{ timeAfterCreate: "monthly" }], [{}, "P90D"],
    ]) await refused(() => keys.updateKeyRotationPolicy(name, { lifetimeActions: [{ action: "Rotate", ...action }], expiresIn }), 400, "BadParameter");
    const notify = { lifetimeActions: [{ action: "Notify", timeBeforeExpiry: "P30D" }], expiresIn: "P90D" };
    await refused(() => keys.updateKeyRotationPolicy(name, notify), 400, "BadParameter", /notify/i);
  });
  await step("a blank policy removes it; then rotate is refused", async () => {
    await keys.updateKeyRotationPolicy(name, { lifetimeActions: [] });
    assert.deepEqual((await keys.getKeyRotationPolicy(name)).lifetimeActions ?? [], []);
    await refused(() => keys.rotateKey(name), 400, "BadParameter", /policy/);
  });
  await step("rotation of a key that is not there", async () => {
    await refused(() => keys.getKeyRotationPolicy(hsm.name("none")), 404, "KeyNotFound");
    await refused(() => keys.rotateKey(hsm.name("none")), 404, "KeyNotFound");
  });
}

export async function randomBytes({ keys, step }) {
  await step("random bytes: 1 to 128, never the same", async () => {
    for (const count of [1, 16, 127, 128]) assert.equal((await keys.getRandomBytes(count)).length, count);
    assert.notDeepEqual(await keys.getRandomBytes(32), await keys.getRandomBytes(32));
  });
  await step("0 and 129 random bytes are refused", async () => {
    for (const count of [0, 129, -1]) await refused(() => keys.getRandomBytes(count), 400, "BadParameter", /128/);
  });
}
