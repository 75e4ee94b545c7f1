package compat;

import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyRotationLifetimeAction;
import com.azure.security.keyvault.keys.models.KeyRotationPolicy;
import com.azure.security.keyvault.keys.models.KeyRotationPolicyAction;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.List;

/** Rotation policies, and rotation on demand. */
final class Rotation {
    private Rotation() {
    }

    static void walk(Session s) {
        KeyVaultKey first = s.ec("rotate", KeyCurveName.P_384);
        String name = first.getName();
        KeyRotationPolicy policy = new KeyRotationPolicy().setExpiresIn("P90D")
            .setLifetimeActions(List.of(new KeyRotationLifetimeAction(KeyRotationPolicyAction.ROTATE).setTimeBeforeExpiry("P30D")));
        KeyRotationPolicy set = s.keys.updateKeyRotationPolicy(name, policy);
        expect(set, "the policy as it was set", s.url + "/keys/" + name + "/rotationpolicy");
        expect(s.keys.getKeyRotationPolicy(name), "the policy as it is read", set.getId());
        expect(s.keys.getKeyRotationPolicyWithResponse(name, Context.NONE).getValue(), "the policy once more", set.getId());
        Session.step("a rotation policy set and read");

        OffsetDateTime before = OffsetDateTime.now(ZoneOffset.UTC).truncatedTo(ChronoUnit.SECONDS);
        KeyVaultKey second = s.keys.rotateKey(name);
        Check.equal(second.getName(), name, "name after a rotation");
        Check.that(!second.getId().equals(first.getId()), "a rotation made no version");
        Check.equal(second.getKeyType(), first.getKeyType(), "type after a rotation");
        Check.equal(second.getKey().getCurveName(), KeyCurveName.P_384, "curve after a rotation");
        Check.that(!java.util.Arrays.equals(second.getKey().getX(), first.getKey().getX()), "a rotation kept the key");
        OffsetDateTime expires = second.getProperties().getExpiresOn();
        Check.that(expires != null && !expires.isBefore(before.plusDays(90)) && expires.isBefore(before.plusDays(90).plusMinutes(5)), "the new version expires at " + expires);
        KeyVaultKey third = s.keys.rotateKeyWithResponse(name, Context.NONE).getValue();
        Check.equal(s.keys.getKey(name).getId(), third.getId(), "the latest version after two rotations");
        Check.equal(s.keys.listPropertiesOfKeyVersions(name).stream().count(), 3L, "versions after two rotations");
        Session.step("rotated twice: new keys of the same kind, which expire as the policy says");

        KeyVaultKey oct = s.oct("rotate-oct", 256);
        s.keys.updateKeyRotationPolicy(oct.getName(), new KeyRotationPolicy()
            .setLifetimeActions(List.of(new KeyRotationLifetimeAction(KeyRotationPolicyAction.ROTATE).setTimeAfterCreate("P1Y"))));
        Check.that(!s.keys.rotateKey(oct.getName()).getId().equals(oct.getId()), "a rotation of an oct key made no version");
        Check.refused(400, "BadParameter", "a time that is no duration", () -> s.keys.updateKeyRotationPolicy(name, new KeyRotationPolicy().setExpiresIn("soon")));
        Check.refused(400, "BadParameter", "less than 28 days", () -> s.keys.updateKeyRotationPolicy(name, new KeyRotationPolicy().setExpiresIn("P27D")));
        String nobody = s.gone(s.key("nobody"));
        Check.refused(404, "KeyNotFound", "the policy of no key", () -> s.keys.getKeyRotationPolicy(nobody));
        Check.refused(404, "KeyNotFound", "rotation of no key", () -> s.keys.rotateKey(nobody));
        Session.step("policies that make no sense refused");
    }

    private static void expect(KeyRotationPolicy p, String what, String id) {
        Check.equal(p.getId(), id, what + ": id");
        Check.equal(p.getExpiresIn(), "P90D", what + ": expires in");
        Check.that(p.getCreatedOn() != null && p.getUpdatedOn() != null, what + ": times");
        Check.equal(p.getLifetimeActions().size(), 1, what + ": actions");
        KeyRotationLifetimeAction a = p.getLifetimeActions().get(0);
        Check.equal(a.getAction(), KeyRotationPolicyAction.ROTATE, what + ": action");
        Check.equal(a.getTimeBeforeExpiry(), "P30D", what + ": time before expiry");
        Check.equal(a.getTimeAfterCreate(), null, what + ": time after create");
    }
}
