package compat;

import com.azure.core.cryptography.KeyEncryptionKey;
import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.KeyEncryptionKeyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.models.EncryptParameters;
import com.azure.security.keyvault.keys.cryptography.models.EncryptResult;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.WrapResult;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.List;
import java.util.Map;
import javax.crypto.Cipher;

/** Encrypt, decrypt, wrap and unwrap with every algorithm. */
final class Ciphers {
    private static final byte[] PLAIN = "Thirty-two bytes of plain text..".getBytes(StandardCharsets.UTF_8); // two blocks
    private static final byte[] ODD = "not a multiple of a block".getBytes(StandardCharsets.UTF_8);
    private static final byte[] AAD = "said aloud".getBytes(StandardCharsets.UTF_8);
    private static final List<String> RSA = List.of("RSA-OAEP", "RSA-OAEP-256", "RSA1_5");

    private Ciphers() {
    }

    static void walk(Session s) {
        KeyVaultKey rsa = s.rsa("cipher-rsa", 2048);
        rsa(s, rsa);
        wrapRsa(s, rsa);
        Map<Integer, KeyVaultKey> oct = Map.of(128, s.oct("cipher-oct-128", 128), 192, s.oct("cipher-oct-192", 192), 256, s.oct("cipher-oct-256", 256));
        for (int bits : new int[] {128, 192, 256}) {
            gcm(s, oct.get(bits), bits);
            cbc(s, oct.get(bits), bits);
            wrapAes(s, oct.get(bits), bits);
        }
        Session.step("AES-GCM, AES-CBC, AES-CBCPAD and AES key wrap with keys of 128, 192 and 256 bits");
        Check.refused(400, "BadParameter", "A256GCM with a 128-bit key",
            () -> s.remote(oct.get(128).getId()).encrypt(EncryptParameters.createA256GcmParameters(PLAIN), Context.NONE));
        Check.refused(400, "BadParameter", "A128KW with an RSA key", () -> s.remote(rsa.getId()).wrapKey(KeyWrapAlgorithm.A128KW, new byte[16]));
        keyEncryptionKey(s, rsa, oct.get(256));
    }

    private static void rsa(Session s, KeyVaultKey k) {
        CryptographyClient remote = s.remote(k.getId());
        CryptographyClient cached = s.cached(k.getId());
        for (String name : RSA) {
            EncryptionAlgorithm alg = EncryptionAlgorithm.fromString(name);
            EncryptResult r = remote.encrypt(alg, PLAIN);
            Check.equal(r.getKeyId(), k.getId(), name + ": key");
            Check.equal(remote.decrypt(alg, r.getCipherText()).getPlainText(), PLAIN, name);
            Check.equal(remote.decrypt(Verify.parameters(name, cached.encrypt(alg, ODD).getCipherText(), null, null, null), Context.NONE).getPlainText(), ODD,
                name + ": encrypted by the client, decrypted by the service");
            Check.refused(400, "BadParameter", name + ": a changed ciphertext", () -> remote.decrypt(alg, Digests.flip(r.getCipherText())));
            Check.refused(400, "BadParameter", name + ": too long", () -> remote.encrypt(alg, new byte[256]));
            s.keep(Artefact.ciphertext(k, "encrypt", name, PLAIN, r.getCipherText()), k);
        }
        byte[] sealed = Check.must(() -> {
            Cipher c = Cipher.getInstance("RSA/ECB/OAEPWithSHA-256AndMGF1Padding"); // the JDK's MGF1 is with SHA-1 unless told
            c.init(Cipher.ENCRYPT_MODE, k.getKey().toRsa().getPublic(), new javax.crypto.spec.OAEPParameterSpec("SHA-256", "MGF1",
                java.security.spec.MGF1ParameterSpec.SHA256, javax.crypto.spec.PSource.PSpecified.DEFAULT));
            return c.doFinal(PLAIN);
        });
        Check.equal(remote.decrypt(EncryptionAlgorithm.RSA_OAEP_256, sealed).getPlainText(), PLAIN, "RSA-OAEP-256 of the JDK");
        Session.step("RSA-OAEP, RSA-OAEP-256 and RSA1_5: encrypted by the service, by the client and by the JDK");
    }

    private static void wrapRsa(Session s, KeyVaultKey k) {
        CryptographyClient remote = s.remote(k.getId());
        CryptographyClient cached = s.cached(k.getId());
        byte[] inner = random(32);
        for (String name : RSA) {
            KeyWrapAlgorithm alg = KeyWrapAlgorithm.fromString(name);
            WrapResult r = remote.wrapKey(alg, inner);
            Check.equal(r.getKeyId(), k.getId(), name + ": key");
            Check.equal(remote.unwrapKey(alg, r.getEncryptedKey()).getKey(), inner, name + ": unwrapped");
            Check.equal(remote.unwrapKey(alg, cached.wrapKey(alg, inner).getEncryptedKey()).getKey(), inner, name + ": wrapped by the client");
            s.keep(Artefact.ciphertext(k, "wrap", name, inner, r.getEncryptedKey()), k);
        }
        Session.step("keys wrapped with RSA-OAEP, RSA-OAEP-256 and RSA1_5");
    }

