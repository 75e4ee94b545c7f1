package material

import (
	"testing"

	"redoubt/internal/key"
)

// The names of the benchmarks are read by "make bench" and must not change.

func benchSign(b *testing.B, spec key.Spec, alg key.Algorithm, n int) {
	k := testKey(b, spec)
	digest := make([]byte, n)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Sign(alg, digest); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkSignRSA2048(b *testing.B)    { benchSign(b, allSpecs[0], "RS256", 32) }
func BenchmarkSignRSA2048PSS(b *testing.B) { benchSign(b, allSpecs[0], "PS256", 32) }
func BenchmarkSignRSA4096(b *testing.B)    { benchSign(b, allSpecs[2], "RS256", 32) }
func BenchmarkSignP256(b *testing.B)       { benchSign(b, allSpecs[3], "ES256", 32) }
func BenchmarkSignP256K(b *testing.B)      { benchSign(b, allSpecs[9], "ES256K", 32) }
func BenchmarkSignP384(b *testing.B)       { benchSign(b, allSpecs[4], "ES384", 48) }
func BenchmarkSignP521(b *testing.B)       { benchSign(b, allSpecs[5], "ES512", 64) }
func BenchmarkSignHS256(b *testing.B)      { benchSign(b, allSpecs[8], "HS256", 32) }

func benchCipher(b *testing.B, spec key.Spec, alg key.Algorithm, size int) {
	k := testKey(b, spec)
	in := key.CipherInput{Value: make([]byte, size)}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.cipher(alg, key.UseEncrypt|key.UseWrap, in, body.encrypt); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkWrapAES256(b *testing.B)      { benchCipher(b, allSpecs[8], "A256KW", 32) }
func BenchmarkWrapAES256Pad(b *testing.B)   { benchCipher(b, allSpecs[8], "CKM_AES_KEY_WRAP_PAD", 32) }
func BenchmarkWrapRSA2048OAEP(b *testing.B) { benchCipher(b, allSpecs[0], "RSA-OAEP-256", 32) }
func BenchmarkEncryptGCM4KiB(b *testing.B)  { benchCipher(b, allSpecs[8], "A256GCM", 4096) }

func BenchmarkUnwrapRSA2048OAEP(b *testing.B) {
	k := testKey(b, allSpecs[0])
	c, err := k.Wrap("RSA-OAEP-256", key.CipherInput{Value: make([]byte, 32)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Unwrap("RSA-OAEP-256", key.CipherInput{Value: c.Value}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchParse(b *testing.B, spec key.Spec) {
	m := testKey(b, spec).Marshal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(spec, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRSA2048(b *testing.B) { benchParse(b, allSpecs[0]) }
func BenchmarkParseRSA4096(b *testing.B) { benchParse(b, allSpecs[2]) }
func BenchmarkParseP256(b *testing.B)    { benchParse(b, allSpecs[3]) }
func BenchmarkParseAES256(b *testing.B)  { benchParse(b, allSpecs[8]) }

func benchGenerate(b *testing.B, spec key.Spec) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := Generate(spec); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkGenerateRSA2048(b *testing.B) { benchGenerate(b, allSpecs[0]) }
func BenchmarkGenerateP256(b *testing.B)    { benchGenerate(b, allSpecs[3]) }
