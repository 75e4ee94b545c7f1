// Import of material of every type, as JWK and as a BYOK transfer blob. What is known outside can be checked outside: the
// imported keys are used with both hands, the service's and node:crypto's.
import assert from "node:assert/strict";
import { all, bytes, refused } from "./harness.js";
import * as local from "./local.js";
import { EC_OPS, RSA_OPS } from "./target.js";

export async function asymmetric(hsm) {
  for (const [size, exponent] of [[2048, 65537], [2048, 3], [3072, 65537], [4096, 65537]]) {
    await hsm.step(`import RSA ${size} with exponent ${exponent}`, async () => {
      const name = hsm.name(`import-rsa${size}-${exponent}`), secret = local.newRSA(size, exponent), tags = { from: "outside" };
      const jwk = local.privateJWK(secret, "RSA", RSA_OPS);
      const key = await hsm.keys.importKey(name, jwk, { hardwareProtected: true, tags });
      hsm.checkKey(key, name, "RSA-HSM", RSA_OPS);
      bytes(key.key.n, jwk.n, "modulus");
      bytes(key.key.e, jwk.e, "exponent");
      assert.deepEqual(key.properties.tags, tags);
      await bothHands(hsm, key, secret);
    });
  }
  for (const curve of Object.keys(local.CURVES)) {
    await hsm.step(`import EC ${curve}`, async () => {
      const name = hsm.name(`import-${curve}`), secret = local.newEC(curve);
      const key = await hsm.keys.importKey(name, local.privateJWK(secret, "EC-HSM", EC_OPS));
      hsm.checkKey(key, name, "EC-HSM", EC_OPS);
      await bothHands(hsm, key, secret);
    });
  }
}

// bothHands: signatures and ciphertexts of the one are opened by the other.
async function bothHands(hsm, key, secret) {
  const client = hsm.remote(key), isEC = key.keyType === "EC-HSM", open = local.publicKey(key.key);
  for (const algorithm of isEC ? [local.CURVES[key.key.crv].algorithm] : ["RS256", "PS512", "RSNULL"]) {
    const data = local.random(40), digest = algorithm === "RSNULL" ? data : local.digest(algorithm, data);
    assert.ok((await client.verify(algorithm, digest, local.signatureBy(secret, algorithm, data))).result, `a local ${algorithm} is not valid in the service`);
    assert.ok(local.verifies(open, algorithm, data, (await client.sign(algorithm, digest)).result), `${algorithm} of the service is not valid outside`);
  }
  if (isEC) return;
  const text = local.random(32), algorithm = "RSA-OAEP-256";
  bytes(local.rsaDecrypt(secret, algorithm, (await client.wrapKey(algorithm, text)).result), text, "unwrapped outside");
  bytes((await client.unwrapKey(algorithm, local.rsaEncrypt(open, algorithm, text))).result, text, "unwrapped inside");
}

export async function symmetric(hsm) {
  for (const size of [128, 192, 256]) {
    await hsm.step(`import oct ${size}; wrapped outside, unwrapped inside, and the reverse`, async () => {
      const name = hsm.name(`import-oct${size}`), k = local.random(size / 8), keyOps = ["wrapKey", "unwrapKey"];
      const key = await hsm.keys.importKey(name, { kty: "oct-HSM", keyOps, k });
      hsm.checkKey(key, name, "oct-HSM", keyOps);
      const client = hsm.remote(key), text = local.random(32), algorithm = `A${size}KW`;
      bytes(local.aesUnwrap(k, algorithm, (await client.wrapKey(algorithm, text)).result), text, "unwrapped outside");
      bytes((await client.unwrapKey(algorithm, local.aesWrap(k, algorithm, text))).result, text, "unwrapped inside");
    });
  }
}

