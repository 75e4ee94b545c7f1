package material

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"redoubt/internal/key"
)

// RFC 3394, section 4.
var kwVectors = []struct{ name, alg, kek, plain, wrapped string }{
	{"4.1", "A128KW", "000102030405060708090A0B0C0D0E0F", "00112233445566778899AABBCCDDEEFF", "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"},
	{"4.2", "A192KW", "000102030405060708090A0B0C0D0E0F1011121314151617", "00112233445566778899AABBCCDDEEFF", "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"},
	{"4.3", "A256KW", "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF", "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"},
	{"4.4", "A192KW", "000102030405060708090A0B0C0D0E0F1011121314151617", "00112233445566778899AABBCCDDEEFF0001020304050607", "031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2"},
	{"4.5", "A256KW", "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF0001020304050607", "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1"},
	{"4.6", "A256KW", "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F", "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"},
	// RFC 5649, section 6.
	{"5649 20 bytes", "CKM_AES_KEY_WRAP_PAD", "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
	{"5649 7 bytes", "CKM_AES_KEY_WRAP_PAD", "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
}

func TestKeyWrapVectors(t *testing.T) {
	t.Parallel()
	for _, v := range kwVectors {
		k, plain, wrapped := octKey(t, v.kek), unhex(t, v.plain), unhex(t, v.wrapped)
		algs := []key.Algorithm{key.Algorithm(v.alg)}
		if v.alg != "CKM_AES_KEY_WRAP_PAD" {
			algs = append(algs, "CKM_AES_KEY_WRAP") // the same, under its PKCS #11 name
		}
		for _, alg := range algs {
			out, err := k.Wrap(alg, key.CipherInput{Value: plain})
			if err != nil || !bytes.Equal(out.Value, wrapped) {
				t.Errorf("%s %s: wrap: %x, %v", v.name, alg, out.Value, err)
			}
			out, err = k.Unwrap(alg, key.CipherInput{Value: wrapped})
			if err != nil || !bytes.Equal(out.Value, plain) {
				t.Errorf("%s %s: unwrap: %x, %v", v.name, alg, out.Value, err)
			}
		}
	}
}

// RFC 4231. Its keys are not of our sizes, so this goes below Sign.
func TestHMACVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		name, key, msg   string
		s256, s384, s512 string
	}{
		{
			"test case 1", "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
			"afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
			"87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
		},
		{
			"test case 2", "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
			"af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
			"164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
		},
	} {
		for alg, want := range map[key.Algorithm]string{"HS256": v.s256, "HS384": v.s384, "HS512": v.s512} {
			got, err := hmacSum(alg, unhex(t, v.key), unhex(t, v.msg))
			if err != nil || !bytes.Equal(got, unhex(t, want)) {
				t.Errorf("%s %s: %x, %v", v.name, alg, got, err)
			}
		}
	}
}

// RFC 6979, A.2.5 to A.2.7, message "sample": our nonces are random, so the vectors prove key reading and
// verification.
func TestECDSAVectors(t *testing.T) {
	t.Parallel()
	h256, h384, h512 := sha256.Sum256([]byte("sample")), sha512.Sum384([]byte("sample")), sha512.Sum512([]byte("sample"))
	for _, v := range []struct {
		curve        key.Curve
		alg          key.Algorithm
		digest       []byte
		d, x, y, sig string
	}{
		{
			key.P256, "ES256", h256[:], "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
			"60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6", "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
			"EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716" + "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
		},
		{
			key.P384, "ES384", h384[:], "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
			"EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13", "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720",
			"94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46" + "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
		},
		{
			key.P521, "ES512", h512[:], "00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466F6D8FBEC67DB89EC0C08B0E996B83538",
			"01894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD371123D46E45DB6B5D5370A7F20FB633155D38FFA16D2BD761DCAC474B9A2F5023A4", "00493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A28A0DB25741B5B34A828008B22ACC23F924FAAFBD4D33F81EA66956DFEAA2BFDFCF5",
			"00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA" + "00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A",
		},
	} {
		curve := map[key.Curve]elliptic.Curve{key.P256: elliptic.P256(), key.P384: elliptic.P384(), key.P521: elliptic.P521()}[v.curve]
		priv, err := ecdsa.ParseRawPrivateKey(curve, unhex(t, v.d))
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(priv)
		if err != nil {
			t.Fatal(err)
		}
		k, err := Parse(key.Spec{Type: key.EC, Curve: v.curve}, encoded(key.EC, der))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.Public().X, unhex(t, v.x)) || !bytes.Equal(k.Public().Y, unhex(t, v.y)) {
			t.Errorf("%s: public point %x", v.curve, k.Public())
		}
		if ok, err := k.Verify(v.alg, v.digest, unhex(t, v.sig)); !ok || err != nil {
			t.Errorf("%s: signature of the RFC: %v, %v", v.curve, ok, err)
		}
	}
}

