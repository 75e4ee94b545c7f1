package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/**
 * The Java program of the compat run: it walks every operation of azure-security-keyvault-keys, the genuine Java
 * client, against a dev cloud. ../../../../../README.md tells its environment and what it must do.
 */
public final class Main {
    private static final Map<String, Consumer<Session>> PARTS = new LinkedHashMap<>();

    static {
        PARTS.put("creates", Creates::walk);
        PARTS.put("imports", Imports::walk);
        PARTS.put("signatures", Signatures::walk);
        PARTS.put("ciphers", Ciphers::walk);
        PARTS.put("local", Local::walk);
        PARTS.put("rotation", Rotation::walk);
        PARTS.put("release", Release::walk);
        PARTS.put("extras", Extras::walk);
        PARTS.put("async", Async::walk);
        PARTS.put("refusals", Refusals::walk);
        PARTS.put("life", Life::walk); // last: it lists, and deletes what is not needed any more
    }

    private Main() {
    }

    public static void main(String[] args) {
        int code = 0;
        try {
            switch (args.length == 0 ? "" : args[0]) {
                case "walk" -> walk(new Session(), List.of(args).subList(1, args.length));
                case "verify" -> Verify.all(new Session());
                case "signin" -> SignIn.all();
                default -> throw new Failure("usage: run walk [PART...] | run verify | run signin; parts are " + PARTS.keySet());
            }
        } catch (Failure e) {
            System.err.println("failed: " + e.getMessage());
            if (e.getCause() != null) {
                e.getCause().printStackTrace();
            }
            code = 1;
        } catch (RuntimeException e) {
            e.printStackTrace();
            code = 1;
        }
        System.exit(code); // the client's threads would keep the JVM alive for a while
    }

    /** Walks the parts that are named, or all. */
    private static void walk(Session s, List<String> names) {
        PARTS.forEach((name, part) -> {
            if (names.isEmpty() || names.contains(name)) {
                part.accept(s);
            }
        });
        s.writeArtefacts();
    }
}
