// The library's own cryptography: clients made of a JWK, and clients that do what they can with the public key. It knows
// RSA1_5 and RSA-OAEP (encrypt and wrap), verifyData of RS*, and AES-CBC with padding; the rest it leaves to the service.
import assert from "node:assert/strict";
import { bytes } from "./harness.js";
import * as local from "./local.js";
import { CryptographyClient } from "./sdk.js";
import { OCT_OPS } from "./target.js";

export async function publicRSA(hsm) {
  const key = await hsm.keys.createRsaKey(hsm.name("local-rsa"), { keySize: 2048 });
  const remote = hsm.remote(key), data = local.random(32);
  for (const [how, client] of [["of a JWK", new CryptographyClient(key.key)], ["of a key", hsm.crypto(key)], ["of an id", hsm.crypto(key.id)]]) {
    await hsm.step(`local client ${how}: encrypts and wraps what the service opens`, async () => {
      for (const a of ["RSA1_5", "RSA-OAEP"]) {
        const sealed = await hsm.wire.silent(() => client.encrypt(a, data));
        bytes((await remote.decrypt(a, sealed.result)).result, data, a);
        const wrapped = await hsm.wire.silent(() => client.wrapKey(a, data));
        bytes((await remote.unwrapKey(a, wrapped.result)).result, data, a);
      }
    });
    await hsm.step(`local client ${how}: verifies what the service signed`, async () => {
      for (const a of ["RS256", "RS384", "RS512"]) {
        const { result } = await remote.signData(a, data);
        assert.equal((await hsm.wire.silent(() => client.verifyData(a, data, result))).result, true, a);
        assert.equal((await hsm.wire.silent(() => client.verifyData(a, local.flipped(data), result))).result, false, a);
      }
    });
    await hsm.step(`local client ${how}: finds no PS signature valid (known defect)`, async () => {
      const { result } = await remote.signData("PS256", data);
      assert.ok(local.verifies(local.publicKey(key.key), "PS256", data, result));
      assert.equal((await hsm.wire.silent(() => client.verifyData("PS256", data, result))).result, false);
    });
  }
  await hsm.step("a client of a public JWK cannot do what needs the service", async () => {
    const client = new CryptographyClient(key.key), none = /Unable to support operation/;
    await assert.rejects(client.sign("RS256", Buffer.alloc(32)), none);
    await assert.rejects(client.decrypt("RSA-OAEP", Buffer.alloc(256)), none);
    await assert.rejects(client.unwrapKey("RSA-OAEP", Buffer.alloc(256)), none);
    await assert.rejects(client.encrypt("RSA-OAEP-256", data), none);
  });
  await hsm.step("a client of a key asks the service for the rest", async () => {
    const client = hsm.crypto(key), digest = local.digest("PS256", data);
    const { result } = await hsm.wire.remote("sign", () => client.sign("PS256", digest));
    assert.equal((await hsm.wire.remote("verify", () => client.verify("PS256", digest, result))).result, true);
    const sealed = await hsm.wire.remote("encrypt", () => client.encrypt("RSA-OAEP-256", data));
    bytes((await hsm.wire.remote("decrypt", () => client.decrypt("RSA-OAEP-256", sealed.result))).result, data);
  });
}

export async function oct(hsm) {
  for (const size of [128, 192, 256]) {
    await hsm.step(`oct ${size} JWK: local CBCPAD is the service's`, async () => {
      const jwk = { kty: "oct", keyOps: OCT_OPS, k: local.random(size / 8) }, algorithm = `A${size}CBCPAD`, text = Buffer.from("text"), iv = local.random(16);
      const remote = hsm.remote(await hsm.keys.importKey(hsm.name(`private-oct${size}`), jwk)), client = new CryptographyClient(jwk);
      const sealed = await hsm.wire.silent(() => client.encrypt({ algorithm, plaintext: text, iv }));
      bytes((await remote.decrypt({ algorithm, ciphertext: sealed.result, iv })).result, text);
      const other = await remote.encrypt({ algorithm, plaintext: text, iv });
      bytes((await hsm.wire.silent(() => client.decrypt({ algorithm, ciphertext: other.result, iv }))).result, text);
    });
  }
  await hsm.step("a client of an oct-HSM key, which has no k, asks the service", async () => {
    const key = await hsm.keys.createOctKey(hsm.name("no-k"), { keySize: 256 }), client = hsm.crypto(key.id), text = local.random(32);
    const { result } = await hsm.wire.remote("wrapkey", () => client.wrapKey("A256KW", text));
    bytes((await hsm.remote(key).unwrapKey("A256KW", result)).result, text);
  });
}

export async function refusals(hsm) {
  await hsm.step("the library itself refuses to use a key outside its dates and key_ops", async () => {
    const late = await hsm.keys.createRsaKey(hsm.name("late"), { expiresOn: local.days(-1) });
    await assert.rejects(hsm.crypto(late).encrypt("RSA-OAEP", Buffer.from("x")), /expired at/);
    const early = await hsm.keys.createRsaKey(hsm.name("early"), { notBefore: local.days(1) });
    await assert.rejects(hsm.crypto(early).sign("RS256", Buffer.alloc(32)), /can't be used before/);
    const narrow = await hsm.keys.createRsaKey(hsm.name("narrow"), { keyOps: ["verify"] });
    await assert.rejects(hsm.crypto(narrow).sign("RS256", Buffer.alloc(32)), /Operation sign is not supported/);
  });
  await hsm.step("signData and verifyData know no HS256 and no RSNULL (known defect)", async () => {
    const key = await hsm.keys.createRsaKey(hsm.name("no-hash"));
    for (const a of ["HS256", "RSNULL"]) {
      await assert.rejects(hsm.remote(key).signData(a, Buffer.from("x")), /Invalid algorithm/);
      await assert.rejects(hsm.remote(key).verifyData(a, Buffer.from("x"), Buffer.alloc(256)), /Invalid algorithm/);
    }
  });
}
