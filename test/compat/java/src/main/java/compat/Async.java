package compat;

import com.azure.security.keyvault.keys.KeyAsyncClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyAsyncClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateOctKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.JsonWebKey;
import com.azure.security.keyvault.keys.models.KeyRotationLifetimeAction;
import com.azure.security.keyvault.keys.models.KeyRotationPolicy;
import com.azure.security.keyvault.keys.models.KeyRotationPolicyAction;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.security.Security;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** The asynchronous clients, which have a pipeline of their own: one call of each kind. */
final class Async {
    private static final Duration PATIENCE = Duration.ofMinutes(1);

    private Async() {
    }

    static void walk(Session s) {
        keys(s);
        cryptography(s);
        life(s);
    }

    private static void keys(Session s) {
        KeyAsyncClient c = s.async;
        KeyVaultKey k = c.createEcKey(new CreateEcKeyOptions(s.key("async")).setHardwareProtected(true)).block(PATIENCE);
        Creates.same(k, c.getKey(k.getName()).block(PATIENCE), "an asynchronous get");
        Creates.same(k, c.getKey(k.getName(), k.getProperties().getVersion()).block(PATIENCE), "an asynchronous get of a version");
        KeyVaultKey u = c.updateKeyProperties(k.getProperties().setTags(Map.of("a", "b"))).block(PATIENCE);
        Check.equal(u.getProperties().getTags(), Map.of("a", "b"), "tags of an asynchronous update");
        List<String> names = c.listPropertiesOfKeys().map(p -> p.getName()).collectList().block(PATIENCE);
        Check.that(names.contains(k.getName()), "an asynchronous list lacks " + k.getName());
        c.updateKeyRotationPolicy(k.getName(), new KeyRotationPolicy().setLifetimeActions(List.of(
            new KeyRotationLifetimeAction(KeyRotationPolicyAction.ROTATE).setTimeAfterCreate("P60D")))).block(PATIENCE);
        Check.equal(c.getKeyRotationPolicy(k.getName()).block(PATIENCE).getLifetimeActions().get(0).getTimeAfterCreate(), "P60D", "an asynchronous policy");
        KeyVaultKey r = c.rotateKey(k.getName()).block(PATIENCE);
        Check.equal(c.listPropertiesOfKeyVersions(k.getName()).collectList().block(PATIENCE).size(), 2, "versions after an asynchronous rotation");
        Check.that(c.getKeyAttestation(r.getName()).block(PATIENCE).getProperties().getKeyAttestation() != null, "an asynchronous attestation");
        Check.equal(c.getRandomBytes(16).block(PATIENCE).length, 16, "asynchronous random bytes");
        JsonWebKey jwk = JsonWebKey.fromEc(Imports.ecPair("secp256r1"), Security.getProvider("SunEC"));
        Check.that(c.importKey(s.key("async-import"), jwk).block(PATIENCE).getId() != null, "an asynchronous import");
        Session.step("create, get, update, list, rotate, attest and import, asynchronously");
    }

    private static CryptographyAsyncClient remote(Session s, KeyVaultKey k) {
        return new CryptographyClientBuilder().keyIdentifier(k.getId()).credential(s.credential).disableKeyCaching().buildAsyncClient();
    }

    private static void cryptography(Session s) {
        KeyVaultKey rsa = s.async.createRsaKey(new CreateRsaKeyOptions(s.key("async-rsa")).setHardwareProtected(true)).block(PATIENCE);
        byte[] secret = Ciphers.random(32);
        CryptographyAsyncClient remote = remote(s, rsa);
        CryptographyAsyncClient cached = s.async.getCryptographyAsyncClient(rsa.getName());
        Check.equal(remote.decrypt(EncryptionAlgorithm.RSA_OAEP, cached.encrypt(EncryptionAlgorithm.RSA_OAEP, secret).block(PATIENCE).getCipherText())
            .block(PATIENCE).getPlainText(), secret, "an asynchronous decryption");
        Check.equal(remote.unwrapKey(KeyWrapAlgorithm.RSA_OAEP_256, remote.wrapKey(KeyWrapAlgorithm.RSA_OAEP_256, secret).block(PATIENCE).getEncryptedKey())
            .block(PATIENCE).getKey(), secret, "an asynchronous unwrapping");
        byte[] digest = Digests.of(SignatureAlgorithm.PS256, Digests.DATA);
        byte[] signature = remote.sign(SignatureAlgorithm.PS256, digest).block(PATIENCE).getSignature();
        Check.that(cached.verify(SignatureAlgorithm.PS256, digest, signature).block(PATIENCE).isValid(), "an asynchronous verification");
        Check.that(remote.verifyData(SignatureAlgorithm.PS256, Digests.DATA, remote.signData(SignatureAlgorithm.PS256, Digests.DATA).block(PATIENCE).getSignature())
            .block(PATIENCE).isValid(), "an asynchronous verification of data");
        Check.equal(remote.getKey().block(PATIENCE).getId(), rsa.getId(), "the key of an asynchronous client");
        KeyVaultKey oct = s.async.createOctKey(new CreateOctKeyOptions(s.key("async-oct")).setKeySize(256).setHardwareProtected(true)).block(PATIENCE);
        byte[] wrapped = remote(s, oct).wrapKey(KeyWrapAlgorithm.A256KW, secret).block(PATIENCE).getEncryptedKey();
        Check.equal(remote(s, oct).unwrapKey(KeyWrapAlgorithm.A256KW, wrapped).block(PATIENCE).getKey(), secret, "an asynchronous unwrapping with AES");
        Session.step("encrypt, wrap, sign and verify, asynchronously");
    }

    private static void life(Session s) {
        KeyVaultKey k = s.async.createEcKey(new CreateEcKeyOptions(s.key("async-life")).setHardwareProtected(true)).block(PATIENCE);
        byte[] blob = s.async.backupKey(k.getName()).block(PATIENCE);
        s.async.beginDeleteKey(k.getName()).blockLast(PATIENCE);
        s.officer.purgeDeletedKey(k.getName());
        Creates.same(k, s.async.restoreKeyBackup(blob).block(PATIENCE), "an asynchronous restore");
        Session.step("backup, delete and restore, asynchronously");
    }
}
