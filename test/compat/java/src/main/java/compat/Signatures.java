package compat;

import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.models.SignResult;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.VerifyResult;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.util.List;
import java.util.Map;

/** Sign and verify with every algorithm, by the service and by the client. */
final class Signatures {
    private static final List<SignatureAlgorithm> RSA = List.of(SignatureAlgorithm.RS256, SignatureAlgorithm.RS384, SignatureAlgorithm.RS512,
        SignatureAlgorithm.PS256, SignatureAlgorithm.PS384, SignatureAlgorithm.PS512);
    private static final Map<KeyCurveName, SignatureAlgorithm> EC = Map.of(KeyCurveName.P_256, SignatureAlgorithm.ES256,
        KeyCurveName.P_384, SignatureAlgorithm.ES384, KeyCurveName.P_521, SignatureAlgorithm.ES512, KeyCurveName.P_256K, SignatureAlgorithm.ES256K);

    private Signatures() {
    }

    static void walk(Session s) {
        KeyVaultKey rsa = s.rsa("sign-rsa", 2048);
        for (SignatureAlgorithm alg : RSA) {
            one(s, rsa, alg, Digests.DATA, Digests.of(alg, Digests.DATA));
        }
        one(s, rsa, Digests.RSNULL, null, "any bytes, with PKCS#1 padding around".getBytes());
        data(s, rsa, RSA);
        Session.step("RS256, RS384, RS512, RSNULL, PS256, PS384 and PS512, verified by the service and here");

        for (Map.Entry<KeyCurveName, SignatureAlgorithm> e : EC.entrySet()) {
            KeyVaultKey k = s.ec("sign-ec-" + e.getKey(), e.getKey());
            one(s, k, e.getValue(), Digests.DATA, Digests.of(e.getValue(), Digests.DATA));
            data(s, k, List.of(e.getValue()));
            SignatureAlgorithm other = e.getValue().equals(SignatureAlgorithm.ES256) ? SignatureAlgorithm.ES384 : SignatureAlgorithm.ES256;
            Check.refused(400, "BadParameter", "an algorithm of another curve",
                () -> s.remote(k.getId()).sign(other, Digests.of(other, Digests.DATA)));
        }
        Session.step("ES256, ES384, ES512 and ES256K, verified by the service and here");

        KeyVaultKey oct = s.oct("sign-oct", 256);
        for (SignatureAlgorithm alg : List.of(SignatureAlgorithm.HS256, SignatureAlgorithm.HS384, SignatureAlgorithm.HS512)) {
            one(s, oct, alg, Digests.DATA, Digests.of(alg, Digests.DATA));
        }
        Session.step("HS256, HS384 and HS512, verified by the service");
        digests(s, rsa);
    }

    private static void one(Session s, KeyVaultKey k, SignatureAlgorithm alg, byte[] data, byte[] digest) {
        CryptographyClient remote = s.remote(k.getId());
        SignResult signed = remote.sign(alg, digest);
        Check.equal(signed.getAlgorithm(), alg, "algorithm of a signature");
        Check.equal(signed.getKeyId(), k.getId(), alg + ": key of a signature");
        byte[] signature = signed.getSignature();
        VerifyResult r = remote.verify(alg, digest, signature);
        Check.that(r.isValid(), alg + ": the service does not verify its own signature");
        Check.that(!remote.verify(alg, Digests.flip(digest), signature).isValid(), alg + ": the service verifies another digest");
        Check.that(!remote.verify(alg, digest, Digests.flip(signature)).isValid(), alg + ": the service verifies a changed signature");
        Artefact a = Artefact.signature(k, alg.toString(), data, digest, signature);
        if (a.jwk() != null) {
            Check.that(LocalVerifier.verify(a.jwk(), alg.toString(), digest, signature), alg + ": does not verify here");
            Check.that(!LocalVerifier.verify(a.jwk(), alg.toString(), Digests.flip(digest), signature), alg + ": another digest verifies here");
        }
        s.keep(a, k);
    }

    /** Whole data, hashed by the client; and the client that verifies EC signatures itself. */
    private static void data(Session s, KeyVaultKey k, List<SignatureAlgorithm> algs) {
        CryptographyClient remote = s.remote(k.getId());
        CryptographyClient cached = s.cached(k.getId());
        for (SignatureAlgorithm alg : algs) {
            byte[] signature = remote.signData(alg, Digests.DATA).getSignature();
            Check.that(remote.verifyData(alg, Digests.DATA, signature).isValid(), alg + ": verifyData");
            Check.that(remote.verify(alg, Digests.of(alg, Digests.DATA), signature).isValid(), alg + ": verify after signData");
            Check.that(!remote.verifyData(alg, Digests.flip(Digests.DATA), signature).isValid(), alg + ": verifyData of other data");
            Check.that(cached.verifyData(alg, Digests.DATA, cached.signData(alg, Digests.DATA).getSignature()).isValid(), alg + ": with the client's cache");
            Check.that(cached.verify(alg, Digests.of(alg, Digests.DATA), signature).isValid(), alg + ": verify with the client's cache");
        }
        CryptographyClient byName = s.keys.getCryptographyClient(k.getName(), k.getProperties().getVersion());
        Check.equal(byName.getKey().getId(), k.getId(), "the key of a cryptography client");
        CryptographyClient latest = s.keys.getCryptographyClient(k.getName());
        Check.equal(latest.sign(algs.get(0), Digests.of(algs.get(0), Digests.DATA)).getKeyId(), k.getId(), "the version that signed");
    }

    private static void digests(Session s, KeyVaultKey rsa) {
        CryptographyClient c = s.remote(rsa.getId());
        for (int length : new int[] {0, 20, 31, 33, 64}) {
            Check.refused(400, "BadParameter", "RS256 over " + length + " bytes", () -> c.sign(SignatureAlgorithm.RS256, new byte[length]));
        }
        Check.refused(400, "BadParameter", "ES256 with an RSA key", () -> c.sign(SignatureAlgorithm.ES256, new byte[32]));
        Check.refused(400, "BadParameter", "HS256 with an RSA key", () -> c.sign(SignatureAlgorithm.HS256, new byte[32]));
        Check.refused(400, "BadParameter", "an unknown algorithm", () -> c.sign(SignatureAlgorithm.fromString("XX256"), new byte[32]));
        Session.step("digests of a wrong length and algorithms of other keys refused");
    }
}
