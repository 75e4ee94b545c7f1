package compat;

import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.models.EncryptParameters;
import com.azure.security.keyvault.keys.cryptography.models.EncryptResult;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.JsonWebKey;
import com.azure.security.keyvault.keys.models.KeyOperation;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.security.Security;
import java.util.List;
import java.util.Map;
import javax.crypto.spec.SecretKeySpec;

/** The cryptography client that has the whole key and asks no service, beside the HSM with the same key. */
final class Local {
    private static final List<KeyOperation> ALL = List.of(KeyOperation.ENCRYPT, KeyOperation.DECRYPT, KeyOperation.SIGN, KeyOperation.VERIFY,
        KeyOperation.WRAP_KEY, KeyOperation.UNWRAP_KEY);
    private static final byte[] PLAIN = "the same here as there; 32 bytes".getBytes();

    private Local() {
    }

    static void walk(Session s) {
        rsa(s);
        ec(s);
        oct(s);
    }

    private static CryptographyClient local(JsonWebKey k) {
        return new CryptographyClientBuilder().jsonWebKey(k).buildClient();
    }

    private static void rsa(Session s) {
        JsonWebKey jwk = JsonWebKey.fromRsa(Imports.rsaPair(2048), ALL);
        KeyVaultKey k = s.keys.importKey(s.key("local-rsa"), jwk);
        CryptographyClient here = local(jwk.setId(k.getId()));
        CryptographyClient there = s.remote(k.getId());
        for (EncryptionAlgorithm alg : List.of(EncryptionAlgorithm.RSA_OAEP, EncryptionAlgorithm.RSA1_5)) {
            Check.equal(there.decrypt(alg, here.encrypt(alg, PLAIN).getCipherText()).getPlainText(), PLAIN, alg + ": here, then there");
            Check.equal(here.decrypt(alg, there.encrypt(alg, PLAIN).getCipherText()).getPlainText(), PLAIN, alg + ": there, then here");
            KeyWrapAlgorithm wrap = KeyWrapAlgorithm.fromString(alg.toString());
            Check.equal(there.unwrapKey(wrap, here.wrapKey(wrap, PLAIN).getEncryptedKey()).getKey(), PLAIN, wrap + ": wrapped here");
            Check.equal(here.unwrapKey(wrap, there.wrapKey(wrap, PLAIN).getEncryptedKey()).getKey(), PLAIN, wrap + ": wrapped there");
        }
        Session.step("RSA by the local client and by the HSM, with the same key");
    }

    private static void ec(Session s) {
        for (Map.Entry<String, SignatureAlgorithm> e : Map.of("secp256r1", SignatureAlgorithm.ES256, "secp384r1", SignatureAlgorithm.ES384,
            "secp521r1", SignatureAlgorithm.ES512).entrySet()) {
            SignatureAlgorithm alg = e.getValue();
            JsonWebKey jwk = JsonWebKey.fromEc(Imports.ecPair(e.getKey()), Security.getProvider("SunEC"), ALL);
            KeyVaultKey k = s.keys.importKey(s.key("local-" + e.getKey()), new JsonWebKey().setKeyType(jwk.getKeyType()).setCurveName(jwk.getCurveName())
                .setX(jwk.getX()).setY(jwk.getY()).setD(jwk.getD()));
            CryptographyClient here = local(jwk.setId(k.getId()));
            CryptographyClient there = s.remote(k.getId());
            byte[] digest = Digests.of(alg, Digests.DATA);
            byte[] signature = there.sign(alg, digest).getSignature();
            Check.that(here.verify(alg, digest, signature).isValid(), alg + ": signed there, verified here");
            Check.that(!here.verify(alg, Digests.flip(digest), signature).isValid(), alg + ": another digest, verified here");
            Check.that(there.verify(alg, digest, here.sign(alg, digest).getSignature()).isValid(), alg + ": signed here, verified there");
            Check.that(there.verifyData(alg, PLAIN, here.signData(alg, PLAIN).getSignature()).isValid(), alg + ": data signed here, verified there");
            CryptographyClient public_ = local(k.getKey().setKeyType(jwk.getKeyType())); // what the HSM gave out
            Check.that(public_.verify(alg, digest, signature).isValid(), alg + ": verified with the public part alone");
        }
        Session.step("ECDSA by the local client and by the HSM, with the same keys");
    }

    private static void oct(Session s) {
        for (int bits : new int[] {128, 192, 256}) {
            JsonWebKey jwk = JsonWebKey.fromAes(new SecretKeySpec(Ciphers.random(bits / 8), "AES"), ALL);
            KeyVaultKey k = s.keys.importKey(s.key("local-oct-" + bits), jwk);
            CryptographyClient here = local(jwk.setId(k.getId()));
            CryptographyClient there = s.remote(k.getId());
            byte[] iv = Ciphers.random(16);
            EncryptParameters p = switch (bits) {
                case 128 -> EncryptParameters.createA128CbcPadParameters(PLAIN, iv);
                case 192 -> EncryptParameters.createA192CbcPadParameters(PLAIN, iv);
                default -> EncryptParameters.createA256CbcPadParameters(PLAIN, iv);
            };
            String name = p.getAlgorithm().toString();
            EncryptResult r = here.encrypt(p, Context.NONE);
            Check.equal(there.encrypt(p, Context.NONE).getCipherText(), r.getCipherText(), name + ": here and there");
            Check.equal(there.decrypt(Verify.parameters(name, r.getCipherText(), iv, null, null), Context.NONE).getPlainText(), PLAIN, name + ": here, then there");
            KeyWrapAlgorithm wrap = KeyWrapAlgorithm.fromString("A" + bits + "KW");
            Check.equal(there.wrapKey(wrap, PLAIN).getEncryptedKey(), here.wrapKey(wrap, PLAIN).getEncryptedKey(), wrap + ": here and there");
        }
        Session.step("AES by the local client and by the HSM, with the same keys");
    }
}
