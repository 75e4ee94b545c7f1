package compat;

import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.models.KeyAttestation;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Random bytes and key attestation. */
final class Extras {
    private Extras() {
    }

    static void walk(Session s) {
        for (int n : new int[] {1, 32, 128}) {
            Check.equal(s.keys.getRandomBytes(n).length, n, "random bytes");
        }
        byte[] a = s.keys.getRandomBytesWithResponse(32, Context.NONE).getValue();
        Check.that(!Arrays.equals(a, s.keys.getRandomBytes(32)), "the same random bytes twice");
        Check.refused(400, "BadParameter", "no random bytes", () -> s.keys.getRandomBytes(0));
        Check.refused(400, "BadParameter", "129 random bytes", () -> s.keys.getRandomBytes(129));
        Session.step("random bytes");

        attestation(s, s.ec("attest-ec", KeyCurveName.P_256), true);
        attestation(s, s.rsa("attest-rsa", 2048), true);
        attestation(s, s.oct("attest-oct", 256), false);
        Check.refused(404, "KeyNotFound", "attestation of no key", () -> s.keys.getKeyAttestation(s.gone(s.key("nobody"))));
        Session.step("attestation of an EC, an RSA and an oct key");
    }

    private static void attestation(Session s, KeyVaultKey k, boolean hasPublic) {
        KeyVaultKey latest = s.keys.getKeyAttestation(k.getName());
        Creates.same(k, latest, "a key with its attestation");
        KeyAttestation a = s.keys.getKeyAttestationWithResponse(k.getName(), k.getProperties().getVersion(), Context.NONE).getValue()
            .getProperties().getKeyAttestation();
        Check.that(a != null, k.getId() + ": no attestation");
        Check.that(new String(a.getCertificatePemFile(), StandardCharsets.UTF_8).contains("BEGIN CERTIFICATE"), k.getId() + ": no certificates");
        Check.that(a.getPrivateKeyAttestation() != null && a.getPrivateKeyAttestation().length > 0, k.getId() + ": nothing about the private key");
        Check.equal(a.getPublicKeyAttestation() != null && a.getPublicKeyAttestation().length > 0, hasPublic, k.getId() + ": something about the public key");
        Check.that(a.getVersion() != null, k.getId() + ": attestation without a version");
        Check.that(s.keys.getKey(k.getName()).getProperties().getKeyAttestation() == null, k.getId() + ": attestation that nobody asked for");
    }
}
