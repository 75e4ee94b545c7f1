// Create, get, update and list.
import assert from "node:assert/strict";
import { all, bytes, refusedList } from "./harness.js";
import * as local from "./local.js";
import { EC_OPS, RSA_OPS } from "./target.js";
import { KnownKeyCurveNames, parseKeyVaultKeyIdentifier } from "./sdk.js";

export async function create(hsm) {
  const { keys, name, step } = hsm;
  for (const keySize of [2048, 3072, 4096]) {
    await step(`create RSA-HSM ${keySize}`, async () => {
      const key = await keys.createRsaKey(name(`rsa${keySize}`), { keySize, hsm: true });
      hsm.checkKey(key, name(`rsa${keySize}`), "RSA-HSM", RSA_OPS);
      assert.equal(key.key.n.length, keySize / 8);
      bytes(key.key.e, [1, 0, 1], "exponent");
    });
  }
  await step("publicExponent is taken by the library, which does not send it (known defect)", async () => {
    const key = await keys.createRsaKey(name("e3"), { publicExponent: 3 });
    bytes(key.key.e, [1, 0, 1], "exponent");
  });
  await step("create RSA without size: an RSA-HSM key of 2048 bits", async () => {
    const key = await keys.createRsaKey(name("rsa"));
    hsm.checkKey(key, name("rsa"), "RSA-HSM", RSA_OPS);
    assert.equal(key.key.n.length, 256);
  });
  for (const curve of Object.values(KnownKeyCurveNames)) {
    await step(`create EC-HSM ${curve}`, async () => {
      const key = await keys.createEcKey(name(`ec${curve}`), { curve, hsm: true });
      hsm.checkKey(key, name(`ec${curve}`), "EC-HSM", EC_OPS);
      const { width } = local.CURVES[curve];
      assert.deepEqual([key.key.crv, key.key.x.length, key.key.y.length], [curve, width, width]);
      local.publicKey(key.key); // refuses a point off the curve
    });
  }
  await step("create EC without curve: P-256", async () => {
    const key = await keys.createEcKey(name("ec"));
    hsm.checkKey(key, name("ec"), "EC-HSM", EC_OPS);
    assert.equal(key.key.crv, "P-256");
  });
  for (const keySize of [128, 192, 256]) {
    await step(`create oct-HSM ${keySize}`, async () => {
      const keyOps = ["wrapKey", "unwrapKey"];
      hsm.checkKey(await keys.createOctKey(name(`oct${keySize}`), { keySize, hsm: true, keyOps }), name(`oct${keySize}`), "oct-HSM", keyOps);
    });
  }
  await step("create oct without size", async () => {
    hsm.checkKey(await keys.createOctKey(name("oct")), name("oct"), "oct-HSM", RSA_OPS);
  });
  await step("createKey with kty, operations, dates and tags", async () => {
    const notBefore = new Date("2031-02-03T04:05:06Z"), expiresOn = new Date("2031-02-04T04:05:06Z");
    const tags = { owner: "finance", "ünï": "🔑".repeat(128) };
    const key = await keys.createKey(name("full"), "EC", { curve: "P-384", keyOps: ["verify"], enabled: false, tags, notBefore, expiresOn });
    hsm.checkKey(key, name("full"), "EC-HSM", ["verify"]);
    const p = key.properties;
    assert.deepEqual([p.enabled, p.tags, p.notBefore, p.expiresOn, p.exportable], [false, tags, notBefore, expiresOn, false]);
  });
}

