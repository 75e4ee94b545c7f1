package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/client"
)

// evidence is some as a file, and as the answer of an HSM.
func evidence(t *testing.T, kind string) (file []byte, answer string) {
	t.Helper()
	e, _, err := someEvidence(kind)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(client.Attestation{Certificates: e.Certificates, Private: e.Private, Public: e.Public, Version: e.Version})
	if err != nil {
		t.Fatal(err)
	}
	return e.File(), strings.Replace(keyAnswer, `"attributes":{`, `"attributes":{"attestation":`+string(b)+",", 1)
}

func TestKeyGetAttestation(t *testing.T) {
	t.Parallel()
	rsa, rsaAnswer := evidence(t, "rsa")
	oct, octAnswer := evidence(t, "oct")
	w := &wire{routes: map[string]http.HandlerFunc{
		"GET " + keyHost + "/keys/rsa/attestation":   says(200, rsaAnswer),
		"GET " + keyHost + "/keys/oct/1/attestation": says(200, octAnswer),
		"GET " + keyHost + "/keys/k/attestation":     says(200, keyAnswer),
		"GET " + keyHost + "/keys/no/attestation":    says(404, `{"error":{"code":"KeyNotFound","message":"Key not found: no"}}`),
	}}
	r := run(t, w, nil, "key", "get-attestation", "--hsm-name", "contoso", "-n", "rsa")
	r.want(t, 0, `"version": "1.0"`, "Attestation root (SHA-256): 039c4023")
	var got bytes.Buffer
	if err := json.Compact(&got, []byte(r.out)); err != nil || got.String()+"\n" != string(rsa) {
		t.Errorf("%v %s", err, r.out)
	}
	path := filepath.Join(t.TempDir(), "oct.json")
	r = run(t, w, nil, "key", "get-attestation", "--id", "https://"+keyHost+"/keys/oct", "--version", "1", "--file", path)
	if b, err := os.ReadFile(path); r.code != 0 || r.out != "" || err != nil || !bytes.Equal(b, oct) {
		t.Errorf("%+v %v", r, err)
	}
	run(t, nil, nil, "key", "verify-attestation", "--attestation-file", path, "--domain-id", testRoot().DomainID()).want(t, 0, "made by an HSM of the security domain")
	run(t, &wire{}, nil, "key", "get-attestation", "--hsm-name", "contoso", "-n", "rsa", "-f", path).want(t, 1, "exists already")
	run(t, w, nil, "key", "get-attestation", "--hsm-name", "contoso", "-n", "k").want(t, 1, "the HSM gave none")
	run(t, w, nil, "key", "get-attestation", "--hsm-name", "contoso", "-n", "no").want(t, 3, "Key not found: no")
}

// TestVerifyAttestationOfAChangedFile: whichever byte of the file is changed, the exit code is 4 and nothing is claimed.
func TestVerifyAttestationOfAChangedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "e.json")
	good, _ := evidence(t, "rsa")
	for pos := 0; pos < len(good); pos += 1 + len(good)/1000 {
		b := bytes.Clone(good)
		b[pos] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := run(t, nil, nil, "key", "verify-attestation", "-f", path); r.code != exitNotGenuine || r.out != "" {
			t.Fatalf("byte %d: %+v", pos, r)
		}
	}
}
