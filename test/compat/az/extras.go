package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// extras are random, get-attestation and get-policy-template.
func (s *session) extras() {
	var random struct{ Value []byte }
	s.json(&random, "keyvault", "key", "random", "--hsm-name", s.hsm, "--count", "33")
	equal(len(random.Value), 33, "random bytes")
	s.refusedKey("BadParameter", "random", "--count", "129")
	var template struct{ Version string }
	s.json(&template, "keyvault", "key", "get-policy-template")
	equal(template.Version, "1.0.0", "version of the policy template")
	step("random bytes, and the template of a release policy")
	s.attestation()
}

// attestation fetches the evidence of a key on the terminal and into a file.
func (s *session) attestation() {
	n := s.name("attested")
	s.key(nil, "create", "--name", n, "--kty", "EC-HSM", "--curve", "P-256")
	type evidence struct {
		CertificatePemFile, PrivateKeyAttestation, PublicKeyAttestation []byte
		Version                                                         string
	}
	var printed, filed evidence
	s.key(&printed, "get-attestation", "--name", n)
	file := s.file("attestation.json")
	s.key(nil, "get-attestation", "--name", n, "--file", file)
	fatal(json.Unmarshal(must(os.ReadFile(file)), &filed))
	for _, e := range []evidence{printed, filed} {
		want(strings.Contains(string(e.CertificatePemFile), "BEGIN CERTIFICATE") && len(e.PrivateKeyAttestation) > 0 && len(e.PublicKeyAttestation) > 0 && e.Version != "", "attestation %+v", e)
	}
	s.refusedKey("already exists", "get-attestation", "--name", n, "--file", file)
	out, err := s.program(filepath.Join(env("REDOUBT_COMPAT_BIN"), "redoubt"), "key", "verify-attestation", "--attestation-file", file).CombinedOutput()
	want(err == nil && strings.Contains(string(out), "/keys/"+n+"/"), "redoubt key verify-attestation: %v\n%s", err, out)
	step("the attestation of a key, printed, filed, and verified by redoubt")
}