export async function get(hsm) {
  const { keys, step } = hsm;
  const name = hsm.name("versions");
  let first, second;
  await step("a second create makes a second version; get the newest and each", async () => {
    first = await keys.createEcKey(name, { tags: { n: "1" } });
    second = await keys.createEcKey(name, { tags: { n: "2" } });
    assert.notEqual(first.id, second.id);
    assert.equal((await keys.getKey(name)).id, second.id);
    for (const want of [first, second]) {
      const got = await keys.getKey(name, { version: want.properties.version });
      assert.deepEqual([got.id, got.properties.tags], [want.id, want.properties.tags]);
      bytes(got.key.x, want.key.x);
      assert.equal(parseKeyVaultKeyIdentifier(got.id).version, want.properties.version);
    }
  });
  await step("update dates, operations, tags and enabled of one version", async () => {
    const { version } = first.properties;
    const change = { keyOps: ["sign"], enabled: false, tags: { a: "b" }, notBefore: new Date("2031-01-01Z"), expiresOn: new Date("2031-01-09Z") };
    for (const got of [await keys.updateKeyProperties(name, version, change), await keys.getKey(name, { version })]) {
      const { enabled, tags, notBefore, expiresOn } = got.properties;
      assert.deepEqual({ keyOps: got.keyOperations, enabled, tags, notBefore, expiresOn }, change);
    }
    assert.deepEqual((await keys.getKey(name)).properties.tags, { n: "2" });
  });
  await step("update without a version changes the newest; what is not named stays", async () => {
    const got = await keys.updateKeyProperties(name, { tags: {} });
    assert.deepEqual([got.id, got.properties.tags ?? {}, got.properties.enabled, [...got.keyOperations].sort()], [second.id, {}, true, EC_OPS]);
  });
  await step("getCryptographyClient of a key client, by name and by version", async () => {
    const data = local.random(20);
    for (const keyVersion of [undefined, second.properties.version]) {
      const client = keys.getCryptographyClient(name, { keyVersion });
      const made = await hsm.wire.remote("sign", () => client.sign("ES256", local.digest("ES256", data)));
      assert.ok(local.verifies(local.publicKey(second.key), "ES256", data, made.result));
    }
  });
}

export async function lists(hsm) {
  const { keys, officer, step } = hsm;
  const name = hsm.name("paged"), many = 27, ids = [];
  const lengths = async (list, pages) => all(list.byPage(pages), (page) => page.length);
  await step(`${many} versions over two pages`, async () => {
    for (let i = 0; i < many; i++) ids.push((await keys.createEcKey(name)).id);
    const seen = await all(keys.listPropertiesOfKeyVersions(name), (p) => p.id);
    assert.deepEqual([...seen].sort(), [...ids].sort());
    assert.deepEqual(await lengths(keys.listPropertiesOfKeyVersions(name)), [25, many - 25]);
  });
  await step("pages of 5", async () => {
    assert.deepEqual(await lengths(keys.listPropertiesOfKeyVersions(name), { maxPageSize: 5 }), [5, 5, 5, 5, 5, 2]);
  });
  await step("a continuation token goes on where another client stopped", async () => {
    const { value } = await keys.listPropertiesOfKeyVersions(name).byPage().next();
    assert.equal(value.continuationToken, undefined); // known defect: the library drops it from its pages
    const continuationToken = JSON.parse(hsm.wire.last.bodyAsText).nextLink;
    const rest = hsm.speaking("2025-07-01").listPropertiesOfKeyVersions(name).byPage({ continuationToken });
    const seen = [...value, ...(await all(rest)).flat()].map((p) => p.id);
    assert.deepEqual(seen.sort(), [...ids].sort());
  });
  const names = Array.from({ length: many }, (_, i) => hsm.name(`many${String(i).padStart(2, "0")}`));
  await step(`${many} keys in the list of keys, without versions`, async () => {
    for (const n of names) await keys.createEcKey(n, { tags: { n } });
    const listed = new Map(await all(keys.listPropertiesOfKeys(), (p) => [p.name, p]));
    for (const n of names) {
      const p = listed.get(n);
      assert.deepEqual([p.id, p.version, p.tags, p.enabled], [`${hsm.url}/keys/${n}`, undefined, { n }, true]);
      hsm.checkProperties(p);
    }
  });
  await step(`${many} keys in the list of deleted keys`, async () => {
    for (const n of names) await keys.beginDeleteKey(n);
    const deleted = new Map(await all(officer.listDeletedKeys(), (d) => [d.name, d]));
    for (const n of names) {
      const { recoveryId, scheduledPurgeDate, deletedOn, recoverableDays } = deleted.get(n).properties;
      assert.equal(recoveryId, `${hsm.url}/deletedkeys/${n}`);
      assert.equal(scheduledPurgeDate - deletedOn, recoverableDays * 86400_000);
    }
    const live = new Set(await all(keys.listPropertiesOfKeys(), (p) => p.name));
    assert.deepEqual(names.filter((n) => live.has(n)), [], "deleted keys in the list of keys");
    for (const n of names) await officer.purgeDeletedKey(n);
    assert.deepEqual((await all(officer.listDeletedKeys(), (d) => d.name)).filter((n) => names.includes(n)), []);
  });
  await step("the list of versions of a key that is not there", async () => {
    await refusedList(hsm.wire, () => all(keys.listPropertiesOfKeyVersions(hsm.name("none"))), 404, "KeyNotFound", /none/);
  });
}
