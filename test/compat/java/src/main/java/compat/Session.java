package compat;

import com.azure.core.credential.TokenCredential;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.azure.security.keyvault.keys.KeyAsyncClient;
import com.azure.security.keyvault.keys.KeyClient;
import com.azure.security.keyvault.keys.KeyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyClientBuilder;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateOctKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** What the steps share: clients, names, and the artefacts so far. */
final class Session {
    final String url = env("REDOUBT_HSM_URL");
    private final String prefix = env("REDOUBT_COMPAT_PREFIX");

    /** May use keys (Crypto User); finds its service principal in the environment. */
    final TokenCredential credential = new DefaultAzureCredentialBuilder().build();
    final KeyClient keys = new KeyClientBuilder().vaultUrl(url).credential(credential).buildClient();
    final KeyAsyncClient async = new KeyClientBuilder().vaultUrl(url).credential(credential).buildAsyncClient();

    /** May list, recover and purge deleted keys (Crypto Officer). */
    final KeyClient officer = new KeyClientBuilder().vaultUrl(url)
        .credential(new ManagedIdentityCredentialBuilder().clientId(env("REDOUBT_OFFICER_CLIENT_ID")).build())
        .buildClient();

    final List<Artefact> artefacts = new ArrayList<>();
    /** Names of all keys that this walk made, and of those that must live on for verify. */
    final Set<String> made = new LinkedHashSet<>();
    final Set<String> kept = new LinkedHashSet<>();

    static String env(String name) {
        String v = System.getenv(name);
        if (v == null || v.isEmpty()) {
            throw new Failure("the variable " + name + " is not set");
        }
        return v;
    }

    static void step(String what) {
        System.out.println("step: " + what);
    }

    /** The name of a key of this program and mode; the key is deleted at the end of the walk. */
    String key(String name) {
        made.add(prefix + name);
        return prefix + name;
    }

    /** The name of a key that the end of the walk need not delete. */
    String gone(String name) {
        made.remove(name);
        return name;
    }

    boolean ours(String name) {
        return name.startsWith(prefix);
    }

    /** A client that leaves all cryptography to the service. */
    CryptographyClient remote(String kid) {
        return new CryptographyClientBuilder().keyIdentifier(kid).credential(credential).disableKeyCaching().buildClient();
    }

    /** A client that does locally what it can: the default. */
    CryptographyClient cached(String kid) {
        return new CryptographyClientBuilder().keyIdentifier(kid).credential(credential).buildClient();
    }

    KeyVaultKey rsa(String name, int bits) {
        return keys.createRsaKey(new CreateRsaKeyOptions(key(name)).setKeySize(bits).setHardwareProtected(true));
    }

    KeyVaultKey ec(String name, KeyCurveName curve) {
        return keys.createEcKey(new CreateEcKeyOptions(key(name)).setCurveName(curve).setHardwareProtected(true));
    }

    KeyVaultKey oct(String name, int bits) {
        return keys.createOctKey(new CreateOctKeyOptions(key(name)).setKeySize(bits).setHardwareProtected(true));
    }

    /** Keeps an artefact, and the key that it names. */
    void keep(Artefact a, KeyVaultKey key) {
        artefacts.add(a);
        kept.add(key.getName());
    }

    void writeArtefacts() {
        Artefact.write(env("REDOUBT_COMPAT_PROGRAM"), artefacts);
        step(artefacts.size() + " artefacts written");
    }
}
