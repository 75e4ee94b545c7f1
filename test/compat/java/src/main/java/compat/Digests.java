package compat;

import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;

/** Digests as the signature algorithms want them. */
final class Digests {
    static final byte[] DATA = "What is to be signed by the Java client.".getBytes(StandardCharsets.UTF_8);
    static final SignatureAlgorithm RSNULL = SignatureAlgorithm.fromString("RSNULL");

    private Digests() {
    }

    /** The JDK's name of the hash that an algorithm goes with. */
    static String hash(String alg) {
        if (alg.contains("384")) {
            return "SHA-384";
        }
        return alg.contains("512") ? "SHA-512" : "SHA-256";
    }

    static byte[] of(SignatureAlgorithm alg, byte[] data) {
        return Check.must(() -> MessageDigest.getInstance(hash(alg.toString())).digest(data));
    }

    /** A copy with one bit changed. */
    static byte[] flip(byte[] b) {
        byte[] out = b.clone();
        out[out.length / 2] ^= 1;
        return out;
    }
}
