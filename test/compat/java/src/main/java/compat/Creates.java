package compat;

import com.azure.core.http.HttpHeaderName;
import com.azure.core.http.rest.Response;
import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateKeyOptions;
import com.azure.security.keyvault.keys.models.CreateOctKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyOperation;
import com.azure.security.keyvault.keys.models.KeyProperties;
import com.azure.security.keyvault.keys.models.KeyType;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import com.azure.security.keyvault.keys.models.KeyVaultKeyIdentifier;
import java.math.BigInteger;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Create, get and update: every type, size, curve and public exponent, and every attribute. */
final class Creates {
    private Creates() {
    }

    static void walk(Session s) {
        shapes(s);
        plain(s);
        attributes(s);
        update(s);
    }

    private static void shapes(Session s) {
        for (int bits : new int[] {2048, 3072, 4096}) {
            KeyVaultKey k = s.rsa("create-rsa-" + bits, bits);
            fresh(s, k, KeyType.RSA_HSM);
            Check.equal(new BigInteger(1, k.getKey().getN()).bitLength(), bits, k.getId() + ": bits");
            Check.equal(new BigInteger(1, k.getKey().getE()).intValue(), 65537, k.getId() + ": public exponent");
            Check.that(k.getKey().getD() == null && k.getKey().getP() == null, k.getId() + ": a private member came back");
        }
        KeyVaultKey three = s.keys.createRsaKey(new CreateRsaKeyOptions(s.key("create-rsa-e3")).setPublicExponent(3).setHardwareProtected(true));
        fresh(s, three, KeyType.RSA_HSM);
        Check.equal(new BigInteger(1, three.getKey().getE()).intValue(), 3, three.getId() + ": public exponent");
        Check.equal(new BigInteger(1, three.getKey().getN()).bitLength(), 2048, three.getId() + ": bits when none were asked for");
        Session.step("RSA-HSM keys of 2048, 3072 and 4096 bits, and one with public exponent 3");

        for (KeyCurveName curve : List.of(KeyCurveName.P_256, KeyCurveName.P_384, KeyCurveName.P_521, KeyCurveName.P_256K)) {
            KeyVaultKey k = s.ec("create-ec-" + curve, curve);
            fresh(s, k, KeyType.EC_HSM);
            Check.equal(k.getKey().getCurveName(), curve, k.getId() + ": curve");
            int bytes = curve.equals(KeyCurveName.P_521) ? 66 : curve.equals(KeyCurveName.P_384) ? 48 : 32;
            Check.equal(k.getKey().getX().length, bytes, k.getId() + ": bytes of x");
            Check.equal(k.getKey().getY().length, bytes, k.getId() + ": bytes of y");
            Check.that(k.getKey().getD() == null, k.getId() + ": the private member came back");
        }
        Session.step("EC-HSM keys on P-256, P-384, P-521 and P-256K");

        for (int bits : new int[] {128, 192, 256}) {
            KeyVaultKey k = s.oct("create-oct-" + bits, bits);
            fresh(s, k, KeyType.OCT_HSM);
            Check.that(k.getKey().getK() == null, k.getId() + ": the key itself came back");
        }
        Session.step("oct-HSM keys of 128, 192 and 256 bits");
    }

    /** What is true of every key that was just made with no attributes given. */
    private static void fresh(Session s, KeyVaultKey k, KeyType type) {
        String id = k.getId();
        KeyProperties p = k.getProperties();
        Check.equal(k.getKeyType(), type, id + ": type");
        Check.equal(id, s.url + "/keys/" + k.getName() + "/" + p.getVersion(), id + ": kid");
        KeyVaultKeyIdentifier parts = new KeyVaultKeyIdentifier(id); // of a URL with a port it forgets the port
        Check.equal(parts.getName() + "/" + parts.getVersion(), k.getName() + "/" + p.getVersion(), id + ": parts");
        Check.that(p.getVersion().matches("[0-9a-f]{32}"), id + ": version");
        Check.equal(p.isEnabled(), true, id + ": enabled");
        Check.equal(p.isExportable(), false, id + ": exportable");
        Check.that(p.getNotBefore() == null && p.getExpiresOn() == null, id + ": times that nobody set");
        Check.that(p.isManaged() == null || !p.isManaged(), id + ": managed");
        Check.equal(p.getRecoverableDays(), 7, id + ": recoverable days");
        Check.equal(p.getRecoveryLevel(), "CustomizedRecoverable+Purgeable", id + ": recovery level");
        Check.that(p.getHsmPlatform() != null, id + ": no hsmPlatform");
        Check.that(p.getReleasePolicy() == null, id + ": a release policy that nobody set");
        long age = ChronoUnit.SECONDS.between(p.getCreatedOn(), OffsetDateTime.now(ZoneOffset.UTC));
        Check.that(age >= -2 && age < 300, id + ": was created " + age + " s ago");
        Check.that(!p.getUpdatedOn().isBefore(p.getCreatedOn()), id + ": updated before it was created");
        Check.that(k.getKeyOperations() != null && !k.getKeyOperations().isEmpty(), id + ": no key operations");
    }

    /** The calls without options; a type without -HSM is stored as -HSM. */
    private static void plain(Session s) {
        fresh(s, s.keys.createKey(s.key("plain-rsa"), KeyType.RSA), KeyType.RSA_HSM);
        fresh(s, s.keys.createKey(s.key("plain-ec"), KeyType.EC_HSM), KeyType.EC_HSM);
        fresh(s, s.keys.createOctKey(new CreateOctKeyOptions(s.key("plain-oct")).setKeySize(256)), KeyType.OCT_HSM);
        fresh(s, s.keys.createEcKey(new CreateEcKeyOptions(s.key("plain-ec-p256"))), KeyType.EC_HSM);
        Session.step("keys made without options, software types among them");
    }

