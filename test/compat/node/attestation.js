// Key attestation: evidence that is checked with node:crypto alone, by docs/formats/key-attestation.md.
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { bytes, refused, sameSet } from "./harness.js";
import * as local from "./local.js";

// statement is the text of a signed statement: "RDA1", its length, itself, and a signature by the leaf.
function statement(blob, leaf) {
  const b = Buffer.from(blob), length = b.readUInt32BE(4), text = b.subarray(8, 8 + length);
  assert.deepEqual([b.subarray(0, 4).toString(), b.length], ["RDA1", 8 + length + 64]);
  const signed = Buffer.concat([Buffer.from("redoubt/attestation/v1/statement\n"), text]);
  assert.ok(local.verifies(leaf.publicKey, "ES256", signed, b.subarray(8 + length)), "the statement's signature");
  return JSON.parse(text);
}

function check(key, evidence) {
  assert.equal(evidence.version, "1.0");
  const pem = Buffer.from(evidence.certificatePemFile).toString();
  const [leaf, root] = pem.match(/-----BEGIN[^]*?-----END CERTIFICATE-----/g).map((c) => new crypto.X509Certificate(c));
  for (const c of [leaf, root]) assert.ok(c.checkIssued(root) && c.verify(root.publicKey), c.subject);
  const said = statement(evidence.privateKeyAttestation, leaf);
  assert.deepEqual([said.purpose, said.key], ["private-key", `/keys/${key.name}/${key.properties.version}`]);
  assert.deepEqual([said.kty, said.origin, said.exportable, said.enabled], [key.keyType, "generated", false, true]);
  sameSet(said.keyOps, key.keyOperations);
  assert.ok(Math.abs(said.time - Date.now() / 1000) < 60);
  if (key.keyType === "oct-HSM") return assert.equal(evidence.publicKeyAttestation, undefined);
  const open = statement(evidence.publicKeyAttestation, leaf);
  assert.deepEqual([open.purpose, open.key, open.thumbprint], ["public-key", said.key, said.thumbprint]);
  for (const f of ["n", "e", "x", "y"]) if (open.publicKey[f]) bytes(Buffer.from(open.publicKey[f], "base64url"), key.key[f], f);
  const canonical = JSON.stringify(open.publicKey, Object.keys(open.publicKey).sort()); // RFC 7638
  assert.equal(open.thumbprint, crypto.createHash("sha256").update(canonical).digest("base64url"));
}

export async function attestation(hsm) {
  const { keys, step } = hsm;
  for (const key of [
    await keys.createRsaKey(hsm.name("attested-rsa"), { keySize: 2048 }),
    await keys.createEcKey(hsm.name("attested-ec"), { curve: "P-521" }),
    await keys.createOctKey(hsm.name("attested-oct"), { keySize: 256 }),
  ]) {
    await step(`attestation of ${key.keyType}`, async () => {
      assert.equal((await keys.getKey(key.name)).properties.attestation, undefined);
      for (const got of [await keys.getKeyAttestation(key.name), await keys.getKeyAttestation(key.name, { version: key.properties.version })]) {
        assert.equal(got.id, key.id);
        check(key, got.properties.attestation);
      }
    });
  }
  await step("attestation of a key that is not there", async () => {
    await refused(() => keys.getKeyAttestation(hsm.name("none")), 404, "KeyNotFound");
  });
}
