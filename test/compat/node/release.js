// Secure key release: policies, and a key that leaves the HSM for an environment that the dev cloud's attestation service
// vouches for. The answer is verified, opened and used with node:crypto alone (docs/formats/key-release.md).
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { bytes, refused } from "./harness.js";
import * as local from "./local.js";
import { createDefaultHttpClient, createPipelineFromOptions, createPipelineRequest, KnownKeyExportEncryptionAlgorithm } from "./sdk.js";

const AUTHORITY = process.env.REDOUBT_ATTESTATION;
const OAEP = { CKM_RSA_AES_KEY_WRAP: "sha1", RSA_AES_KEY_WRAP_256: "sha256", RSA_AES_KEY_WRAP_384: "sha384" };
const DEFAULT = "CKM_RSA_AES_KEY_WRAP";
const unb64 = (s) => Buffer.from(s, "base64url");
const parse = (s) => JSON.parse(unb64(s));

// policy: released to environments of the dev cloud's authority that have all these claims.
function policy(claims, immutable) {
  const allOf = Object.entries(claims).map(([claim, equals]) => ({ claim, equals }));
  return { encodedPolicy: Buffer.from(JSON.stringify({ version: "1.0.0", anyOf: [{ authority: AUTHORITY, allOf }] })), immutable };
}

const text = (p) => JSON.parse(Buffer.from(p.encodedPolicy));

// attest is a token that says the claims of the environment that has this key. Node's own fetch knows no proxy.
async function attest(environment, claims) {
  const publicKeyPem = crypto.createPublicKey(environment).export({ type: "spki", format: "pem" });
  const request = createPipelineRequest({ url: `${AUTHORITY}/generate-test-token`, method: "POST", body: JSON.stringify({ publicKeyPem, claims }) });
  request.headers.set("Content-Type", "application/json");
  const answer = await createPipelineFromOptions({}).sendRequest(createDefaultHttpClient(), request);
  assert.equal(answer.status, 200, answer.bodyAsText);
  return JSON.parse(answer.bodyAsText).token;
}

// opened is the material in an answer, after everything around it was checked.
function opened(environment, jws, key, enc = DEFAULT, nonce = undefined) {
  const [head, payload, signature] = jws.split(".");
  const header = parse(head);
  const [leaf, root] = header.x5c.map((c) => new crypto.X509Certificate(Buffer.from(c, "base64")));
  assert.ok(leaf.checkIssued(root) && leaf.verify(root.publicKey));
  assert.equal(header.alg, "ES256");
  assert.ok(local.verifies(leaf.publicKey, "ES256", Buffer.from(`${head}.${payload}`), unb64(signature)), "signature of the answer");
  const said = parse(payload), jwk = said.response.key.key;
  assert.deepEqual([said.request.enc, said.request.nonce], [enc, nonce]);
  assert.deepEqual([jwk.kid, jwk.kty], [key.id, key.keyType.replace("-HSM", "")]);
  for (const part of ["n", "x"]) if (key.key[part]) bytes(unb64(jwk[part]), key.key[part], part);
  const { header: inner, ciphertext } = parse(jwk.key_hsm);
  assert.deepEqual([inner.alg, inner.enc], ["dir", enc]);
  const sealed = unb64(ciphertext), size = environment.asymmetricKeyDetails.modulusLength / 8;
  const aes = crypto.privateDecrypt({ key: environment, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: OAEP[enc] }, sealed.subarray(0, size));
  return local.aesUnwrap(aes, "CKM_AES_KEY_WRAP_PAD", sealed.subarray(size));
}

// use: what was released is the key; what is done with it outside is good inside.
async function use(hsm, key, material) {
  const client = hsm.remote(key), data = local.random(32);
  if (key.keyType === "oct-HSM") return bytes((await client.unwrapKey("A256KW", local.aesWrap(material, "A256KW", data))).result, data);
  const secret = crypto.createPrivateKey({ key: material, format: "der", type: "pkcs8" });
  const algorithm = key.keyType === "RSA-HSM" ? "RS256" : local.CURVES[key.key.crv].algorithm;
  assert.equal((await client.verifyData(algorithm, data, local.signatureBy(secret, algorithm, data))).result, true, "signed outside");
}

