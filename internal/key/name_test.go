package key

import (
	"errors"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "Z", "0", "-", "a-b-C-9", "restore", strings.Repeat("x", 127)} {
		if n, err := ParseName(s); err != nil || string(n) != s {
			t.Errorf("%q: %q, %v", s, n, err)
		}
	}
	for _, s := range []string{"", strings.Repeat("x", 128), "a_b", "a.b", "a b", "a/b", "..", "ä", "a\x00", "a\n", "\u212a"} { // the last is the Kelvin sign
		if n, err := ParseName(s); n != "" || !errors.Is(err, ErrBadParameter) {
			t.Errorf("%q: %q, %v", s, n, err)
		}
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	if Name("My-Key-1").Fold() != "my-key-1" || Name("MY-KEY-1").Fold() != Name("my-key-1").Fold() {
		t.Error("names in other letter case do not fold together")
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	const v = "0123456789abcdef0123456789abcdef"
	for in, want := range map[string]Version{"": "", v: v, strings.ToUpper(v): v} {
		if got, err := ParseVersion(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{v[1:], v + "0", v[:31] + "g", " " + v[1:], "current", v[:30] + "\n"} {
		if got, err := ParseVersion(in); got != "" || !errors.Is(err, ErrBadParameter) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestFreshIdentifiers(t *testing.T) {
	t.Parallel()
	a, b := NewVersion(), NewVersion()
	if got, err := ParseVersion(string(a)); err != nil || got != a || a == b {
		t.Errorf("%q and %q: %v", a, b, err)
	}
	if i, j := NewIncarnation(), NewIncarnation(); i == j || len(i) != 32 {
		t.Errorf("incarnations %q and %q", i, j)
	}
}

// The wire table relies on these: one errors.Is for every 400.
func TestErrorFamilies(t *testing.T) {
	t.Parallel()
	for _, err := range []error{ErrBadKeyType, ErrBadAlgorithm, ErrCryptoFailed} {
		if !errors.Is(err, ErrBadParameter) {
			t.Errorf("%v is not an ErrBadParameter", err)
		}
	}
	for _, err := range []error{ErrNotFound, ErrDeletedNotFound, ErrExists, ErrDeleted, ErrOperationForbidden, ErrDisabled, ErrNotYetValid, ErrExpired, ErrTooManyVersions, ErrPurgeProtected} {
		if errors.Is(err, ErrBadParameter) {
			t.Errorf("%v is an ErrBadParameter", err)
		}
	}
	if errors.Is(ErrCryptoFailed, ErrBadAlgorithm) || errors.Is(ErrBadAlgorithm, ErrCryptoFailed) {
		t.Error("ErrCryptoFailed and ErrBadAlgorithm are confused")
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"a", "a-B-9", "", "a_b", "ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if again, err := ParseName(n.Fold()); err != nil || string(n) != s || again.Fold() != n.Fold() || strings.ContainsAny(s, "/.\\ %") {
			t.Fatalf("%q accepted: %v", s, err)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	f.Add("")
	f.Add("0123456789ABCDEF0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		if again, err := ParseVersion(string(v)); err != nil || again != v || v != "" && len(v) != 32 || !strings.EqualFold(string(v), s) {
			t.Fatalf("%q became %q: %v", s, v, err)
		}
	})
}
