// The other side of every operation, done by node:crypto alone: neither the service nor the SDK takes part. node:crypto
// hashes what it signs itself, so signatures are made and verified over the data, not over its digest.
import crypto from "node:crypto";

// curve -> algorithm, name in node's JWKs, bytes of a coordinate
export const CURVES = {
  "P-256": { algorithm: "ES256", jwk: "P-256", width: 32 },
  "P-256K": { algorithm: "ES256K", jwk: "secp256k1", width: 32 },
  "P-384": { algorithm: "ES384", jwk: "P-384", width: 48 },
  "P-521": { algorithm: "ES512", jwk: "P-521", width: 66 },
};

export const random = (n) => crypto.randomBytes(n);
const b64 = (b) => Buffer.from(b).toString("base64url");
const unb64 = (s) => Buffer.from(s, "base64url");

// RS256, ES256K and so on; RSNULL is used with SHA-256 here.
const hashOf = (algorithm) => "sha" + (/[0-9]{3}/.exec(algorithm)?.[0] ?? "256");

export const digest = (algorithm, data) => crypto.createHash(hashOf(algorithm)).update(data).digest();

// publicKey makes a key object of an SDK JsonWebKey; it refuses a point off the curve.
export function publicKey(jwk) {
  const fields = jwk.kty.startsWith("RSA") ? { kty: "RSA", n: b64(jwk.n), e: b64(jwk.e) } : { kty: "EC", crv: CURVES[jwk.crv].jwk, x: b64(jwk.x), y: b64(jwk.y) };
  return crypto.createPublicKey({ key: fields, format: "jwk" });
}

export const newRSA = (bits, publicExponent = 65537) => crypto.generateKeyPairSync("rsa", { modulusLength: bits, publicExponent }).privateKey;
export const newEC = (curve) => crypto.generateKeyPairSync("ec", { namedCurve: { "P-256": "prime256v1", "P-256K": "secp256k1", "P-384": "secp384r1", "P-521": "secp521r1" }[curve] }).privateKey;

// privateJWK is a private key as the SDK's JsonWebKey, with its secret parts.
export function privateJWK(key, kty, keyOps) {
  const out = { kty, keyOps };
  const jwk = key.export({ format: "jwk" });
  for (const f of ["n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y"]) if (jwk[f]) out[f] = unb64(jwk[f]);
  if (jwk.crv) out.crv = Object.keys(CURVES).find((c) => CURVES[c].jwk === jwk.crv);
  return out;
}

export const pkcs8 = (key) => key.export({ format: "der", type: "pkcs8" });

// scheme is a key with the padding, salt length or signature form of an algorithm.
function scheme(key, algorithm) {
  if (algorithm.startsWith("PS")) return { key, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST };
  return algorithm.startsWith("ES") ? { key, dsaEncoding: "ieee-p1363" } : { key, padding: crypto.constants.RSA_PKCS1_PADDING };
}

// verifies tells whether signature (for EC: r and s side by side) is one of data; for RSNULL data is what was signed.
export function verifies(key, algorithm, data, signature) {
  if (algorithm === "RSNULL") {
    try {
      return crypto.publicDecrypt({ key, padding: crypto.constants.RSA_PKCS1_PADDING }, signature).equals(data);
    } catch {
      return false;
    }
  }
  return crypto.verify(hashOf(algorithm), data, scheme(key, algorithm), signature);
}

export function signatureBy(key, algorithm, data) {
  if (algorithm === "RSNULL") return crypto.privateEncrypt({ key, padding: crypto.constants.RSA_PKCS1_PADDING }, data);
  return crypto.sign(hashOf(algorithm), data, scheme(key, algorithm));
}

export const mac = (k, algorithm, data) => crypto.createHmac(hashOf(algorithm), k).update(data).digest();

function encryption(key, algorithm) {
  if (algorithm === "RSA1_5") return { key, padding: crypto.constants.RSA_PKCS1_PADDING };
  return { key, padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: algorithm === "RSA-OAEP-256" ? "sha256" : "sha1" };
}

export const rsaEncrypt = (key, algorithm, plaintext) => crypto.publicEncrypt(encryption(key, algorithm), plaintext);

// RSA1_5 is not decrypted here: node refuses it since it cannot do so without telling by its timing.
export const rsaDecrypt = (key, algorithm, ciphertext) => crypto.privateDecrypt(encryption(key, algorithm), ciphertext);

const bits = (k) => k.length * 8;

// aesEncrypt returns {ciphertext, iv, tag}; tag is there for GCM.
export function aesEncrypt(k, algorithm, plaintext, { iv = random(algorithm.endsWith("GCM") ? 12 : 16), aad } = {}) {
  if (algorithm.endsWith("GCM")) {
    const c = crypto.createCipheriv(`aes-${bits(k)}-gcm`, k, iv);
    if (aad) c.setAAD(aad);
    return { ciphertext: Buffer.concat([c.update(plaintext), c.final()]), iv, tag: c.getAuthTag() };
  }
  const c = crypto.createCipheriv(`aes-${bits(k)}-cbc`, k, iv).setAutoPadding(algorithm.endsWith("PAD"));
  return { ciphertext: Buffer.concat([c.update(plaintext), c.final()]), iv };
}

export function aesDecrypt(k, algorithm, ciphertext, { iv, tag, aad }) {
  const c = crypto.createDecipheriv(`aes-${bits(k)}-${algorithm.endsWith("GCM") ? "gcm" : "cbc"}`, k, iv);
  if (algorithm.endsWith("GCM")) {
    c.setAuthTag(tag);
    if (aad) c.setAAD(aad);
  } else {
    c.setAutoPadding(algorithm.endsWith("PAD"));
  }
  return Buffer.concat([c.update(ciphertext), c.final()]);
}

// The initial values of RFC 3394 and RFC 5649.
const wrapping = (k, algorithm) =>
  algorithm.endsWith("_PAD") ? [`id-aes${bits(k)}-wrap-pad`, k, Buffer.from("a65959a6", "hex")] : [`id-aes${bits(k)}-wrap`, k, Buffer.alloc(8, 0xa6)];

export function aesWrap(k, algorithm, secret) {
  const c = crypto.createCipheriv(...wrapping(k, algorithm));
  return Buffer.concat([c.update(secret), c.final()]);
}

export function aesUnwrap(k, algorithm, wrapped) {
  const c = crypto.createDecipheriv(...wrapping(k, algorithm));
  return Buffer.concat([c.update(wrapped), c.final()]);
}

// flipped is b with its last bit turned over.
export function flipped(b) {
  const out = Buffer.from(b);
  out[out.length - 1] ^= 1;
  return out;
}

// days is a whole second n days from now.
export const days = (n) => new Date(Math.floor(Date.now() / 1000) * 1000 + n * 86400000);
