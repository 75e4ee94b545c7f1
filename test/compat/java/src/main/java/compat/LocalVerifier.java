package compat;

import com.azure.security.keyvault.keys.models.JsonWebKey;
import java.math.BigInteger;
import java.security.AlgorithmParameters;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.RSAPublicKeySpec;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import javax.crypto.Cipher;
import org.bouncycastle.asn1.sec.SECNamedCurves;
import org.bouncycastle.asn1.x9.X9ECParameters;
import org.bouncycastle.crypto.digests.SHA256Digest;
import org.bouncycastle.crypto.digests.SHA384Digest;
import org.bouncycastle.crypto.digests.SHA512Digest;
import org.bouncycastle.crypto.engines.RSABlindedEngine;
import org.bouncycastle.crypto.params.ECDomainParameters;
import org.bouncycastle.crypto.params.ECPublicKeyParameters;
import org.bouncycastle.crypto.params.RSAKeyParameters;
import org.bouncycastle.crypto.signers.ECDSASigner;
import org.bouncycastle.crypto.signers.PSSSigner;

/**
 * Verifies signatures over digests with the JDK's cryptography. BouncyCastle does what the JDK cannot: the curve
 * P-256K, and PSS over a digest that was made elsewhere.
 */
final class LocalVerifier {
    /** DER of DigestInfo up to the digest (RFC 8017 section 9.2). */
    private static final Map<String, String> DIGEST_INFO = Map.of(
        "RS256", "3031300d060960864801650304020105000420",
        "RS384", "3041300d060960864801650304020205000430",
        "RS512", "3051300d060960864801650304020305000440",
        "RSNULL", "");
    private static final Map<String, String> CURVES = Map.of("P-256", "secp256r1", "P-384", "secp384r1", "P-521", "secp521r1");

    private LocalVerifier() {
    }

    static boolean verify(JsonWebKey k, String alg, byte[] digest, byte[] signature) {
        Map<String, String> jwk = new LinkedHashMap<>();
        if (k.getN() != null) {
            jwk.put("n", Artefact.encode(k.getN()));
            jwk.put("e", Artefact.encode(k.getE()));
        } else {
            jwk.put("crv", k.getCurveName().toString());
            jwk.put("x", Artefact.encode(k.getX()));
            jwk.put("y", Artefact.encode(k.getY()));
        }
        return verify(jwk, alg, digest, signature);
    }

    /** Verifies a signature over digest under a public key of the names of RFC 7517. */
    static boolean verify(Map<?, ?> jwk, String alg, byte[] digest, byte[] signature) {
        return Check.must(() -> switch (alg) {
            case "RS256", "RS384", "RS512", "RSNULL" -> pkcs1(jwk, alg, digest, signature);
            case "PS256", "PS384", "PS512" -> pss(jwk, alg, digest, signature);
            case "ES256K" -> secp256k1(jwk, digest, signature);
            case "ES256", "ES384", "ES512" -> ecdsa(jwk, digest, signature);
            default -> throw new Failure("no local verifier for " + alg);
        });
    }

    static PublicKey rsa(Map<?, ?> jwk) {
        return Check.must(() -> KeyFactory.getInstance("RSA")
            .generatePublic(new RSAPublicKeySpec(Artefact.number(jwk, "n"), Artefact.number(jwk, "e"))));
    }

    /** Opens the signature and compares what was signed: DigestInfo and digest, or with RSNULL the bytes alone. */
    private static boolean pkcs1(Map<?, ?> jwk, String alg, byte[] digest, byte[] signature) throws Exception {
        Cipher c = Cipher.getInstance("RSA/ECB/PKCS1Padding");
        c.init(Cipher.DECRYPT_MODE, rsa(jwk)); // with a public key, that is padding of type 1
        byte[] prefix = HexFormat.of().parseHex(DIGEST_INFO.get(alg));
        byte[] want = Arrays.copyOf(prefix, prefix.length + digest.length);
        System.arraycopy(digest, 0, want, prefix.length, digest.length);
        return Arrays.equals(c.doFinal(signature), want);
    }

    private static boolean pss(Map<?, ?> jwk, String alg, byte[] digest, byte[] signature) {
        PSSSigner s = switch (alg) {
            case "PS256" -> PSSSigner.createRawSigner(new RSABlindedEngine(), SHA256Digest.newInstance());
            case "PS384" -> PSSSigner.createRawSigner(new RSABlindedEngine(), new SHA384Digest(), new SHA384Digest(), 48, (byte) 0xbc);
            default -> PSSSigner.createRawSigner(new RSABlindedEngine(), new SHA512Digest(), new SHA512Digest(), 64, (byte) 0xbc);
        };
        s.init(false, new RSAKeyParameters(false, Artefact.number(jwk, "n"), Artefact.number(jwk, "e")));
        s.update(digest, 0, digest.length);
        return s.verifySignature(signature);
    }

    private static boolean ecdsa(Map<?, ?> jwk, byte[] digest, byte[] signature) throws Exception {
        AlgorithmParameters p = AlgorithmParameters.getInstance("EC");
        p.init(new ECGenParameterSpec(CURVES.get((String) jwk.get("crv"))));
        ECPoint w = new ECPoint(Artefact.number(jwk, "x"), Artefact.number(jwk, "y"));
        Signature s = Signature.getInstance("NONEwithECDSAinP1363Format");
        s.initVerify(KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(w, p.getParameterSpec(ECParameterSpec.class))));
        s.update(digest);
        return s.verify(signature);
    }

    private static boolean secp256k1(Map<?, ?> jwk, byte[] digest, byte[] signature) {
        Check.equal(signature.length, 64, "the length of a signature of ES256K");
        X9ECParameters p = SECNamedCurves.getByName("secp256k1");
        ECDomainParameters domain = new ECDomainParameters(p.getCurve(), p.getG(), p.getN(), p.getH());
        ECDSASigner s = new ECDSASigner();
        s.init(false, new ECPublicKeyParameters(p.getCurve().createPoint(Artefact.number(jwk, "x"), Artefact.number(jwk, "y")), domain));
        return s.verifySignature(digest, new BigInteger(1, Arrays.copyOf(signature, 32)), new BigInteger(1, Arrays.copyOfRange(signature, 32, 64)));
    }
}
