package cli

import (
	"context"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
	"redoubt/internal/key"
)

func (a *app) keyDownload() *cobra.Command {
	var t keyAddress
	var version, file, encoding string
	c := a.verb("download", "Write the public key to a file", `As SubjectPublicKeyInfo (RFC 5280), PEM or DER; symmetric keys have none. Its SHA-256 is printed, for comparing copies
on a second channel. An existing file is never overwritten.`, func(ctx context.Context) error {
		encoding = strings.ToUpper(encoding)
		if encoding != "PEM" && encoding != "DER" {
			return wrongUse("--encoding %s: use PEM or DER", encoding)
		}
		if err := checkAbsent("public key", file); err != nil {
			return err
		}
		h, err := t.open(a)
		if err != nil {
			return err
		}
		if version != "" {
			t.version = version
		}
		k, err := h.GetKey(ctx, t.name, t.version)
		if err != nil {
			return fmt.Errorf("download key %s: %w", t.name, err)
		}
		der, err := publicDER(k.Key)
		if err != nil {
			return fmt.Errorf("download key %s: %w", t.name, err)
		}
		out := der
		if encoding == "PEM" {
			out = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
		if err := createPublic("public key", file, out); err != nil {
			return err
		}
		a.note("%s: public key of %s\n  SHA-256 %s", file, k.Key.Kid, hexSHA256(der))
		return nil
	})
	t.flags(c)
	f := c.Flags()
	f.StringVarP(&version, "version", "v", "", "version of the key")
	f.StringVarP(&file, "file", "f", "", "file to write")
	f.StringVarP(&encoding, "encoding", "e", "PEM", "PEM or DER")
	return require(c, "file")
}

var (
	oidRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC     = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidCurves = map[key.Curve]asn1.ObjectIdentifier{key.P256: {1, 2, 840, 10045, 3, 1, 7}, key.P384: {1, 3, 132, 0, 34}, key.P521: {1, 3, 132, 0, 35}, key.P256K: {1, 3, 132, 0, 10}}
)

// publicDER is the SubjectPublicKeyInfo of a key (RFC 3279 for RSA, RFC 5480 for EC; the standard library does not
// know P-256K).
func publicDER(k client.JWK) ([]byte, error) {
	switch t, _ := key.ParseType(k.Kty); t {
	case key.RSA:
		pub := rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}
		bits, err := asn1.Marshal(struct {
			N *big.Int
			E int
		}{pub.N, pub.E})
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		return spki(oidRSA, asn1.NullRawValue, bits)
	case key.EC:
		curve, ok := oidCurves[key.Curve(k.Crv)]
		if !ok {
			return nil, fmt.Errorf("its curve %q is not known", k.Crv)
		}
		named, err := asn1.Marshal(curve)
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		return spki(oidEC, asn1.RawValue{FullBytes: named}, slices.Concat([]byte{4}, k.X, k.Y))
	case key.Oct:
	}
	return nil, fmt.Errorf("a %s key has no public part", k.Kty)
}

func spki(algorithm asn1.ObjectIdentifier, parameters asn1.RawValue, public []byte) ([]byte, error) {
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: algorithm, Parameters: parameters}, asn1.BitString{Bytes: public, BitLength: 8 * len(public)}})
}