export async function released(hsm) {
  const { keys, name, step } = hsm, environment = local.newRSA(2048), token = await attest(environment, { trusted: true });
  const options = { exportable: true, releasePolicy: policy({ trusted: true }) };
  const made = [await keys.createRsaKey(name("out-rsa"), { keySize: 2048, ...options }), await keys.createOctKey(name("out-oct"), { keySize: 256, ...options })];
  for (const curve of Object.keys(local.CURVES)) made.push(await keys.createEcKey(name(`out-${curve}`), { curve, ...options }));
  for (const key of made) {
    await step(`release of ${key.name}`, async () => {
      const { exportable, releasePolicy: p } = key.properties;
      assert.deepEqual([exportable, p.contentType, p.immutable ?? false], [true, "application/json; charset=utf-8", false]);
      assert.deepEqual(text(p), text(options.releasePolicy));
      await use(hsm, key, opened(environment, (await keys.releaseKey(key.name, token)).value, key));
    });
  }
  const key = made[0];
  for (const algorithm of Object.values(KnownKeyExportEncryptionAlgorithm)) {
    await step(`release of one version with ${algorithm} and a nonce`, async () => {
      const { value } = await keys.releaseKey(key.name, token, { version: key.properties.version, algorithm, nonce: "once" });
      await use(hsm, key, opened(environment, value, key, algorithm, "once"));
    });
  }
  await step("release of an imported key gives what was imported", async () => {
    const k = local.random(32), imported = await keys.importKey(name("out-imported"), { kty: "oct-HSM", keyOps: ["wrapKey"], k }, options);
    bytes(opened(environment, (await keys.releaseKey(imported.name, token)).value, imported), k, "material");
  });
}

export async function policies(hsm) {
  const { keys, step } = hsm, name = hsm.name("policy"), environment = local.newRSA(2048);
  const first = await attest(environment, { trusted: true }), other = await attest(environment, { trusted: false, level: 3 });
  const key = await keys.createEcKey(name, { exportable: true, releasePolicy: policy({ trusted: true }) });
  const release = (token, options) => () => keys.releaseKey(name, token, options);
  await step("a token that does not meet the policy, or is none, releases nothing", async () => {
    await refused(release(other), 403, "Forbidden", /trusted/, "AccessDenied");
    const [head, payload, signature] = first.split(".");
    const forged = [head, payload, Buffer.alloc(unb64(signature).length).toString("base64url")].join(".");
    await refused(release(forged), 403, "Forbidden", /./, "AccessDenied");
    await refused(release("no.token.atall"), 400, "BadParameter", /target/);
    await refused(release(first, { algorithm: "RSA1_5" }), 400, "BadParameter", /CKM_RSA_AES_KEY_WRAP/);
  });
  await step("update of the policy: another environment may have the key", async () => {
    const got = await keys.updateKeyProperties(name, { releasePolicy: policy({ level: 3 }) });
    assert.deepEqual(text(got.properties.releasePolicy), text(policy({ level: 3 })));
    await use(hsm, key, opened(environment, (await release(other)()).value, key));
    await refused(release(first), 403, "Forbidden", /level/, "AccessDenied");
  });
  await step("an immutable policy cannot be changed", async () => {
    const got = await keys.updateKeyProperties(name, { releasePolicy: policy({ level: 3 }, true) });
    assert.equal(got.properties.releasePolicy.immutable, true);
    await refused(() => keys.updateKeyProperties(name, { releasePolicy: policy({ level: 4 }) }), 400, "BadParameter", /Immutable Key Release Policy cannot be modified/);
  });
  await step("what cannot be released", async () => {
    const { name: inside } = await keys.createEcKey(hsm.name("inside"));
    await refused(() => keys.releaseKey(inside, first), 403, "Forbidden", /not exportable/, "KeyOperationForbidden");
    await refused(() => keys.updateKeyProperties(inside, { releasePolicy: policy({ level: 3 }) }), 400, "BadParameter", /Non-exportable keys must not have release policy/);
    await refused(() => keys.releaseKey(hsm.name("none"), first), 404, "KeyNotFound");
    await keys.updateKeyProperties(name, { enabled: false });
    await refused(release(other), 403, "Forbidden", /disabled/i, "KeyDisabled");
  });
}
