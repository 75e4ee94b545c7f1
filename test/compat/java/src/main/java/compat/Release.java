package compat;

import com.azure.core.http.HttpClient;
import com.azure.core.http.HttpHeaderName;
import com.azure.core.http.HttpMethod;
import com.azure.core.http.HttpRequest;
import com.azure.core.http.HttpResponse;
import com.azure.core.util.BinaryData;
import com.azure.core.util.Context;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.JsonWebKey;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyExportEncryptionAlgorithm;
import com.azure.security.keyvault.keys.models.KeyReleasePolicy;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import com.azure.security.keyvault.keys.models.ReleaseKeyOptions;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;

/** Secure key release to an environment that the dev cloud's test attestation service vouches for. */
final class Release {
    private final Session s;
    private final KeyPair environment = Imports.rsaPair(2048); // of the trusted environment

    private Release(Session s) {
        this.s = s;
    }

    static void walk(Session s) {
        Release r = new Release(s);
        r.release();
        r.policies();
    }

    /** Lets a key go to environments of which the service says this. */
    private static KeyReleasePolicy policy(String value) {
        Map<String, Object> claim = Map.of("claim", "compat", "equals", value);
        Map<String, Object> rule = Map.of("authority", Session.env("REDOUBT_ATTESTATION"), "allOf", List.of(claim));
        return new KeyReleasePolicy(BinaryData.fromObject(Map.of("version", "1.0.0", "anyOf", List.of(rule))));
    }

    /** A token of the attestation service about this environment. */
    private String token(String value) {
        JsonWebKey k = JsonWebKey.fromRsa(environment);
        Map<String, Object> key = Map.of("kty", "RSA", "kid", "environment", "use", "enc", "n", Artefact.encode(k.getN()), "e", Artefact.encode(k.getE()));
        HttpRequest q = new HttpRequest(HttpMethod.POST, Session.env("REDOUBT_ATTESTATION") + "/generate-test-token")
            .setHeader(HttpHeaderName.CONTENT_TYPE, "application/json")
            .setBody(BinaryData.fromObject(Map.of("claims", Map.of("compat", value), "key", key)));
        try (HttpResponse r = HttpClient.createDefault().sendSync(q, Context.NONE)) {
            String body = r.getBodyAsBinaryData().toString();
            Check.equal(r.getStatusCode(), 200, "the attestation service: " + body);
            return (String) Artefact.parse(body).get("token");
        }
    }

    private void release() {
        KeyVaultKey k = s.keys.createEcKey(new CreateEcKeyOptions(s.key("released")).setCurveName(KeyCurveName.P_256).setHardwareProtected(true)
            .setExportable(true).setReleasePolicy(policy("tested")));
        Check.equal(k.getProperties().isExportable(), true, "exportable");
        KeyReleasePolicy p = k.getProperties().getReleasePolicy();
        Check.that(p != null && p.getContentType().startsWith("application/json") && !Boolean.TRUE.equals(p.isImmutable()), "the release policy of a new key");
        Check.that(p.getEncodedPolicy().toString().contains("\"1.0.0\""), "the release policy as it is stored: " + p.getEncodedPolicy());
        String good = token("tested");
        Map<KeyExportEncryptionAlgorithm, String> algorithms = Map.of(KeyExportEncryptionAlgorithm.CKM_RSA_AES_KEY_WRAP, "SHA-1",
            KeyExportEncryptionAlgorithm.RSA_AES_KEY_WRAP_256, "SHA-256", KeyExportEncryptionAlgorithm.RSA_AES_KEY_WRAP_384, "SHA-384");
        algorithms.forEach((alg, hash) -> {
            String jws = s.keys.releaseKeyWithResponse(k.getName(), k.getProperties().getVersion(), good,
                new ReleaseKeyOptions().setAlgorithm(alg).setNonce("nonce of " + alg), Context.NONE).getValue().getValue();
            PrivateKey out = open(payload(jws, "nonce of " + alg, k.getId()), hash);
            byte[] digest = Digests.of(SignatureAlgorithm.ES256, Digests.DATA);
            byte[] signature = Check.must(() -> {
                Signature g = Signature.getInstance("NONEwithECDSAinP1363Format");
                g.initSign(out);
                g.update(digest);
                return g.sign();
            });
            Check.that(s.remote(k.getId()).verify(SignatureAlgorithm.ES256, digest, signature).isValid(), alg + ": the key that was released is another");
        });
        payload(s.keys.releaseKey(k.getName(), good).getValue(), null, k.getId());
        payload(s.keys.releaseKey(k.getName(), k.getProperties().getVersion(), good).getValue(), null, k.getId());
        Check.refused(403, "Forbidden", "release to an environment that the policy does not want", () -> s.keys.releaseKey(k.getName(), token("untested")));
        Check.refused(403, "Forbidden", "release with a token that is changed", () -> s.keys.releaseKey(k.getName(), good.substring(0, good.length() - 8) + "AAAAAAAA"));
        KeyVaultKey other = s.ec("not-exportable", KeyCurveName.P_256);
        Check.refused(403, "Forbidden", "release of a key that is not exportable", () -> s.keys.releaseKey(other.getName(), good));
        Session.step("released a key by each of three algorithms; it signs what the HSM verifies");
    }

