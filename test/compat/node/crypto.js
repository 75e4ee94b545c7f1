// Every algorithm that the library knows, done by the service and checked outside, and the reverse.
import assert from "node:assert/strict";
import { bytes, refused, sameSet } from "./harness.js";
import * as local from "./local.js";
import { KnownEncryptionAlgorithms, KnownSignatureAlgorithms } from "./sdk.js";
import { OCT_OPS } from "./target.js";

const { flipped, random } = local;
export const RSA_SIGN = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "RSNULL"];
export const RSA_ENCRYPT = ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5"];
export const HMACS = { 256: "HS256", 192: "HS384", 128: "HS512" };
const SIZES = [128, 192, 256];
const WRAP = ["CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"];
const bad = (call, words) => refused(call, 400, "BadParameter", words);

// everyAlgorithmIsWalked: a new version of the library may know more; then this file has something to add.
export async function everyAlgorithmIsWalked() {
  const curves = Object.values(local.CURVES).map((c) => c.algorithm);
  sameSet([...RSA_SIGN, ...curves, ...Object.values(HMACS)], Object.values(KnownSignatureAlgorithms));
  const aes = SIZES.flatMap((size) => ["GCM", "CBC", "CBCPAD", "KW"].map((mode) => `A${size}${mode}`));
  sameSet([...RSA_ENCRYPT, ...aes, ...WRAP], Object.values(KnownEncryptionAlgorithms));
}

// signatures: sign in the service, verify in it and outside; nothing else verifies.
async function signatures(hsm, key, algorithm) {
  const client = hsm.remote(key), data = random(50), digest = algorithm === "RSNULL" ? data : local.digest(algorithm, data);
  const made = await hsm.wire.remote("sign", () => client.sign(algorithm, digest));
  assert.deepEqual([made.keyID, made.algorithm], [key.id, algorithm]);
  assert.ok(local.verifies(local.publicKey(key.key), algorithm, data, made.result), "the signature is not valid outside");
  const verify = async (d, s) => (await client.verify(algorithm, d, s)).result;
  assert.equal(await hsm.wire.remote("verify", () => verify(digest, made.result)), true, "the signature is not valid in the service");
  assert.equal(await verify(flipped(digest), made.result), false, "another digest");
  assert.equal(await verify(digest, flipped(made.result)), false, "a changed signature");
  assert.equal(await verify(digest, made.result.subarray(0, -1)), false, "a cut signature");
  if (algorithm === "RSNULL") return; // takes any length, and the library cannot hash for it
  for (const length of [digest.length - 1, digest.length + 1]) await bad(() => client.sign(algorithm, Buffer.alloc(length)), new RegExp(digest.length));
  const signed = await client.signData(algorithm, data);
  assert.ok(local.verifies(local.publicKey(key.key), algorithm, data, signed.result), "signData is not valid outside");
  assert.equal((await client.verifyData(algorithm, data, signed.result)).result, true, "verifyData");
  assert.equal((await client.verifyData(algorithm, flipped(data), signed.result)).result, false, "verifyData of other data");
}

export async function rsa(hsm) {
  for (const keySize of [2048, 3072, 4096]) {
    const key = await hsm.keys.createRsaKey(hsm.name(`crypto-rsa${keySize}`), { keySize });
    const client = hsm.remote(key), open = local.publicKey(key.key);
    const [sign, encrypt, wrap] = keySize === 2048 ? [RSA_SIGN, RSA_ENCRYPT, RSA_ENCRYPT] : [["RS512", "PS384"], ["RSA-OAEP-256"], ["RSA1_5"]];
    for (const a of sign) await hsm.step(`sign and verify ${a} with RSA ${keySize}`, () => signatures(hsm, key, a));
    for (const a of encrypt) {
      await hsm.step(`encrypt and decrypt ${a} with RSA ${keySize}`, async () => {
        const text = random(100);
        const opened = await hsm.wire.remote("decrypt", () => client.decrypt(a, local.rsaEncrypt(open, a, text)));
        bytes(opened.result, text, "what was encrypted outside");
        const made = await hsm.wire.remote("encrypt", () => client.encrypt(a, text));
        assert.deepEqual([made.keyID, made.algorithm, made.result.length], [key.id, a, keySize / 8]);
        bytes((await client.decrypt({ algorithm: a, ciphertext: made.result })).result, text, "what the service encrypted");
        await bad(() => client.decrypt(a, flipped(made.result)));
        await bad(() => client.encrypt(a, Buffer.alloc(keySize / 8)));
      });
    }
    for (const a of wrap) {
      await hsm.step(`wrap and unwrap ${a} with RSA ${keySize}`, async () => {
        const secret = random(32);
        const opened = await hsm.wire.remote("unwrapkey", () => client.unwrapKey(a, local.rsaEncrypt(open, a, secret)));
        bytes(opened.result, secret, "what was wrapped outside");
        const made = await hsm.wire.remote("wrapkey", () => client.wrapKey(a, secret));
        bytes((await client.unwrapKey(a, made.result)).result, secret, "what the service wrapped");
        await bad(() => client.unwrapKey(a, flipped(made.result)));
      });
    }
  }
}

export async function curves(hsm) {
  for (const [curve, { algorithm }] of Object.entries(local.CURVES)) {
    const key = await hsm.keys.createEcKey(hsm.name(`crypto-${curve}`), { curve });
    await hsm.step(`sign and verify ${algorithm} with ${curve}`, async () => {
      for (let i = 0; i < 8; i++) await signatures(hsm, key, algorithm); // r and s with leading zeros keep their width
    });
    await hsm.step(`${curve} refuses the algorithms of other curves and types`, async () => {
      for (const other of [...Object.values(local.CURVES).map((c) => c.algorithm), "RS256"]) {
        if (other !== algorithm) await bad(() => hsm.remote(key).sign(other, local.digest(other, "")), new RegExp(algorithm));
      }
    });
  }
}