// transferBlob is CKM_RSA_AES_KEY_WRAP: a fresh AES key under RSA-OAEP with SHA-1, then the material under it (RFC 5649).
function transferBlob(kek, material, change = {}) {
  const aes = local.random(32);
  const sealed = Buffer.concat([local.rsaEncrypt(local.publicKey(kek.key), "RSA-OAEP", aes), local.aesWrap(aes, "CKM_AES_KEY_WRAP_PAD", material)]);
  const header = { kid: kek.id, alg: "dir", enc: "CKM_RSA_AES_KEY_WRAP", ...change.header };
  return Buffer.from(JSON.stringify({ schema_version: "1.0.0", ciphertext: sealed.toString("base64url"), generator: "compat", ...change, header }));
}

export async function byok(hsm) {
  const { keys, step } = hsm;
  let kek;
  await step("a key-exchange key: RSA with key_ops import and nothing else", async () => {
    kek = await keys.createRsaKey(hsm.name("kek"), { keySize: 3072, hsm: true, keyOps: ["import"] });
    assert.deepEqual(kek.keyOperations, ["import"]);
    await refused(() => hsm.remote(kek).sign("RS256", Buffer.alloc(32)), 403, "Forbidden", /not permitted/, "KeyOperationForbidden");
  });
  for (const [kty, secret, keyOps, crv] of [["RSA-HSM", local.newRSA(2048), RSA_OPS], ["EC-HSM", local.newEC("P-384"), EC_OPS, "P-384"]]) {
    await step(`import ${kty} by transfer blob`, async () => {
      const key = await keys.importKey(hsm.name("byok-" + kty), { kty, keyOps, crv, t: transferBlob(kek, local.pkcs8(secret)) }, { hardwareProtected: true });
      hsm.checkKey(key, hsm.name("byok-" + kty), kty, keyOps);
      await bothHands(hsm, key, secret);
    });
  }
  await step("import oct-HSM by transfer blob", async () => {
    const k = local.random(32), text = local.random(32);
    const key = await keys.importKey(hsm.name("byok-oct"), { kty: "oct-HSM", keyOps: ["wrapKey", "unwrapKey"], t: transferBlob(kek, k) }, { hardwareProtected: true });
    bytes(local.aesUnwrap(k, "A256KW", (await hsm.remote(key).wrapKey("A256KW", text)).result), text, "unwrapped outside");
  });
  await step("a damaged transfer blob is refused", async () => {
    for (const change of [{ schema_version: "9" }, { ciphertext: "AAAA" }, { header: { enc: "none" } }, { header: { kid: `${hsm.url}/keys/none` } }]) {
      const t = transferBlob(kek, local.random(32), change);
      await refused(() => keys.importKey(hsm.name("byok-bad"), { kty: "oct-HSM", keyOps: ["wrapKey"], t }), 400, "BadParameter");
    }
  });
}

export async function bad(hsm) {
  const name = hsm.name("import-bad");
  const rsa = local.privateJWK(local.newRSA(2048), "RSA"), ec = local.privateJWK(local.newEC("P-256"), "EC");
  const { kty, n, e } = rsa;
  for (const [what, jwk] of Object.entries({
    "RSA whose n is another key's": { ...rsa, n: local.privateJWK(local.newRSA(2048), "RSA").n },
    "RSA with exponent 1": { ...rsa, e: Buffer.from([1]) },
    "RSA with an even exponent": { ...rsa, e: Buffer.from([4]) },
    "RSA without private parts": { kty, n, e },
    "RSA of 1024 bits": local.privateJWK(local.newRSA(1024), "RSA"),
    "EC off the curve": { ...ec, y: ec.x },
    "EC whose d is another key's": { ...ec, d: Buffer.alloc(32, 1) },
    "EC without a curve": { ...ec, crv: undefined },
    "oct of 64 bits": { kty: "oct", k: Buffer.alloc(8) },
    "oct without k": { kty: "oct" },
  })) {
    await hsm.step(`import is refused: ${what}`, () => refused(() => hsm.keys.importKey(name, jwk), 400, "BadParameter"));
  }
  await hsm.step("nothing of it was stored", async () => {
    assert.ok(!(await all(hsm.keys.listPropertiesOfKeys(), (p) => p.name)).includes(name));
  });
}