    /** Verifies the signature of an answer by its certificates, and returns what was wrapped. */
    private static byte[] payload(String jws, String nonce, String kid) {
        String[] parts = jws.split("\\.");
        Check.equal(parts.length, 3, "parts of the answer");
        Map<String, Object> header = Artefact.parse(new String(Artefact.decode(parts[0]), StandardCharsets.UTF_8));
        Check.must(() -> {
            List<?> chain = (List<?>) header.get("x5c");
            X509Certificate leaf = certificate(chain.get(0));
            for (int i = 0; i < chain.size(); i++) {
                certificate(chain.get(i)).verify(certificate(chain.get(Math.min(i + 1, chain.size() - 1))).getPublicKey());
            }
            Signature g = Signature.getInstance("RSA".equals(leaf.getPublicKey().getAlgorithm()) ? "SHA256withRSA" : "SHA256withECDSAinP1363Format");
            g.initVerify(leaf);
            g.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
            Check.that(g.verify(Artefact.decode(parts[2])), "the answer of a release is not signed by its certificate");
            return null;
        });
        Map<String, Object> body = Artefact.parse(new String(Artefact.decode(parts[1]), StandardCharsets.UTF_8));
        Map<?, ?> request = (Map<?, ?>) body.get("request");
        if (nonce != null) {
            Check.equal(request.get("nonce"), nonce, "the nonce in the answer");
        }
        Map<?, ?> bundle = (Map<?, ?>) ((Map<?, ?>) body.get("response")).get("key");
        Map<?, ?> key = (Map<?, ?>) bundle.get("key");
        Check.equal(key.get("kid"), kid, "the key in the answer");
        String transfer = new String(Artefact.decode((String) key.get("key_hsm")), StandardCharsets.UTF_8);
        return Artefact.decode((String) Artefact.parse(transfer).get("ciphertext"));
    }

    private static X509Certificate certificate(Object base64) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(Base64.getDecoder().decode((String) base64)));
    }

    /** RSA-OAEP around an AES key, and AES-KWP (RFC 5649) around PKCS #8. */
    private PrivateKey open(byte[] wrapped, String hash) {
        return Check.must(() -> {
            Cipher rsa = Cipher.getInstance("RSA/ECB/OAEPPadding");
            rsa.init(Cipher.DECRYPT_MODE, environment.getPrivate(), new OAEPParameterSpec(hash, "MGF1", new MGF1ParameterSpec(hash), PSource.PSpecified.DEFAULT));
            byte[] aes = rsa.doFinal(Arrays.copyOf(wrapped, 256));
            Cipher kwp = Cipher.getInstance("AES/KWP/NoPadding");
            kwp.init(Cipher.DECRYPT_MODE, new SecretKeySpec(aes, "AES"));
            return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(kwp.doFinal(Arrays.copyOfRange(wrapped, 256, wrapped.length))));
        });
    }

    private void policies() {
        KeyVaultKey k = s.keys.createRsaKey(new CreateRsaKeyOptions(s.key("policy")).setHardwareProtected(true).setExportable(true).setReleasePolicy(policy("first")));
        KeyVaultKey u = s.keys.updateKeyProperties(k.getProperties().setReleasePolicy(policy("second")));
        Check.that(u.getProperties().getReleasePolicy().getEncodedPolicy().toString().contains("second"), "a policy that was changed");
        u = s.keys.updateKeyProperties(u.getProperties().setReleasePolicy(policy("third").setImmutable(true)));
        Check.equal(u.getProperties().getReleasePolicy().isImmutable(), true, "immutable");
        Check.that(s.keys.getKey(k.getName()).getProperties().getReleasePolicy().getEncodedPolicy().toString().contains("third"), "the policy that is stored");
        KeyVaultKey last = u;
        Check.refused(400, "", "a change of an immutable policy", () -> s.keys.updateKeyProperties(last.getProperties().setReleasePolicy(policy("fourth"))));
        Check.refused(400, "BadParameter", "an exportable key without a policy",
            () -> s.keys.createRsaKey(new CreateRsaKeyOptions(s.gone(s.key("nobody"))).setHardwareProtected(true).setExportable(true)));
        Session.step("release policies changed, and made immutable");
    }
}