// What OpenSSL made with the test keys (testdata/README.md).
func TestOpenSSLVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/openssl-rsa.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Key, Digest, Plain, Value, Bad string
		Alg                            key.Algorithm
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	keys := map[string]Key{}
	for _, v := range vectors {
		if keys[v.Key].h == nil {
			keys[v.Key] = pemKey(t, v.Key)
		}
		k, value := keys[v.Key], unhex(t, v.Value)
		if v.Plain != "" {
			out, err := k.Decrypt(v.Alg, key.CipherInput{Value: value})
			if v.Bad != "" {
				if err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
					t.Errorf("%s %s, %s: %v, want ErrCryptoFailed", v.Key, v.Alg, v.Bad, err)
				}
			} else if err != nil || !bytes.Equal(out.Value, unhex(t, v.Plain)) {
				t.Errorf("%s %s: %x, %v", v.Key, v.Alg, out.Value, err)
			}
			continue
		}
		digest := unhex(t, v.Digest)
		ok, err := k.Verify(v.Alg, digest, value)
		if err != nil || ok != (v.Bad == "") {
			t.Errorf("%s %s %s: verifies: %v, %v", v.Key, v.Alg, v.Bad, ok, err)
		}
		if v.Alg[0] == 'R' { // deterministic
			if sig, err := k.Sign(v.Alg, digest); err != nil || !bytes.Equal(sig, value) {
				t.Errorf("%s %s: another signature than OpenSSL's: %v", v.Key, v.Alg, err)
			}
		}
	}
	if len(vectors) != 33 {
		t.Errorf("%d vectors, want 33", len(vectors))
	}
}

// NIST SP 800-38A, F.2.1, F.2.3 and F.2.5.
func TestCBCVectors(t *testing.T) {
	t.Parallel()
	const plain = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
	iv := "000102030405060708090a0b0c0d0e0f"
	for alg, v := range map[key.Algorithm][2]string{
		"A128CBC": {"2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
		"A192CBC": {"8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
		"A256CBC": {"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
	} {
		k := octKey(t, v[0])
		out, err := k.Encrypt(alg, key.CipherInput{Value: unhex(t, plain), IV: unhex(t, iv)})
		if err != nil || !bytes.Equal(out.Value, unhex(t, v[1])) || !bytes.Equal(out.IV, unhex(t, iv)) {
			t.Errorf("%s: %x, %v", alg, out.Value, err)
		}
		out, err = k.Decrypt(alg, key.CipherInput{Value: unhex(t, v[1]), IV: unhex(t, iv)})
		if err != nil || !bytes.Equal(out.Value, unhex(t, plain)) {
			t.Errorf("%s back: %x, %v", alg, out.Value, err)
		}
		// The padded form of whole blocks begins with the same blocks.
		out, err = k.Encrypt(alg+"PAD", key.CipherInput{Value: unhex(t, plain), IV: unhex(t, iv)})
		if err != nil || len(out.Value) != 80 || !bytes.HasPrefix(out.Value, unhex(t, v[1])) {
			t.Errorf("%sPAD: %x, %v", alg, out.Value, err)
		}
	}
}

// The GCM specification's test cases 4, 10 and 16 (McGrew and Viega, appendix B), also in NIST's CAVS.
func TestGCMVectors(t *testing.T) {
	t.Parallel()
	const plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
	const iv, aad = "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2"
	for alg, v := range map[key.Algorithm][3]string{
		"A128GCM": {"feffe9928665731c6d6a8f9467308308", "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091", "5bc94fbc3221a5db94fae95ae7121a47"},
		"A192GCM": {"feffe9928665731c6d6a8f9467308308feffe9928665731c", "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710", "2519498e80f1478f37ba55bd6d27618c"},
		"A256GCM": {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662", "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		k := octKey(t, v[0])
		in := key.CipherInput{Value: unhex(t, v[1]), IV: unhex(t, iv), AAD: unhex(t, aad), Tag: unhex(t, v[2])}
		out, err := k.Decrypt(alg, in)
		if err != nil || !bytes.Equal(out.Value, unhex(t, plain)) {
			t.Errorf("%s: %x, %v", alg, out.Value, err)
		}
		for name, change := range map[string]func(*key.CipherInput){
			"value": func(in *key.CipherInput) { in.Value = flip(in.Value) }, "iv": func(in *key.CipherInput) { in.IV = flip(in.IV) },
			"aad": func(in *key.CipherInput) { in.AAD = flip(in.AAD) }, "tag": func(in *key.CipherInput) { in.Tag = flip(in.Tag) },
			"no aad": func(in *key.CipherInput) { in.AAD = nil }, "no value": func(in *key.CipherInput) { in.Value = nil },
		} {
			bad := in
			change(&bad)
			if _, err := k.Decrypt(alg, bad); err != key.ErrCryptoFailed { //nolint:errorlint // bare on purpose
				t.Errorf("%s with another %s: %v, want ErrCryptoFailed", alg, name, err)
			}
		}
		in.Tag = in.Tag[:12] // truncated tags are valid GCM, but not here
		if _, err := k.Decrypt(alg, in); !errors.Is(err, key.ErrBadParameter) {
			t.Errorf("%s with a short tag: %v", alg, err)
		}
	}
}

func flip(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)/2] ^= 0x40
	return c
}
