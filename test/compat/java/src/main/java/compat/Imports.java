package compat;

import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.ImportKeyOptions;
import com.azure.security.keyvault.keys.models.JsonWebKey;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyOperation;
import com.azure.security.keyvault.keys.models.KeyProperties;
import com.azure.security.keyvault.keys.models.KeyType;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.math.BigInteger;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.SecureRandom;
import java.security.Security;
import java.security.spec.ECGenParameterSpec;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.KeyGenerator;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.sec.SECNamedCurves;
import org.bouncycastle.asn1.x9.X9ECParameters;
import org.bouncycastle.math.ec.ECPoint;

/** Import of keys that the JDK or BouncyCastle made, and proof that the HSM's key is that key. */
final class Imports {
    private static final SecureRandom RANDOM = new SecureRandom();

    private Imports() {
    }

    static void walk(Session s) {
        rsa(s);
        ec(s);
        secp256k1(s);
        oct(s);
        options(s);
    }

    static KeyPair rsaPair(int bits) {
        return Check.must(() -> {
            KeyPairGenerator g = KeyPairGenerator.getInstance("RSA");
            g.initialize(bits);
            return g.generateKeyPair();
        });
    }

    static KeyPair ecPair(String curve) {
        return Check.must(() -> {
            KeyPairGenerator g = KeyPairGenerator.getInstance("EC");
            g.initialize(new ECGenParameterSpec(curve));
            return g.generateKeyPair();
        });
    }

    private static void rsa(Session s) {
        KeyPair pair = rsaPair(2048);
        KeyVaultKey k = s.keys.importKey(s.key("import-rsa"), JsonWebKey.fromRsa(pair));
        Check.equal(k.getKeyType(), KeyType.RSA_HSM, k.getId() + ": type of an imported key");
        Check.equal(k.getKey().getN(), JsonWebKey.fromRsa(pair).getN(), k.getId() + ": modulus");
        byte[] secret = "sealed outside, opened inside".getBytes();
        byte[] sealed = Check.must(() -> {
            Cipher c = Cipher.getInstance("RSA/ECB/OAEPWithSHA-1AndMGF1Padding");
            c.init(Cipher.ENCRYPT_MODE, pair.getPublic());
            return c.doFinal(secret);
        });
        Check.equal(s.remote(k.getId()).decrypt(EncryptionAlgorithm.RSA_OAEP, sealed).getPlainText(), secret, "what the JDK encrypted to an imported key");
        Session.step("imported an RSA key; the HSM opens what the JDK sealed");
    }

    /**
     * The client's own conversion leaves the coordinates as BigInteger gives them: with a leading zero byte, or too
     * short. Several keys make sure that some are so.
     */
    private static void ec(Session s) {
        Map<String, SignatureAlgorithm> curves = Map.of("secp256r1", SignatureAlgorithm.ES256, "secp384r1", SignatureAlgorithm.ES384, "secp521r1", SignatureAlgorithm.ES512);
        boolean padded = false;
        for (Map.Entry<String, SignatureAlgorithm> c : curves.entrySet()) {
            for (int i = 0; i < 3 || !padded; i++) {
                KeyPair pair = ecPair(c.getKey());
                JsonWebKey jwk = JsonWebKey.fromEc(pair, Security.getProvider("SunEC"));
                padded |= jwk.getX()[0] == 0;
                KeyVaultKey k = s.keys.importKey(s.key("import-" + c.getKey()), jwk);
                Check.equal(k.getKeyType(), KeyType.EC_HSM, k.getId() + ": type of an imported key");
                Check.equal(new BigInteger(1, k.getKey().getX()), new BigInteger(1, jwk.getX()), k.getId() + ": x");
                byte[] digest = Digests.of(c.getValue(), Digests.DATA);
                byte[] signature = s.remote(k.getId()).sign(c.getValue(), digest).getSignature();
                Check.that(LocalVerifier.verify(jwk, c.getValue().toString(), digest, signature), k.getId() + ": signature does not verify under the key that was imported");
            }
        }
        Session.step("imported EC keys on P-256, P-384 and P-521, as new versions; the JDK verifies their signatures");
    }

    private static void secp256k1(Session s) {
        X9ECParameters p = SECNamedCurves.getByName("secp256k1");
        BigInteger d = new BigInteger(255, RANDOM).add(BigInteger.ONE);
        ECPoint q = p.getG().multiply(d).normalize();
        JsonWebKey jwk = new JsonWebKey().setKeyType(KeyType.EC).setCurveName(KeyCurveName.P_256K)
            .setX(q.getAffineXCoord().getEncoded()).setY(q.getAffineYCoord().getEncoded()).setD(fixed(d, 32));
        KeyVaultKey k = s.keys.importKey(s.key("import-secp256k1"), jwk);
        byte[] digest = Digests.of(SignatureAlgorithm.ES256K, Digests.DATA);
        byte[] signature = s.remote(k.getId()).sign(SignatureAlgorithm.ES256K, digest).getSignature();
        Check.that(LocalVerifier.verify(jwk, "ES256K", digest, signature), "a signature of an imported P-256K key");
        Session.step("imported an EC key on P-256K; BouncyCastle verifies its signature");
    }

