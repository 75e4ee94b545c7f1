// A short walk in every api-version that Managed HSM knows.
import assert from "node:assert/strict";
import { all, refused } from "./harness.js";
import * as local from "./local.js";

// Oldest first. The library lets its caller name any; its own are 7.5, 7.6-preview.2, 7.6 and 2025-07-01.
const VERSIONS = ("7.0 7.1 7.2-preview 7.2 7.3-preview 7.3 7.4-preview.1 7.4 7.5-preview.1 7.5 7.6-preview.1 7.6-preview.2 7.6 " +
  "2025-06-01-preview 2025-07-01 2026-01-01-preview 2026-03-01-preview 2026-04-01 2026-05-01-preview 2026-07-01-preview").split(" ");

export async function versions(hsm) {
  await hsm.step("an api-version that is none is refused with a list of those that are", async () => {
    for (const version of ["2016-10-01", "9.9"]) {
      await refused(() => hsm.speaking(version).getKey(hsm.name("none")), 400, "BadParameter", /2025-07-01/, "InvalidApiVersionParameter");
    }
  });
  for (const [i, version] of VERSIONS.entries()) await hsm.step(`api-version ${version}`, () => short(hsm, version, hsm.name(`v${i}`)));
}

async function short(hsm, version, name) {
  const keys = hsm.speaking(version), officer = hsm.speaking(version, hsm.officerCredential), since = VERSIONS.indexOf(version);
  const key = await keys.createEcKey(name, { tags: { v: version } });
  const data = Buffer.from(version), client = keys.getCryptographyClient(name);
  const { result } = await client.signData("ES256", data);
  assert.ok(local.verifies(local.publicKey(key.key), "ES256", data, result));
  assert.equal((await client.verifyData("ES256", data, result)).result, true);
  assert.equal((await keys.updateKeyProperties(name, { enabled: false })).properties.enabled, false);
  assert.deepEqual(await all(keys.listPropertiesOfKeyVersions(name), (p) => p.id), [key.id]);
  if (since >= VERSIONS.indexOf("7.3-preview")) {
    assert.equal((await keys.getRandomBytes(9)).length, 9);
    assert.deepEqual((await keys.getKeyRotationPolicy(name)).lifetimeActions ?? [], []);
  } else {
    await refused(() => keys.getRandomBytes(9), 404, "NotFound");
  }
  if (since >= VERSIONS.indexOf("7.6-preview.2")) assert.ok((await keys.getKeyAttestation(name)).properties.attestation);
  const blob = await keys.backupKey(name);
  await keys.beginDeleteKey(name);
  assert.equal((await officer.getDeletedKey(name)).properties.recoveryId, `${hsm.url}/deletedkeys/${name}`);
  await (await officer.beginRecoverDeletedKey(name)).pollUntilDone();
  await keys.beginDeleteKey(name);
  await officer.purgeDeletedKey(name);
  assert.equal((await keys.restoreKeyBackup(blob)).id, key.id);
}
