package compat;

import com.azure.core.util.BinaryData;
import com.azure.json.JsonProviders;
import com.azure.json.JsonReader;
import com.azure.security.keyvault.keys.models.JsonWebKey;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A line of a program's file: a signature or a ciphertext, by the names of ../README.md. */
final class Artefact {
    private final Map<String, Object> members;

    private Artefact(Map<String, Object> members) {
        this.members = members;
    }

    /** A signature; HMAC has no public key. data is what was hashed, or null (RSNULL). */
    static Artefact signature(KeyVaultKey key, String alg, byte[] data, byte[] digest, byte[] signature) {
        Artefact a = begin("signature", key, alg);
        Map<String, Object> jwk = publicPart(key.getKey());
        if (jwk != null) {
            a.members.put("jwk", jwk);
        }
        return a.bytes("data", data).bytes("digest", digest).bytes("signature", signature);
    }

    /** A ciphertext or wrapped key; op is encrypt or wrap. */
    static Artefact ciphertext(KeyVaultKey key, String op, String alg, byte[] plaintext, byte[] ciphertext) {
        Artefact a = begin("ciphertext", key, alg);
        a.members.put("op", op);
        return a.bytes("plaintext", plaintext).bytes("ciphertext", ciphertext);
    }

    private static Artefact begin(String kind, KeyVaultKey key, String alg) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("kind", kind);
        m.put("program", Session.env("REDOUBT_COMPAT_PROGRAM"));
        m.put("kid", key.getId());
        m.put("alg", alg);
        return new Artefact(m);
    }

    /** Adds a byte string; null adds nothing. */
    Artefact bytes(String name, byte[] value) {
        if (value != null) {
            members.put(name, encode(value));
        }
        return this;
    }

    String text(String name) {
        if (members.get(name) instanceof String s) {
            return s;
        }
        throw new Failure("an artefact has no text \"" + name + "\": " + members.keySet());
    }

    byte[] bytes(String name) {
        return decode(text(name));
    }

    /** A byte string, or null when the artefact has none of this name. */
    byte[] optional(String name) {
        return members.get(name) == null ? null : bytes(name);
    }

    /** The public key, or null. */
    Map<?, ?> jwk() {
        return members.get("jwk") instanceof Map<?, ?> m ? m : null;
    }

    static BigInteger number(Map<?, ?> jwk, String name) {
        return new BigInteger(1, decode((String) jwk.get(name)));
    }

    static String encode(byte[] b) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(b);
    }

    static byte[] decode(String s) {
        return Base64.getUrlDecoder().decode(s);
    }

    private static Map<String, Object> publicPart(JsonWebKey k) {
        Map<String, Object> out = new LinkedHashMap<>();
        if (k.getN() != null) {
            out.put("kty", "RSA");
            out.put("n", encode(k.getN()));
            out.put("e", encode(k.getE()));
            return out;
        }
        if (k.getX() != null) {
            out.put("kty", "EC");
            out.put("crv", k.getCurveName().toString());
            out.put("x", encode(k.getX()));
            out.put("y", encode(k.getY()));
            return out;
        }
        return null;
    }

    private static Path file(String program) {
        return Path.of(Session.env("REDOUBT_COMPAT_DIR"), "artefacts", program + ".jsonl");
    }

    static void write(String program, List<Artefact> all) {
        List<String> lines = all.stream().map(a -> BinaryData.fromObject(a.members).toString()).toList();
        Check.must(() -> Files.write(file(program), lines));
    }

    /** Reads a JSON object. */
    static Map<String, Object> parse(String json) {
        return Check.must(() -> {
            try (JsonReader r = JsonProviders.createReader(json)) {
                return r.readMap(JsonReader::readUntyped);
            }
        });
    }

    /** Reads a program's file, which must not be empty. */
    static List<Artefact> read(String program) {
        List<Artefact> out = new ArrayList<>();
        for (String line : Check.must(() -> Files.readAllLines(file(program)))) {
            out.add(new Artefact(parse(line)));
        }
        Check.that(!out.isEmpty(), program + " has left no artefacts");
        return out;
    }
}
