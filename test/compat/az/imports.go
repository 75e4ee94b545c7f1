package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// elsewhere is a private key that openssl made.
type elsewhere struct {
	name, crv string
	generate  []string // openssl's arguments
	alg       string   // to sign with
}

var elsewheres = []elsewhere{
	{"rsa", "", []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "PS256"},
	{"p256", "P-256", []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "ES256"},
	{"p384", "P-384", []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, "ES384"},
	{"p521", "P-521", []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"}, "ES512"},
	{"p256k", "P-256K", []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, "ES256K"},
}

// generate makes the key, and returns the files of the private and the public part.
func (s *session) generate(e elsewhere, prefix string) (private, public string) {
	private, public = s.file(prefix+e.name+".key"), s.file(prefix+e.name+".pub")
	s.openssl(append(slices.Clone(e.generate), "-out", private)...)
	s.openssl("pkey", "-in", private, "-pubout", "-out", public)
	return private, public
}

// isThat proves that a key of the HSM is the one whose public part is in a file.
func (s *session) isThat(name, public, alg string) {
	digest := digestOf(alg, text)
	want(s.opensslVerifies(public, alg, digest, s.sign(name, alg, digest)), "%s: the signature does not verify under the key that was imported", name)
}

// imports is import of PEM in its forms: as a file, encrypted, in the older format, and as a string.
func (s *session) imports() {
	for i, e := range elsewheres {
		n := s.name("import-" + e.name)
		private, public := s.generate(e, "import-")
		args := []string{"--name", n, "--tags", "from=openssl"}
		switch i {
		case 0: // encrypted
			s.openssl("pkcs8", "-topk8", "-in", private, "-out", private+".enc", "-v2", "aes-256-cbc", "-passout", "pass:correct horse")
			s.refusedKey("mport failed", "import", "--name", n, "--pem-file", private+".enc", "--pem-password", "wrong")
			args = append(args, "--pem-file", private+".enc", "--pem-password", "correct horse")
		case 1: // a string, with attributes
			args = append(args, "--pem-string", string(must(os.ReadFile(private))), "--protection", "hsm", "--ops", "sign", "verify", "--expires", "2041-01-01T00:00:00Z")
		case 2: // the format of RFC 5915
			s.openssl("ec", "-in", private, "-out", private+".sec1")
			args = append(args, "--pem-file", private+".sec1")
		default:
			args = append(args, "--pem-file", private)
		}
		var b bundle
		s.key(&b, "import", args...)
		s.check(&b, n, map[bool]string{true: "RSA-HSM", false: "EC-HSM"}[e.crv == ""])
		want(b.Key.Crv == e.crv && b.Tags["from"] == "openssl", "%s: imported as %+v", n, b)
		s.isThat(n, public, e.alg)
	}
	var b bundle
	s.key(&b, "show", "--name", s.prefix+"import-p256")
	want(b.Attributes.Expires != nil && len(b.Key.KeyOps) == 2, "the imported key is %+v", b)
	fatal(os.WriteFile(s.file("sealed-import"), nil, 0o600))
	fatal(os.WriteFile(s.file("plain-import"), text, 0o600))
	s.openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", s.file("import-rsa.pub"), "-in", s.file("plain-import"), "-out", s.file("sealed-import"),
		"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256")
	equal(string(s.decrypt(s.prefix+"import-rsa", "RSA-OAEP-256", encrypted{Result: must(os.ReadFile(s.file("sealed-import")))})), string(text), "what was encrypted before the import")
	weak := s.file("weak.key")
	s.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", weak)
	s.refusedKey("BadParameter", "import", "--name", s.prefix+"nobody", "--pem-file", weak)
	step("imported RSA and EC keys from PEM files and a string, encrypted and not; openssl verifies their signatures")
}

