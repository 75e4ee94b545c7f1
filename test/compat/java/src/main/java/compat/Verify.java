package compat;

import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.models.DecryptParameters;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import java.util.HashMap;
import java.util.Map;

/** The verb verify: what the programs left must hold here. */
final class Verify {
    private final Session session;
    private final Map<String, CryptographyClient> clients = new HashMap<>();
    private int local;
    private int remote;

    private Verify(Session session) {
        this.session = session;
    }

    static void all(Session s) {
        Verify v = new Verify(s);
        for (String program : Session.env("REDOUBT_COMPAT_PROGRAMS").split(",")) {
            v.local = 0;
            v.remote = 0;
            for (Artefact a : Artefact.read(program)) {
                v.one(program, a);
            }
            Session.step(program + ": " + v.local + " signatures verified locally, " + v.remote + " artefacts by the service");
        }
    }

    private void one(String program, Artefact a) {
        String what = program + ", " + a.text("kind") + " of " + a.text("alg") + " with " + a.text("kid");
        switch (a.text("kind")) {
            case "signature" -> signature(a, what);
            case "ciphertext" -> ciphertext(a, what);
            default -> throw new Failure(what + ": unknown kind");
        }
    }

    private CryptographyClient client(Artefact a) {
        return clients.computeIfAbsent(a.text("kid"), session::remote);
    }

    private void signature(Artefact a, String what) {
        byte[] digest = a.bytes("digest");
        byte[] signature = a.bytes("signature");
        if (a.optional("data") != null) {
            SignatureAlgorithm alg = SignatureAlgorithm.fromString(a.text("alg"));
            Check.equal(Digests.of(alg, a.bytes("data")), digest, what + ": digest of its data");
        }
        if (a.jwk() != null) {
            Check.that(LocalVerifier.verify(a.jwk(), a.text("alg"), digest, signature), what + ": does not verify");
            Check.that(!LocalVerifier.verify(a.jwk(), a.text("alg"), Digests.flip(digest), signature), what + ": verifies another digest");
            local++;
            return;
        }
        SignatureAlgorithm alg = SignatureAlgorithm.fromString(a.text("alg"));
        Check.that(client(a).verify(alg, digest, signature).isValid(), what + ": the service does not verify it");
        Check.that(!client(a).verify(alg, Digests.flip(digest), signature).isValid(), what + ": the service verifies another digest");
        remote++;
    }

    private void ciphertext(Artefact a, String what) {
        byte[] got = switch (a.text("op")) {
            case "encrypt" -> client(a).decrypt(parameters(a), com.azure.core.util.Context.NONE).getPlainText();
            case "wrap" -> client(a).unwrapKey(KeyWrapAlgorithm.fromString(a.text("alg")), a.bytes("ciphertext")).getKey();
            default -> throw new Failure(what + ": unknown op");
        };
        Check.equal(got, a.bytes("plaintext"), what);
        remote++;
    }

    /** The parameters of a decryption, which the client makes for its own algorithms only. */
    static DecryptParameters parameters(String alg, byte[] ciphertext, byte[] iv, byte[] tag, byte[] aad) {
        return switch (alg) {
            case "RSA1_5" -> DecryptParameters.createRsa15Parameters(ciphertext);
            case "RSA-OAEP" -> DecryptParameters.createRsaOaepParameters(ciphertext);
            case "RSA-OAEP-256" -> DecryptParameters.createRsaOaep256Parameters(ciphertext);
            case "A128GCM" -> DecryptParameters.createA128GcmParameters(ciphertext, iv, tag, aad);
            case "A192GCM" -> DecryptParameters.createA192GcmParameters(ciphertext, iv, tag, aad);
            case "A256GCM" -> DecryptParameters.createA256GcmParameters(ciphertext, iv, tag, aad);
            case "A128CBC" -> DecryptParameters.createA128CbcParameters(ciphertext, iv);
            case "A192CBC" -> DecryptParameters.createA192CbcParameters(ciphertext, iv);
            case "A256CBC" -> DecryptParameters.createA256CbcParameters(ciphertext, iv);
            case "A128CBCPAD" -> DecryptParameters.createA128CbcPadParameters(ciphertext, iv);
            case "A192CBCPAD" -> DecryptParameters.createA192CbcPadParameters(ciphertext, iv);
            case "A256CBCPAD" -> DecryptParameters.createA256CbcPadParameters(ciphertext, iv);
            default -> throw new Failure("the client knows no decryption of " + EncryptionAlgorithm.fromString(alg));
        };
    }

    private static DecryptParameters parameters(Artefact a) {
        return parameters(a.text("alg"), a.bytes("ciphertext"), a.optional("iv"), a.optional("tag"), a.optional("aad"));
    }
}
