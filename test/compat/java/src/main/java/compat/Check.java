package compat;

import com.azure.core.exception.HttpResponseException;
import java.util.Arrays;
import java.util.Objects;

/** Assertions. */
final class Check {
    private Check() {
    }

    /** Code that may throw anything. */
    interface Action {
        void run() throws Exception;
    }

    /** Code that gives a value and may throw anything. */
    interface Supplier<T> {
        T get() throws Exception;
    }

    static void that(boolean ok, String what) {
        if (!ok) {
            throw new Failure(what);
        }
    }

    static void equal(Object got, Object want, String what) {
        if (!Objects.equals(got, want)) {
            throw new Failure(what + ": got " + got + ", want " + want);
        }
    }

    static void equal(byte[] got, byte[] want, String what) {
        if (!Arrays.equals(got, want)) {
            throw new Failure(what + ": got " + length(got) + ", other than the " + length(want) + " expected");
        }
    }

    private static String length(byte[] b) {
        return b == null ? "nothing" : b.length + " bytes";
    }

    /** Fails unless action is answered with this status, and with text (a code) in the message. */
    static HttpResponseException refused(int status, String text, String what, Action action) {
        try {
            action.run();
        } catch (HttpResponseException e) {
            int got = e.getResponse() == null ? 0 : e.getResponse().getStatusCode();
            if (got != status || !String.valueOf(e.getMessage()).contains(text)) {
                throw new Failure(what + ": want " + status + " with " + text + ", got " + got, e);
            }
            return e;
        } catch (Exception e) {
            throw new Failure(what + ": want " + status + " with " + text, e);
        }
        throw new Failure(what + ": was not refused");
    }

    /** Runs code of the JDK, whose checked exceptions cannot happen when all is well. */
    static <T> T must(Supplier<T> code) {
        try {
            return code.get();
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new Failure("unexpected: " + e, e);
        }
    }
}