// transfer is import of key transfer blobs (BYOK), made by openssl alone, as the tool of another HSM would, and by redoubt.
func (s *session) transfer() {
	kek := s.name("kek")
	var k bundle
	s.key(&k, "create", "--name", kek, "--kty", "RSA-HSM", "--size", "3072", "--ops", "import")
	kekFile := s.file("kek.pem")
	s.key(nil, "download", "--name", kek, "--file", kekFile)
	for _, e := range elsewheres[:2] {
		n := s.name("transfer-" + e.name)
		private, public := s.generate(e, "transfer-")
		s.openssl("pkcs8", "-topk8", "-nocrypt", "-in", private, "-outform", "DER", "-out", private+".der")
		blob := s.blob(k.Key.Kid, kekFile, private+".der")
		args := []string{"--name", n, "--kty", "RSA"}
		if e.crv != "" {
			args = []string{"--name", n, "--kty", "EC", "--curve", e.crv}
		}
		if e.crv == "" {
			fatal(os.WriteFile(s.file("transfer.byok"), blob, 0o600))
			args = append(args, "--byok-file", s.file("transfer.byok"))
		} else {
			args = append(args, "--byok-string", string(blob))
		}
		var b bundle
		s.key(&b, "import", args...)
		s.check(&b, n, map[bool]string{true: "RSA-HSM", false: "EC-HSM"}[e.crv == ""])
		s.isThat(n, public, e.alg)
	}
	s.refusedKey("BadParameter", "import", "--name", s.prefix+"nobody", "--kty", "RSA", "--byok-string", `{"schema_version":"1.0.0"}`)
	step("imported keys from transfer blobs that openssl made")
	s.madeByRedoubt(k.Key.Kid, kekFile)
}

// blob makes a transfer blob: the target under a fresh AES key (RFC 5649), the AES key under the KEK (RSA-OAEP with SHA-1).
func (s *session) blob(kid, kek, target string) []byte {
	aes := s.file("aes.bin")
	s.openssl("rand", "-out", aes, "32")
	s.openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", kek, "-in", aes, "-out", aes+".wrapped", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1", "-pkeyopt", "rsa_mgf1_md:sha1")
	hex := strings.TrimSpace(string(s.openssl("enc", "-base64", "-A", "-in", aes)))
	key := must(base64.StdEncoding.DecodeString(hex))
	s.openssl("enc", "-id-aes256-wrap-pad", "-e", "-K", hexOf(key), "-iv", "A65959A6", "-in", target, "-out", target+".wrapped")
	ciphertext := append(must(os.ReadFile(aes+".wrapped")), must(os.ReadFile(target+".wrapped"))...)
	return must(json.Marshal(map[string]any{"schema_version": "1.0.0", "header": map[string]string{"kid": kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
		"ciphertext": base64.RawURLEncoding.EncodeToString(ciphertext), "generator": "openssl"}))
}

// madeByRedoubt imports what `redoubt key make-byok` makes, offline, of a PEM file and of the bytes of an oct key.
func (s *session) madeByRedoubt(kid, kek string) {
	wrap := func(file string, target ...string) {
		out, err := s.program(filepath.Join(env("REDOUBT_COMPAT_BIN"), "redoubt"), append([]string{"key", "make-byok", "--kek-file", kek, "--kid", kid, "--byok-file", file}, target...)...).CombinedOutput()
		want(err == nil, "redoubt key make-byok: %v\n%s", err, out)
	}
	for _, e := range elsewheres[2:] {
		n := s.name("byok-" + e.name)
		private, public := s.generate(e, "byok-")
		wrap(s.file(n), "--pem-file", private)
		s.key(nil, "import", "--name", n, "--kty", "EC", "--curve", e.crv, "--byok-file", s.file(n))
		s.isThat(n, public, e.alg)
	}
	n, bytes := s.name("byok-oct"), s.file("oct.bin")
	s.openssl("rand", "-out", bytes, "32")
	wrap(s.file(n), "--oct-file", bytes)
	s.key(nil, "import", "--name", n, "--kty", "oct", "--byok-file", s.file(n))
	digest := digestOf("HS256", text)
	mac := hmac.New(sha256.New, must(os.ReadFile(bytes)))
	mac.Write(digest)
	equal(string(s.sign(n, "HS256", digest)), string(mac.Sum(nil)), "HMAC with the key that was brought in")
	step("imported keys from transfer blobs that redoubt key make-byok made")
}