    private static void gcm(Session s, KeyVaultKey k, int bits) {
        CryptographyClient c = s.remote(k.getId());
        String name = "A" + bits + "GCM";
        for (byte[] aad : new byte[][] {null, AAD}) {
            EncryptParameters p = switch (bits) {
                case 128 -> aad == null ? EncryptParameters.createA128GcmParameters(ODD) : EncryptParameters.createA128GcmParameters(ODD, aad);
                case 192 -> aad == null ? EncryptParameters.createA192GcmParameters(ODD) : EncryptParameters.createA192GcmParameters(ODD, aad);
                default -> aad == null ? EncryptParameters.createA256GcmParameters(ODD) : EncryptParameters.createA256GcmParameters(ODD, aad);
            };
            EncryptResult r = c.encrypt(p, Context.NONE);
            Check.equal(r.getIv().length, 12, name + ": bytes of the IV");
            Check.equal(r.getAuthenticationTag().length, 16, name + ": bytes of the tag");
            Check.equal(c.decrypt(Verify.parameters(name, r.getCipherText(), r.getIv(), r.getAuthenticationTag(), aad), Context.NONE).getPlainText(), ODD, name);
            Check.refused(400, "BadParameter", name + ": a changed tag",
                () -> c.decrypt(Verify.parameters(name, r.getCipherText(), r.getIv(), Digests.flip(r.getAuthenticationTag()), aad), Context.NONE));
            Check.refused(400, "BadParameter", name + ": other additional data",
                () -> c.decrypt(Verify.parameters(name, r.getCipherText(), r.getIv(), r.getAuthenticationTag(), ODD), Context.NONE));
            Check.that(!java.util.Arrays.equals(c.encrypt(p, Context.NONE).getIv(), r.getIv()), name + ": the same IV twice");
            s.keep(Artefact.ciphertext(k, "encrypt", name, ODD, r.getCipherText()).bytes("iv", r.getIv())
                .bytes("tag", r.getAuthenticationTag()).bytes("aad", aad), k);
        }
    }

    private static void cbc(Session s, KeyVaultKey k, int bits) {
        CryptographyClient c = s.remote(k.getId());
        byte[] iv = random(16);
        EncryptParameters plain = switch (bits) {
            case 128 -> EncryptParameters.createA128CbcParameters(PLAIN, iv);
            case 192 -> EncryptParameters.createA192CbcParameters(PLAIN, iv);
            default -> EncryptParameters.createA256CbcParameters(PLAIN, iv);
        };
        EncryptParameters padded = switch (bits) {
            case 128 -> EncryptParameters.createA128CbcPadParameters(ODD, iv);
            case 192 -> EncryptParameters.createA192CbcPadParameters(ODD, iv);
            default -> EncryptParameters.createA256CbcPadParameters(ODD, iv);
        };
        for (EncryptParameters p : List.of(plain, padded)) {
            String name = p.getAlgorithm().toString();
            EncryptResult r = c.encrypt(p, Context.NONE);
            Check.equal(r.getIv(), iv, name + ": IV");
            Check.equal(c.decrypt(Verify.parameters(name, r.getCipherText(), iv, null, null), Context.NONE).getPlainText(), p.getPlainText(), name);
            s.keep(Artefact.ciphertext(k, "encrypt", name, p.getPlainText(), r.getCipherText()).bytes("iv", iv), k);
        }
        EncryptionAlgorithm alg = plain.getAlgorithm();
        Check.refused(400, "BadParameter", alg + ": half a block", () -> c.decrypt(Verify.parameters(alg.toString(), new byte[24], iv, null, null), Context.NONE));
        Check.refused(400, "BadParameter", alg + ": a short IV", () -> c.decrypt(Verify.parameters(alg.toString(), new byte[32], new byte[8], null, null), Context.NONE));
    }

    private static void wrapAes(Session s, KeyVaultKey k, int bits) {
        CryptographyClient c = s.remote(k.getId());
        byte[] inner = random(24);
        for (KeyWrapAlgorithm alg : List.of(KeyWrapAlgorithm.fromString("A" + bits + "KW"), KeyWrapAlgorithm.CKM_AES_KEY_WRAP, KeyWrapAlgorithm.CKM_AES_KEY_WRAP_PAD)) {
            byte[] wrapped = c.wrapKey(alg, inner).getEncryptedKey();
            Check.equal(wrapped.length, 32, alg + ": bytes of a wrapped key of 24");
            Check.equal(c.unwrapKey(alg, wrapped).getKey(), inner, alg + ": unwrapped");
            Check.refused(400, "BadParameter", alg + ": a changed wrapped key", () -> c.unwrapKey(alg, Digests.flip(wrapped)));
            s.keep(Artefact.ciphertext(k, "wrap", alg.toString(), inner, wrapped), k);
        }
        byte[] odd = random(21);
        Check.equal(c.unwrapKey(KeyWrapAlgorithm.CKM_AES_KEY_WRAP_PAD, c.wrapKey(KeyWrapAlgorithm.CKM_AES_KEY_WRAP_PAD, odd).getEncryptedKey()).getKey(), odd,
            "a key of 21 bytes, wrapped with padding");
        Check.refused(400, "BadParameter", "a key of 21 bytes without padding", () -> c.wrapKey(KeyWrapAlgorithm.CKM_AES_KEY_WRAP, odd));
    }

    /** The interface by which storage and other libraries use a key. */
    private static void keyEncryptionKey(Session s, KeyVaultKey rsa, KeyVaultKey oct) {
        byte[] inner = random(32);
        for (Map.Entry<String, KeyVaultKey> e : Map.of("RSA-OAEP-256", rsa, "A256KW", oct).entrySet()) {
            KeyEncryptionKey k = new KeyEncryptionKeyClientBuilder().credential(s.credential).buildKeyEncryptionKey(e.getValue().getId());
            Check.equal(k.getKeyId(), e.getValue().getId(), "id of a key encryption key");
            Check.equal(k.unwrapKey(e.getKey(), k.wrapKey(e.getKey(), inner)), inner, e.getKey() + " of a key encryption key");
        }
        Session.step("wrapped and unwrapped through KeyEncryptionKey");
    }

    static byte[] random(int n) {
        byte[] b = new byte[n];
        new SecureRandom().nextBytes(b);
        return b;
    }
}
