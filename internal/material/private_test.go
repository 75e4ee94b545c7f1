package material

import (
	"errors"
	"reflect"
	"testing"

	"redoubt/internal/key"
)

// TestPrivate: what Private gives is what import takes, for every kind of key.
func TestPrivate(t *testing.T) {
	t.Parallel()
	for _, spec := range []key.Spec{{Type: key.RSA, Bits: 2048}, {Type: key.EC, Curve: key.P256}, {Type: key.EC, Curve: key.P384}, {Type: key.EC, Curve: key.P521},
		{Type: key.EC, Curve: key.P256K}, {Type: key.Oct, Bits: 128}, {Type: key.Oct, Bits: 256}} {
		k, err := Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		p, err := k.Private()
		if err != nil {
			t.Fatal(err)
		}
		var again Key
		pub := k.Public()
		switch spec.Type {
		case key.RSA:
			again, err = ImportRSA(RSAParts{N: pub.N, E: pub.E, D: p.D, P: p.P, Q: p.Q, DP: p.DP, DQ: p.DQ, QI: p.QI})
		case key.EC:
			if p.D.Len() != spec.Curve.Width() {
				t.Errorf("%s: d has %d bytes", spec, p.D.Len())
			}
			again, err = ImportEC(spec.Curve, pub.X, pub.Y, p.D)
		default:
			again, err = ImportOct(p.K)
		}
		if err != nil || again.Spec() != k.Spec() || !reflect.DeepEqual(again.Public(), pub) || !again.Marshal().Equal(k.Marshal()) {
			t.Errorf("%s: %v", spec, err)
		}
		p.Wipe()
		if k.Marshal().Len() == 0 || !again.Marshal().Equal(k.Marshal()) {
			t.Errorf("%s: wiping the parts touched the key", spec)
		}
		k.Wipe()
		if _, err := k.Private(); !errors.Is(err, ErrWiped) {
			t.Errorf("%s: wiped key: %v", spec, err)
		}
	}
}