    private static byte[] fixed(BigInteger v, int size) {
        byte[] out = new byte[size];
        byte[] b = v.toByteArray();
        int n = Math.min(b.length, size);
        System.arraycopy(b, b.length - n, out, size - n, n);
        return out;
    }

    private static void oct(Session s) {
        for (int bits : new int[] {128, 192, 256}) {
            SecretKey key = Check.must(() -> {
                KeyGenerator g = KeyGenerator.getInstance("AES");
                g.init(bits);
                return g.generateKey();
            });
            JsonWebKey jwk = JsonWebKey.fromAes(key, List.of(KeyOperation.WRAP_KEY, KeyOperation.UNWRAP_KEY, KeyOperation.SIGN, KeyOperation.VERIFY));
            KeyVaultKey k = s.keys.importKey(new ImportKeyOptions(s.key("import-oct-" + bits), jwk).setHardwareProtected(true));
            Check.equal(k.getKeyType(), KeyType.OCT_HSM, k.getId() + ": type of an imported key");
            Check.that(k.getKey().getK() == null, k.getId() + ": the key itself came back");
            CryptographyClient c = s.remote(k.getId());
            byte[] inner = new byte[32];
            RANDOM.nextBytes(inner);
            byte[] wrapped = Check.must(() -> {
                Cipher w = Cipher.getInstance("AESWrap");
                w.init(Cipher.WRAP_MODE, key);
                return w.wrap(new SecretKeySpec(inner, "AES"));
            });
            KeyWrapAlgorithm alg = KeyWrapAlgorithm.fromString("A" + bits + "KW");
            Check.equal(c.unwrapKey(alg, wrapped).getKey(), inner, k.getId() + ": what the JDK wrapped");
            Check.equal(c.wrapKey(alg, inner).getEncryptedKey(), wrapped, k.getId() + ": what the HSM wrapped");
        }
        hmac(s);
        Session.step("imported oct keys of 128, 192 and 256 bits; the JDK wraps as the HSM does, and makes the same HMAC");
    }

    /** The service hashes no data: an HMAC of HS256 is over what it gets as the digest. */
    private static void hmac(Session s) {
        byte[] secret = new byte[32];
        RANDOM.nextBytes(secret);
        JsonWebKey jwk = new JsonWebKey().setKeyType(KeyType.OCT).setK(secret).setKeyOps(List.of(KeyOperation.SIGN, KeyOperation.VERIFY));
        KeyVaultKey k = s.keys.importKey(s.key("import-hmac"), jwk);
        byte[] digest = Digests.of(SignatureAlgorithm.HS256, Digests.DATA);
        byte[] want = Check.must(() -> {
            Mac m = Mac.getInstance("HmacSHA256");
            m.init(new SecretKeySpec(secret, "HmacSHA256"));
            return m.doFinal(digest);
        });
        Check.equal(s.remote(k.getId()).sign(SignatureAlgorithm.HS256, digest).getSignature(), want, "HS256 with an imported key");
    }

    private static void options(Session s) {
        OffsetDateTime to = OffsetDateTime.of(2041, 1, 1, 0, 0, 0, 0, ZoneOffset.UTC);
        JsonWebKey jwk = JsonWebKey.fromEc(ecPair("secp256r1"), Security.getProvider("SunEC"), List.of(KeyOperation.SIGN));
        ImportKeyOptions o = new ImportKeyOptions(s.key("import-options"), jwk).setEnabled(false).setExpiresOn(to).setNotBefore(to.minusYears(30)).setHardwareProtected(true);
        o.setTags(Map.of("from", "elsewhere"));
        KeyVaultKey k = s.keys.importKeyWithResponse(o, Context.NONE).getValue();
        KeyProperties p = k.getProperties();
        Check.equal(p.isEnabled(), false, "enabled of an imported key");
        Check.equal(p.getExpiresOn(), to, "expires of an imported key");
        Check.equal(p.getNotBefore(), to.minusYears(30), "not before of an imported key");
        Check.equal(p.getTags(), Map.of("from", "elsewhere"), "tags of an imported key");
        Check.equal(k.getKeyOperations(), List.of(KeyOperation.SIGN), "operations of an imported key");
        Creates.same(k, s.keys.getKey(k.getName()), "an imported key");

        JsonWebKey torn = JsonWebKey.fromEc(ecPair("secp256r1"), Security.getProvider("SunEC")).setD(fixed(BigInteger.TEN, 32));
        Check.refused(400, "BadParameter", "an import whose parts disagree", () -> s.keys.importKey(s.gone(s.key("import-torn")), torn));
        Session.step("imported a key with every attribute; one whose parts disagree was refused");
    }
}
