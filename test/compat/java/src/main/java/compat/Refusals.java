package compat;

import com.azure.core.exception.ResourceNotFoundException;
import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.KeyClient;
import com.azure.security.keyvault.keys.KeyClientBuilder;
import com.azure.security.keyvault.keys.KeyServiceVersion;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateKeyOptions;
import com.azure.security.keyvault.keys.models.CreateOctKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyOperation;
import com.azure.security.keyvault.keys.models.KeyType;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What is refused, and as which exception it reaches the program; and the client's older versions of the API. */
final class Refusals {
    private Refusals() {
    }

    static void walk(Session s) {
        KeyVaultKey some = s.ec("some", KeyCurveName.P_256);
        missing(s, some);
        shapes(s);
        permissions(s, some);
        times(s);
        versions(s, some);
    }

    private static void missing(Session s, KeyVaultKey some) {
        String nobody = s.gone(s.key("nobody"));
        Check.that(Check.refused(404, "KeyNotFound", "get of no key", () -> s.keys.getKey(nobody)) instanceof ResourceNotFoundException,
            "no key is another exception than ResourceNotFoundException");
        Check.refused(404, "KeyNotFound", "a version that is not there", () -> s.keys.getKey(some.getName(), "0".repeat(32)));
        Check.refused(404, "KeyNotFound", "delete of no key", () -> s.keys.beginDeleteKey(nobody).waitForCompletion());
        Check.refused(404, "KeyNotFound", "recover of no key", () -> s.officer.beginRecoverDeletedKey(nobody).waitForCompletion());
        Check.refused(404, "KeyNotFound", "purge of no key", () -> s.officer.purgeDeletedKey(nobody));
        Check.refused(404, "KeyNotFound", "backup of no key", () -> s.keys.backupKey(nobody));
        Check.refused(404, "KeyNotFound", "versions of no key", () -> s.keys.listPropertiesOfKeyVersions(nobody).stream().count());
        Session.step("keys that are not there");
    }

    private static void shapes(Session s) {
        String name = s.gone(s.key("misshapen"));
        Check.refused(400, "BadParameter", "RSA of 1024 bits", () -> s.keys.createRsaKey(new CreateRsaKeyOptions(name).setKeySize(1024)));
        Check.refused(400, "BadParameter", "RSA of 2049 bits", () -> s.keys.createRsaKey(new CreateRsaKeyOptions(name).setKeySize(2049)));
        Check.refused(400, "BadParameter", "an even public exponent", () -> s.keys.createRsaKey(new CreateRsaKeyOptions(name).setPublicExponent(4)));
        Check.refused(400, "BadParameter", "the public exponent 1", () -> s.keys.createRsaKey(new CreateRsaKeyOptions(name).setPublicExponent(1)));
        Check.refused(400, "BadParameter", "an unknown curve", () -> s.keys.createEcKey(new CreateEcKeyOptions(name).setCurveName(KeyCurveName.fromString("P-192"))));
        Check.refused(400, "BadParameter", "an oct key of 100 bits", () -> s.keys.createOctKey(new CreateOctKeyOptions(name).setKeySize(100)));
        Check.refused(400, "KeyTypeNotSupported", "an unknown type", () -> s.keys.createKey(name, KeyType.fromString("DSA")));
        Check.refused(400, "BadParameter", "a name of 128 characters", () -> s.keys.createKey("a".repeat(128), KeyType.EC_HSM));
        Check.refused(400, "BadParameter", "a name with an underscore", () -> s.keys.createKey("a_b", KeyType.EC_HSM));
        Check.refused(400, "BadParameter", "wrapKey of an EC key",
            () -> s.keys.createKey(new CreateKeyOptions(name, KeyType.EC_HSM).setKeyOperations(KeyOperation.WRAP_KEY)));
        Map<String, String> tags = new HashMap<>();
        for (int i = 0; i < 16; i++) {
            tags.put("tag" + i, "x");
        }
        Check.refused(400, "BadParameter", "16 tags", () -> s.keys.createKey(new CreateKeyOptions(name, KeyType.EC_HSM).setTags(tags)));
        Check.refused(400, "BadParameter", "a tag of 257 characters", () -> s.keys.createKey(new CreateKeyOptions(name, KeyType.EC_HSM).setTags(Map.of("a", "x".repeat(257)))));
        Check.refused(404, "KeyNotFound", "nothing was stored", () -> s.keys.getKey(name));
        Session.step("keys of impossible shapes, names and tags");
    }

    private static void permissions(Session s, KeyVaultKey some) {
        Check.refused(403, "AccessDenied", "deleted keys for a Crypto User", () -> s.keys.listDeletedKeys().stream().count());
        Check.refused(403, "AccessDenied", "purge by a Crypto User", () -> s.keys.purgeDeletedKey(some.getName()));
        Check.refused(403, "AccessDenied", "a key for a Crypto Officer", () -> s.officer.createKey(s.gone(s.key("misshapen")), KeyType.EC_HSM));
        KeyVaultKey k = s.keys.createEcKey(new CreateEcKeyOptions(s.key("verify-only")).setHardwareProtected(true).setKeyOperations(KeyOperation.VERIFY));
        Check.refused(403, "Forbidden", "an operation that the key does not allow", () -> s.remote(k.getId()).sign(SignatureAlgorithm.ES256, new byte[32]));
        KeyVaultKey off = s.keys.updateKeyProperties(k.getProperties().setEnabled(false), KeyOperation.SIGN, KeyOperation.VERIFY);
        Check.refused(403, "KeyDisabled", "a disabled key", () -> s.remote(off.getId()).sign(SignatureAlgorithm.ES256, new byte[32]));
        Session.step("what roles, operations and attributes forbid");
    }

    /** Outside its times a key may undo and verify, but not make anything new. */
    private static void times(Session s) {
        OffsetDateTime now = OffsetDateTime.now(ZoneOffset.UTC);
        KeyVaultKey k = s.ec("times", KeyCurveName.P_256);
        CryptographyClient c = s.remote(k.getId());
        byte[] digest = Digests.of(SignatureAlgorithm.ES256, Digests.DATA);
        byte[] signature = c.sign(SignatureAlgorithm.ES256, digest).getSignature();
        for (int days : new int[] {-2, 1}) { // over since yesterday, and not before tomorrow
            s.keys.updateKeyProperties(k.getProperties().setNotBefore(now.plusDays(days)).setExpiresOn(now.plusDays(days + 1)));
            Check.refused(403, "Forbidden", "signing outside the key's times", () -> c.sign(SignatureAlgorithm.ES256, digest));
            Check.that(c.verify(SignatureAlgorithm.ES256, digest, signature).isValid(), "verifying outside the key's times");
        }
        Session.step("keys before and after their times");
    }

    private static void versions(Session s, KeyVaultKey some) {
        for (KeyServiceVersion v : List.of(KeyServiceVersion.V7_2, KeyServiceVersion.V7_3, KeyServiceVersion.V7_4, KeyServiceVersion.V7_5, KeyServiceVersion.V7_6)) {
            KeyClient c = new KeyClientBuilder().vaultUrl(s.url).credential(s.credential).serviceVersion(v).buildClient();
            Creates.same(some, c.getKeyWithResponse(some.getName(), some.getProperties().getVersion(), Context.NONE).getValue(), "a key by " + v.getVersion());
        }
        Session.step("the client's API versions from 7.2 to 7.6");
    }
}