    private static void attributes(Session s) {
        String name = s.key("attributes");
        OffsetDateTime from = OffsetDateTime.now(ZoneOffset.UTC).minusDays(1).truncatedTo(ChronoUnit.SECONDS);
        OffsetDateTime to = from.plusYears(2);
        CreateKeyOptions o = new CreateKeyOptions(name, KeyType.EC_HSM).setNotBefore(from).setExpiresOn(to).setEnabled(false)
            .setTags(Map.of("team", "payroll", "umlaut", "Schlüssel")).setKeyOperations(KeyOperation.SIGN, KeyOperation.VERIFY);
        Response<KeyVaultKey> r = s.keys.createKeyWithResponse(o, Context.NONE);
        Check.equal(r.getStatusCode(), 200, "status of create");
        Check.that(r.getHeaders().getValue(HttpHeaderName.fromString("x-ms-request-id")) != null, "create: no x-ms-request-id");
        KeyVaultKey first = r.getValue();
        same(first, s.keys.getKey(name), "the latest version");
        same(first, s.keys.getKey(name, first.getProperties().getVersion()), "the version by name");
        same(first, s.keys.getKeyWithResponse(name, "", Context.NONE).getValue(), "an empty version");
        KeyProperties p = first.getProperties();
        Check.equal(p.getNotBefore(), from, "not before");
        Check.equal(p.getExpiresOn(), to, "expires");
        Check.equal(p.isEnabled(), false, "enabled");
        Check.equal(p.getTags(), Map.of("team", "payroll", "umlaut", "Schlüssel"), "tags");
        Check.equal(Set.copyOf(first.getKeyOperations()), Set.of(KeyOperation.SIGN, KeyOperation.VERIFY), "key operations");

        KeyVaultKey second = s.keys.createRsaKeyWithResponse(new CreateRsaKeyOptions(name).setHardwareProtected(true), Context.NONE).getValue();
        Check.that(!second.getId().equals(first.getId()), "a second version has the first one's name");
        same(second, s.keys.getKey(name), "the latest of two versions");
        same(first, s.keys.getKey(name, p.getVersion()), "the older of two versions");
        Session.step("a key with every attribute, read back by name and version; a second version of another type");
    }

    private static void update(Session s) {
        KeyVaultKey k = s.ec("update", KeyCurveName.P_256);
        OffsetDateTime to = OffsetDateTime.of(2041, 1, 1, 0, 0, 0, 0, ZoneOffset.UTC);
        KeyProperties p = k.getProperties().setEnabled(false).setExpiresOn(to).setNotBefore(to.minusYears(30)).setTags(Map.of("a", "b"));
        KeyVaultKey u = s.keys.updateKeyProperties(p, KeyOperation.VERIFY);
        Check.equal(u.getProperties().isEnabled(), false, "enabled after update");
        Check.equal(u.getProperties().getExpiresOn(), to, "expires after update");
        Check.equal(u.getProperties().getNotBefore(), to.minusYears(30), "not before after update");
        Check.equal(u.getProperties().getTags(), Map.of("a", "b"), "tags after update");
        Check.equal(u.getKeyOperations(), List.of(KeyOperation.VERIFY), "key operations after update");
        Check.equal(u.getId(), k.getId(), "an update makes no version");
        Check.that(!u.getProperties().getUpdatedOn().isBefore(k.getProperties().getUpdatedOn()), "the time of the update");
        same(u, s.keys.getKey(k.getName()), "what an update stored");
        Response<KeyVaultKey> again = s.keys.updateKeyPropertiesWithResponse(u.getProperties().setEnabled(true).setTags(Map.of()), Context.NONE);
        Check.equal(again.getValue().getProperties().isEnabled(), true, "enabled again");
        Check.that(again.getValue().getProperties().getTags() == null || again.getValue().getProperties().getTags().isEmpty(), "tags are gone");
        Check.equal(again.getValue().getKeyOperations(), List.of(KeyOperation.VERIFY), "key operations of an update that named none");
        Session.step("attributes, tags and operations updated");
    }

    /** Two answers about one version must agree. */
    static void same(KeyVaultKey a, KeyVaultKey b, String what) {
        Check.equal(b.getId(), a.getId(), what + ": kid");
        Check.equal(b.getKey(), a.getKey(), what + ": public key");
        Check.equal(new HashSet<>(b.getKeyOperations()), new HashSet<>(a.getKeyOperations()), what + ": operations");
        KeyProperties p = a.getProperties();
        KeyProperties q = b.getProperties();
        Check.equal(q.getTags(), p.getTags(), what + ": tags");
        Check.equal(q.isEnabled(), p.isEnabled(), what + ": enabled");
        Check.equal(q.getCreatedOn(), p.getCreatedOn(), what + ": created");
        Check.equal(q.getUpdatedOn(), p.getUpdatedOn(), what + ": updated");
        Check.equal(q.getExpiresOn(), p.getExpiresOn(), what + ": expires");
        Check.equal(q.getNotBefore(), p.getNotBefore(), what + ": not before");
        Check.equal(q.isExportable(), p.isExportable(), what + ": exportable");
    }
}
