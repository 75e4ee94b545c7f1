// What this program leaves for the others, and how it checks what they left. The format is told in ../README.md.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { HMACS, RSA_ENCRYPT, RSA_SIGN } from "./crypto.js";
import { bytes } from "./harness.js";
import * as local from "./local.js";

const { REDOUBT_COMPAT_DIR, REDOUBT_COMPAT_PROGRAM, REDOUBT_COMPAT_PROGRAMS } = process.env;
const file = (program) => path.join(REDOUBT_COMPAT_DIR, "artefacts", `${program}.jsonl`);

// Byte strings become base64url without padding; what is undefined is left out by JSON.
const encode = (fields) => Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, v instanceof Uint8Array ? Buffer.from(v).toString("base64url") : v]));
const BYTES = new Set(["n", "e", "x", "y", "data", "digest", "signature", "plaintext", "ciphertext", "iv", "tag", "aad"]);
const decode = (fields) => Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, BYTES.has(k) ? Buffer.from(v, "base64url") : v]));

export async function write(hsm) {
  const { keys, name, step } = hsm, made = [];
  const note = (kind, key, alg, rest) => {
    hsm.kept.add(key.name);
    made.push({ kind, program: REDOUBT_COMPAT_PROGRAM, kid: key.id, alg, ...encode(rest) });
  };
  const sign = async (key, alg) => {
    const data = local.random(32), digest = alg === "RSNULL" ? data : local.digest(alg, data);
    const { kty, n, e, crv, x, y } = key.key, isOct = kty === "oct-HSM";
    const { result } = await hsm.remote(key).sign(alg, digest);
    note("signature", key, alg, {
      jwk: isOct ? undefined : encode({ kty: kty.replace("-HSM", ""), n, e, crv, x, y }),
      data: alg === "RSNULL" ? undefined : data, digest, signature: result,
    });
  };
  const rsa = await keys.createRsaKey(name("kept-rsa"), { keySize: 2048 });
  await step("signatures for the other programs", async () => {
    for (const alg of RSA_SIGN) await sign(rsa, alg);
    for (const [curve, { algorithm }] of Object.entries(local.CURVES)) await sign(await keys.createEcKey(name(`kept-${curve}`), { curve }), algorithm);
    for (const [size, alg] of Object.entries(HMACS)) await sign(await keys.createOctKey(name(`kept-mac${size}`), { keySize: Number(size), keyOps: ["sign", "verify"] }), alg);
  });
  await step("ciphertexts and wrapped keys for the other programs", async () => {
    for (const alg of RSA_ENCRYPT) { // made outside: only the service opens them
      for (const op of ["encrypt", "wrap"]) {
        const plaintext = local.random(32);
        note("ciphertext", rsa, alg, { op, plaintext, ciphertext: local.rsaEncrypt(local.publicKey(rsa.key), alg, plaintext) });
      }
    }
    for (const size of [128, 192, 256]) {
      const key = await keys.createOctKey(name(`kept-aes${size}`), { keySize: size });
      const client = hsm.remote(key), plaintext = local.random(48), aad = Buffer.from("associated data");
      for (const [algorithm, extra] of [[`A${size}GCM`, { additionalAuthenticatedData: aad }], [`A${size}CBC`, { iv: local.random(16) }], [`A${size}CBCPAD`, { iv: local.random(16) }]]) {
        const out = await client.encrypt({ algorithm, plaintext, ...extra });
        note("ciphertext", key, algorithm, { op: "encrypt", plaintext, ciphertext: out.result, iv: out.iv, tag: out.authenticationTag, aad: extra.additionalAuthenticatedData });
      }
      for (const alg of [`A${size}KW`, "CKM_AES_KEY_WRAP", "CKM_AES_KEY_WRAP_PAD"]) {
        const secret = plaintext.subarray(0, 32);
        note("ciphertext", key, alg, { op: "wrap", plaintext: secret, ciphertext: (await client.wrapKey(alg, secret)).result });
      }
    }
  });
  fs.writeFileSync(file(REDOUBT_COMPAT_PROGRAM), made.map((a) => JSON.stringify(a) + "\n").join(""));
}

// verify checks everything that every program of this run left, one step for each program and kind.
export async function verify(hsm) {
  for (const program of REDOUBT_COMPAT_PROGRAMS.split(",")) {
    const left = fs.readFileSync(file(program), "utf8").trimEnd().split("\n").map((line) => decode(JSON.parse(line)));
    for (const a of left) assert.ok(a.program === program && ["signature", "ciphertext"].includes(a.kind), `${program} left ${JSON.stringify(a)}`);
    for (const [kind, check] of [["signature", signature], ["ciphertext", ciphertext]]) {
      const found = left.filter((a) => a.kind === kind);
      await hsm.step(`${found.length} times ${kind} of ${program}`, async () => {
        assert.ok(found.length > 0, `${program} left none`);
        for (const a of found) await check(hsm, a);
      });
    }
  }
}

// theirs is a client of another program's key, of which only the id matters.
const theirs = (hsm, kid) => hsm.crypto({ id: kid, name: kid.split("/").at(-2), properties: {} });

async function signature(hsm, { alg, kid, jwk, data, digest, signature: value }) {
  const what = `${alg} of ${kid}`;
  if (alg !== "RSNULL") bytes(digest, local.digest(alg, data), `digest of ${what}`);
  if (!jwk) {
    const client = theirs(hsm, kid);
    assert.equal((await client.verify(alg, digest, value)).result, true, what);
    assert.equal((await client.verify(alg, local.flipped(digest), value)).result, false, `${what}, another digest`);
    return;
  }
  const key = local.publicKey(decode(jwk)), signed = alg === "RSNULL" ? digest : data;
  assert.ok(local.verifies(key, alg, signed, value), `${what} does not verify`);
  assert.ok(!local.verifies(key, alg, local.flipped(signed), value), `${what} verifies for other data`);
}

async function ciphertext(hsm, { alg, kid, op, plaintext, ciphertext: sealed, iv, tag, aad }) {
  const client = theirs(hsm, kid);
  const got = op === "wrap" ? await client.unwrapKey(alg, sealed) : await client.decrypt({ algorithm: alg, ciphertext: sealed, iv, authenticationTag: tag, additionalAuthenticatedData: aad });
  bytes(got.result, plaintext, `${alg} of ${kid}`);
}
