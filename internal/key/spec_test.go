package key

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestParseType(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Type{"RSA": RSA, "RSA-HSM": RSA, "EC": EC, "EC-HSM": EC, "oct": Oct, "oct-HSM": Oct} {
		if got, err := ParseType(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "rsa", "OCT", "Oct-HSM", "AKP-HSM", "RSA-HSM "} {
		if got, err := ParseType(in); got != "" || !errors.Is(err, ErrBadKeyType) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestNewSpec(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ      Type
		bits     int
		curve    Curve
		exponent int
		want     Spec // zero: refused
		text     string
	}{
		{RSA, 0, "", 0, Spec{Type: RSA, Bits: 2048, Exponent: 65537}, "RSA-HSM 2048"},
		{RSA, 2048, "", 65537, Spec{Type: RSA, Bits: 2048, Exponent: 65537}, "RSA-HSM 2048"},
		{RSA, 3072, "", 0, Spec{Type: RSA, Bits: 3072, Exponent: 65537}, "RSA-HSM 3072"},
		{RSA, 4096, "", 0, Spec{Type: RSA, Bits: 4096, Exponent: 65537}, "RSA-HSM 4096"},
		{RSA, 1024, "", 0, Spec{}, ""},
		{RSA, 2049, "", 0, Spec{}, ""},
		{RSA, -2048, "", 0, Spec{}, ""},
		{RSA, 8192, "", 0, Spec{}, ""},
		{RSA, 2048, "", 3, Spec{Type: RSA, Bits: 2048, Exponent: 3}, "RSA-HSM 2048"},
		{RSA, 4096, "", 1<<31 - 1, Spec{Type: RSA, Bits: 4096, Exponent: 1<<31 - 1}, "RSA-HSM 4096"},
		{RSA, 2048, "", 1, Spec{}, ""},
		{RSA, 2048, "", 2, Spec{}, ""},
		{RSA, 2048, "", 65536, Spec{}, ""},
		{RSA, 2048, "", -3, Spec{}, ""},
		{RSA, 2048, "", 1<<31 + 1, Spec{}, ""},
		{EC, 0, "", 0, Spec{Type: EC, Curve: P256}, "EC-HSM P-256"},
		{EC, 0, P384, 0, Spec{Type: EC, Curve: P384}, "EC-HSM P-384"},
		{EC, 384, "", 0, Spec{Type: EC, Curve: P384}, "EC-HSM P-384"},
		{EC, 521, "", 0, Spec{Type: EC, Curve: P521}, "EC-HSM P-521"},
		{EC, 512, "", 0, Spec{}, ""},
		{EC, 0, "P-224", 0, Spec{}, ""},
		{EC, 0, "p-256", 0, Spec{}, ""},
		{EC, 0, P256K, 0, Spec{Type: EC, Curve: P256K}, "EC-HSM P-256K"},
		{EC, 0, "SECP256K1", 0, Spec{Type: EC, Curve: P256K}, "EC-HSM P-256K"},
		{EC, 0, "secp256k1", 0, Spec{}, ""},
		{Oct, 0, "", 0, Spec{Type: Oct, Bits: 256}, "oct-HSM 256"},
		{Oct, 128, "", 0, Spec{Type: Oct, Bits: 128}, "oct-HSM 128"},
		{Oct, 192, "", 0, Spec{Type: Oct, Bits: 192}, "oct-HSM 192"},
		{Oct, 512, "", 0, Spec{}, ""},
		{Oct, 64, "", 0, Spec{}, ""},
		{"", 0, "", 0, Spec{}, ""},
		{"AKP-HSM", 0, "", 0, Spec{}, ""},
	} {
		name := fmt.Sprintf("%s %d %q %d", c.typ, c.bits, c.curve, c.exponent)
		got, err := NewSpec(c.typ, c.bits, c.curve, c.exponent)
		if got != c.want || (err == nil) != (c.want != Spec{}) || err != nil && !errors.Is(err, ErrBadParameter) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err != nil {
			continue
		}
		if got.String() != c.text {
			t.Errorf("%s: prints %q", name, got)
		}
		if again, err := NewSpec(got.Type, got.Bits, got.Curve, got.Exponent); err != nil || again != got {
			t.Errorf("%s: not a fixed point: %+v, %v", name, again, err)
		}
		b, err := json.Marshal(got)
		var back Spec
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || back != got {
			t.Errorf("%s: JSON %s, %v", name, b, err)
		}
	}
}

func TestParseOps(t *testing.T) {
	t.Parallel()
	for _, typ := range []Type{RSA, EC, Oct} {
		got, err := ParseOps(typ, nil)
		if err != nil || !slices.Equal(got, DefaultOps(typ)) || len(got) == 0 {
			t.Errorf("%s defaults: %v, %v", typ, got, err)
		}
		for _, op := range got {
			if _, err := ParseOps(typ, []string{string(op)}); err != nil {
				t.Errorf("%s: default op %s is refused: %v", typ, op, err)
			}
		}
		got[0] = "changed"
		if DefaultOps(typ)[0] == "changed" {
			t.Errorf("%s: the defaults are shared", typ)
		}
	}
	for _, c := range []struct {
		typ  Type
		in   []string
		want []Op // nil: refused
	}{
		{RSA, []string{"sign", "VERIFY", "wrapkey", "UnwrapKey"}, []Op{OpSign, OpVerify, OpWrap, OpUnwrap}},
		{RSA, []string{"import"}, []Op{OpImport}},
		{Oct, []string{"wrapKey", "unwrapKey", "encrypt", "decrypt", "sign", "verify"}, []Op{OpWrap, OpUnwrap, OpEncrypt, OpDecrypt, OpSign, OpVerify}},
		{EC, []string{"sign"}, []Op{OpSign}},
		{EC, []string{"encrypt"}, nil},
		{EC, []string{"wrapKey"}, nil},
		{RSA, []string{"import", "decrypt"}, nil},
		{RSA, []string{"export", "import"}, nil},
		{EC, []string{"import"}, nil},
		{Oct, []string{"import"}, nil},
		{RSA, []string{"sign", "Sign"}, nil},
		{RSA, []string{""}, nil},
		{RSA, []string{"deriveKey"}, nil},
		{"", []string{"sign"}, nil},
	} {
		got, err := ParseOps(c.typ, c.in)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) || err != nil && !errors.Is(err, ErrBadParameter) {
			t.Errorf("%s %v: %v, %v", c.typ, c.in, got, err)
		}
	}
	if got, err := ParseOps(RSA, []string{}); err != nil || len(got) != 0 {
		t.Errorf("an empty list is not the defaults: %v, %v", got, err)
	}
	if got := DefaultOps("x"); got != nil {
		t.Errorf("defaults of an unknown type: %v", got)
	}
}