async function importedOct(hsm, size, keyOps) {
  const k = random(size / 8);
  return [hsm.remote(await hsm.keys.importKey(hsm.name(`crypto-oct${size}`), { kty: "oct-HSM", keyOps, k })), k];
}

export async function aes(hsm) {
  for (const size of SIZES) {
    const [client, k] = await importedOct(hsm, size, OCT_OPS);
    for (const a of [`A${size}CBC`, `A${size}CBCPAD`]) await hsm.step(`encrypt and decrypt ${a}`, () => cbc(client, k, a));
    await hsm.step(`encrypt and decrypt A${size}GCM`, () => gcm(client, k, `A${size}GCM`));
    for (const a of [`A${size}KW`, ...WRAP]) await hsm.step(`wrap and unwrap ${a} with oct ${size}`, () => wrap(client, k, a));
    await hsm.step(`oct ${size} refuses the algorithms of other sizes`, async () => {
      for (const other of SIZES.filter((s) => s !== size)) {
        await bad(() => client.wrapKey(`A${other}KW`, Buffer.alloc(32)), new RegExp(size));
        await bad(() => client.encrypt({ algorithm: `A${other}GCM`, plaintext: Buffer.alloc(32) }), new RegExp(size));
      }
    });
  }
}

async function cbc(client, k, algorithm) {
  const iv = random(16), padded = algorithm.endsWith("PAD");
  for (const length of padded ? [0, 5, 16, 33] : [16, 48]) {
    const plaintext = random(length);
    const made = await client.encrypt({ algorithm, plaintext, iv });
    bytes(made.result, local.aesEncrypt(k, algorithm, plaintext, { iv }).ciphertext, "ciphertext");
    bytes(made.iv, iv, "iv");
    bytes((await client.decrypt({ algorithm, ciphertext: made.result, iv })).result, plaintext, "decrypted");
  }
  await bad(() => client.encrypt({ algorithm, plaintext: Buffer.alloc(16), iv: Buffer.alloc(15) }), /16/);
  await bad(() => client.decrypt({ algorithm, ciphertext: Buffer.alloc(15), iv }));
  if (!padded) return bad(() => client.encrypt({ algorithm, plaintext: Buffer.alloc(15), iv }));
  const { ciphertext } = local.aesEncrypt(k, algorithm.slice(0, -3), Buffer.alloc(16, 0x11), { iv });
  return bad(() => client.decrypt({ algorithm, ciphertext, iv }));
}

async function gcm(client, k, algorithm) {
  const plaintext = random(77), ivs = new Set();
  for (const aad of [undefined, Buffer.from("associated")]) {
    const open = async (ciphertext, iv, authenticationTag, additionalAuthenticatedData = aad) =>
      (await client.decrypt({ algorithm, ciphertext, iv, authenticationTag, additionalAuthenticatedData })).result;
    const made = await client.encrypt({ algorithm, plaintext, additionalAuthenticatedData: aad });
    assert.deepEqual([made.iv.length, made.authenticationTag.length], [12, 16]);
    ivs.add(Buffer.from(made.iv).toString("hex"));
    bytes(local.aesDecrypt(k, algorithm, made.result, { iv: made.iv, tag: made.authenticationTag, aad }), plaintext, "decrypted outside");
    bytes(await open(made.result, made.iv, made.authenticationTag), plaintext, "decrypted inside");
    const { ciphertext, iv, tag } = local.aesEncrypt(k, algorithm, plaintext, { aad });
    bytes(await open(ciphertext, iv, tag), plaintext, "encrypted outside");
    for (const args of [[flipped(ciphertext), iv, tag], [ciphertext, flipped(iv), tag], [ciphertext, iv, flipped(tag)], [ciphertext, iv, tag, Buffer.from("other")], [ciphertext, iv, tag.subarray(0, 12)]]) {
      await bad(() => open(...args));
    }
  }
  assert.equal(ivs.size, 2, "the same iv twice");
}

async function wrap(client, k, algorithm) {
  const padded = algorithm.endsWith("_PAD");
  for (const length of padded ? [16, 24, 32, 5, 33] : [16, 24, 32]) {
    const secret = random(length);
    const { result } = await client.wrapKey(algorithm, secret);
    bytes(result, local.aesWrap(k, algorithm, secret), "wrapped key");
    bytes((await client.unwrapKey(algorithm, result)).result, secret, "unwrapped");
    await bad(() => client.unwrapKey(algorithm, flipped(result)));
  }
  if (!padded) await bad(() => client.wrapKey(algorithm, Buffer.alloc(17)));
}

export async function hmacs(hsm) {
  for (const [size, algorithm] of Object.entries(HMACS)) {
    await hsm.step(`sign and verify ${algorithm} with oct ${size}`, async () => {
      const [client, k] = await importedOct(hsm, Number(size), ["sign", "verify"]);
      const digest = local.digest(algorithm, random(50)), { result } = await client.sign(algorithm, digest);
      bytes(result, local.mac(k, algorithm, digest), "authentication code");
      for (const [d, s, want] of [[digest, result, true], [flipped(digest), result, false], [digest, flipped(result), false]]) {
        assert.equal((await client.verify(algorithm, d, s)).result, want);
      }
    });
  }
}
