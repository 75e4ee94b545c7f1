package compat;

import com.azure.core.http.rest.PagedResponse;
import com.azure.core.util.Context;
import com.azure.core.util.polling.LongRunningOperationStatus;
import com.azure.core.util.polling.SyncPoller;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.DeletedKey;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyProperties;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Lists with their pages, backup and restore, delete, recover and purge. */
final class Life {
    private Life() {
    }

    static void walk(Session s) {
        recover(s);
        backup(s);
        versions(s);
        list(s);
        clean(s);
    }

    private static void recover(Session s) {
        KeyVaultKey k = s.ec("recover", KeyCurveName.P_256);
        byte[] digest = Digests.of(SignatureAlgorithm.ES256, Digests.DATA);
        byte[] signature = s.remote(k.getId()).sign(SignatureAlgorithm.ES256, digest).getSignature();
        SyncPoller<DeletedKey, Void> poller = s.keys.beginDeleteKey(k.getName());
        DeletedKey d = poller.waitForCompletion().getValue();
        deleted(s, d, k);
        Check.refused(404, "KeyNotFound", "a deleted key", () -> s.keys.getKey(k.getName()));
        Check.refused(404, "KeyNotFound", "signing with a deleted key", () -> s.remote(k.getId()).sign(SignatureAlgorithm.ES256, digest));
        Check.refused(409, "Conflict", "a new key of a deleted one's name", () -> s.ec("recover", KeyCurveName.P_256));
        deleted(s, s.officer.getDeletedKey(k.getName()), k);
        deleted(s, s.officer.getDeletedKeyWithResponse(k.getName(), Context.NONE).getValue(), k);
        KeyVaultKey back = s.officer.beginRecoverDeletedKey(k.getName()).waitForCompletion().getValue();
        Check.equal(back.getId(), k.getId(), "a recovered key");
        Creates.same(k, s.keys.getKey(k.getName()), "a recovered key");
        Check.that(s.remote(k.getId()).verify(SignatureAlgorithm.ES256, digest, signature).isValid(), "a signature from before the deletion");
        Session.step("deleted, looked at, and recovered a key");
    }

    private static void deleted(Session s, DeletedKey d, KeyVaultKey k) {
        Check.equal(d.getName(), k.getName(), "name of a deleted key");
        Check.equal(d.getId(), k.getId(), "kid of a deleted key");
        Check.equal(d.getKey(), k.getKey(), "public part of a deleted key");
        Check.equal(d.getRecoveryId(), s.url + "/deletedkeys/" + k.getName(), "recovery id");
        OffsetDateTime now = OffsetDateTime.now(ZoneOffset.UTC);
        Check.that(d.getDeletedOn() != null && !d.getDeletedOn().isAfter(now.plusSeconds(2)) && d.getDeletedOn().isAfter(now.minusMinutes(5)), "time of deletion");
        Check.equal(d.getScheduledPurgeDate(), d.getDeletedOn().plusDays(7), "time of the purge");
    }

    private static void backup(Session s) {
        KeyVaultKey first = s.ec("backup", KeyCurveName.P_521);
        KeyVaultKey second = s.ec("backup", KeyCurveName.P_256);
        byte[] digest = Digests.of(SignatureAlgorithm.ES256, Digests.DATA);
        byte[] signature = s.remote(second.getId()).sign(SignatureAlgorithm.ES256, digest).getSignature();
        byte[] blob = s.keys.backupKey(first.getName());
        Check.that(blob.length > 100, "a backup of " + blob.length + " bytes");
        Check.refused(409, "Conflict", "restore of a key that is there", () -> s.keys.restoreKeyBackup(blob));
        s.keys.beginDeleteKey(first.getName()).waitForCompletion();
        Check.refused(409, "Conflict", "restore of a key that is deleted", () -> s.keys.restoreKeyBackup(blob));
        s.officer.purgeDeletedKey(first.getName());
        Check.refused(404, "KeyNotFound", "a purged key", () -> s.officer.getDeletedKey(first.getName()));
        for (int i : new int[] {0, blob.length / 2, blob.length - 1}) {
            byte[] wrong = blob.clone();
            wrong[i] ^= 1;
            Check.refused(400, "BadParameter", "a backup with a wrong byte at " + i, () -> s.keys.restoreKeyBackup(wrong));
        }
        Check.refused(400, "BadParameter", "a backup that is none", () -> s.keys.restoreKeyBackup("nonsense".getBytes(StandardCharsets.UTF_8)));
        KeyVaultKey back = s.keys.restoreKeyBackupWithResponse(blob, Context.NONE).getValue();
        Creates.same(second, back, "a restored key");
        Creates.same(first, s.keys.getKey(first.getName(), first.getProperties().getVersion()), "the older version of a restored key");
        Check.that(s.remote(second.getId()).verify(SignatureAlgorithm.ES256, digest, signature).isValid(), "a signature from before the backup");
        Session.step("backed up, purged and restored a key of two versions; damaged backups refused");
    }

    private static void versions(Session s) {
        KeyVaultKey k = s.ec("versions", KeyCurveName.P_256);
        Set<String> want = new HashSet<>(Set.of(k.getProperties().getVersion()));
        for (int i = 0; i < 26; i++) {
            want.add(s.ec("versions", KeyCurveName.P_256).getProperties().getVersion());
        }
        List<String> got = new ArrayList<>();
        int pages = 0;
        for (PagedResponse<KeyProperties> page : s.keys.listPropertiesOfKeyVersions(k.getName()).iterableByPage()) {
            pages++;
            page.getValue().forEach(p -> {
                Check.equal(p.getName(), k.getName(), "name of a version in the list");
                got.add(p.getVersion());
            });
        }
        Check.equal(got.size(), 27, "versions in the list");
        Check.equal(new HashSet<>(got), want, "versions in the list");
        Check.equal(pages, 2, "pages of 27 versions");
        Session.step("27 versions, in two pages");
    }

    /** By now there are more keys than a page holds. */
    private static void list(Session s) {
        Set<String> got = new HashSet<>();
        List<String> tokens = new ArrayList<>();
        for (PagedResponse<KeyProperties> page : s.keys.listPropertiesOfKeys(Context.NONE).iterableByPage()) {
            Check.that(page.getValue().size() <= 25, "a page of " + page.getValue().size() + " keys");
            tokens.add(page.getContinuationToken());
            for (KeyProperties p : page.getValue()) {
                Check.that(got.add(p.getName()), p.getName() + " is twice in the list");
                Check.that(p.getVersion() == null || p.getVersion().isEmpty(), p.getName() + ": a list of keys with a version");
                Check.that(p.getCreatedOn() != null && p.isEnabled() != null && p.getRecoveryLevel() != null, p.getName() + ": attributes in the list");
            }
        }
        Check.that(got.containsAll(s.made), "keys missing from the list: " + missing(s.made, got));
        Check.that(tokens.size() > 1, "all keys came in one page");
        long rest = s.keys.listPropertiesOfKeys().streamByPage(tokens.get(0)).mapToLong(p -> p.getValue().size()).sum();
        Check.equal(rest, (long) got.size() - 25, "keys after the first page, begun from its continuation token");
        Session.step(got.size() + " keys listed, in " + tokens.size() + " pages; begun again from the second");
    }

    private static Set<String> missing(Set<String> want, Set<String> got) {
        Set<String> out = new HashSet<>(want);
        out.removeAll(got);
        return out;
    }

    /** Deletes and purges what verify does not need, and looks at the deleted keys meanwhile. */
    private static void clean(Session s) {
        Set<String> gone = new HashSet<>(s.made);
        gone.removeAll(s.kept);
        for (String name : gone) {
            SyncPoller<DeletedKey, Void> poller = s.keys.beginDeleteKey(name);
            Check.equal(poller.poll().getStatus(), LongRunningOperationStatus.SUCCESSFULLY_COMPLETED, name + ": deletion");
        }
        Set<String> listed = new HashSet<>();
        int pages = 0;
        for (PagedResponse<DeletedKey> page : s.officer.listDeletedKeys().iterableByPage()) {
            pages++;
            for (DeletedKey d : page.getValue()) {
                Check.that(listed.add(d.getName()), d.getName() + " is twice in the list of deleted keys");
                Check.equal(d.getRecoveryId(), s.url + "/deletedkeys/" + d.getName(), "recovery id in the list");
                Check.that(d.getDeletedOn() != null && d.getScheduledPurgeDate() != null, d.getName() + ": times in the list of deleted keys");
            }
        }
        Check.that(listed.containsAll(gone), "deleted keys missing from the list: " + missing(gone, listed));
        Check.that(pages > 1, "all deleted keys came in one page");
        for (String name : gone) {
            Check.equal(s.officer.purgeDeletedKeyWithResponse(name, Context.NONE).getStatusCode(), 204, name + ": status of purge");
        }
        Check.that(s.officer.listDeletedKeys(Context.NONE).stream().noneMatch(d -> gone.contains(d.getName())), "a purged key is in the list of deleted keys");
        Check.refused(404, "KeyNotFound", "purge of a purged key", () -> s.officer.purgeDeletedKey(gone.iterator().next()));
        Session.step(gone.size() + " keys deleted, listed in " + pages + " pages and purged; " + s.kept.size() + " kept for verify");
    }
}
