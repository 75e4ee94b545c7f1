package cli

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/client"
	"redoubt/internal/key"
	"redoubt/internal/material"
)

const (
	keyHost   = "contoso.managedhsm.azure.net"
	keyAnswer = `{"key":{"kid":"https://contoso.managedhsm.azure.net/keys/k/0123456789abcdef0123456789abcdef","kty":"EC-HSM","key_ops":["sign"],"crv":"P-256","x":"AQ","y":"Ag"},` +
		`"attributes":{"enabled":true,"created":1767323045,"updated":1767323045,"recoveryLevel":"Recoverable","recoverableDays":90,"exportable":false}}`
	deletedAnswer = `{"key":{"kid":"https://contoso.managedhsm.azure.net/keys/k/0123456789abcdef0123456789abcdef","kty":"EC-HSM","key_ops":["sign"]},"attributes":{"enabled":true},` +
		`"recoveryId":"https://contoso.managedhsm.azure.net/deletedkeys/k","deletedDate":1767323045,"scheduledPurgeDate":1769742245}`
)

// body keeps what was sent and answers.
func body(into *map[string]any, status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil && len(b) > 0 {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			status = http.StatusTeapot
		}
		answer(w, status, text)
	}
}

func writeFile(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKeyImport: the members that go over the wire are those of the key in the file.
func TestKeyImport(t *testing.T) {
	t.Parallel()
	sent := map[string]any{}
	w := &wire{routes: map[string]http.HandlerFunc{"PUT " + keyHost + "/keys/k": body(&sent, 200, keyAnswer)}}
	text, err := os.ReadFile(filepath.Join("..", "securitydomain", "testdata", "keys", "ec-pkcs8.key"))
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "ec.pem", text)
	run(t, w, nil, "key", "import", "--hsm-name", "contoso", "--name", "k", "--pem-file", file, "--ops", "sign", "verify", "--tags", "a=b", "--disabled", "--expires", "2030-01-01T00:00:00Z").
		want(t, 0, `"kid": "https://contoso.managedhsm.azure.net/keys/k/`)
	block, _ := pem.Decode(text)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	d, err := k.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk, _ := sent["key"].(map[string]any)
	if jwk["kty"] != "EC-HSM" || jwk["d"] != client.Encode(d) || jwk["x"] == "" || jwk["n"] != nil || len(jwk["key_ops"].([]any)) != 2 || sent["Hsm"] != true {
		t.Errorf("sent %v", sent)
	}
	if at, _ := sent["attributes"].(map[string]any); at["enabled"] != false || at["exp"] != 1893456000.0 || sent["tags"].(map[string]any)["a"] != "b" {
		t.Errorf("sent %v", sent)
	}

	for _, f := range []string{"pkcs1.key", "pkcs8-scrypt.key"} { // RSA, and under a password
		clear(sent)
		args := []string{"key", "import", "--id", "https://" + keyHost + "/keys/k", "--pem-file", filepath.Join("..", "securitydomain", "testdata", "keys", f)}
		if f != "pkcs1.key" {
			run(t, w, nil, args...).want(t, exitFailed, "is encrypted", "--pem-password-file")
			args = append(args, "--pem-password-file", writeFile(t, "password", []byte("correct-horse\n")))
		}
		run(t, w, nil, args...).want(t, 0)
		jwk, _ := sent["key"].(map[string]any)
		for _, m := range []string{"n", "e", "d", "p", "q", "dp", "dq", "qi"} {
			if s, _ := jwk[m].(string); s == "" {
				t.Errorf("%s: %s was not sent", f, m)
			}
		}
	}

	clear(sent)
	run(t, w, nil, "key", "import", "--hsm-name", "contoso", "--name", "k", "--pem-file", file, "--exportable", "true", "--policy", `{"version":"1.0.0"}`).want(t, 0)
	if at, _ := sent["attributes"].(map[string]any); at["exportable"] != true || sent["release_policy"].(map[string]any)["data"] != client.Encode([]byte(`{"version":"1.0.0"}`)) {
		t.Errorf("sent %v", sent)
	}

	clear(sent)
	blob := writeFile(t, "k.byok", []byte(`{"schema_version":"1.0.0"}`))
	run(t, w, nil, "key", "import", "--hsm-name", "contoso", "--name", "k", "--byok-file", blob, "--kty", "EC-HSM", "--curve", "P-384").want(t, 0)
	jwk, _ = sent["key"].(map[string]any)
	if jwk["kty"] != "EC-HSM" || jwk["crv"] != "P-384" || jwk["key_hsm"] != base64.RawURLEncoding.EncodeToString([]byte(`{"schema_version":"1.0.0"}`)) || jwk["d"] != nil {
		t.Errorf("sent %v", jwk)
	}
	for args, part := range map[string]string{
		"":                                          "pem-file byok-file byok-string",
		"--byok-file " + blob + " --kty EC":         "--curve goes with --kty EC",
		"--byok-file " + blob + " --curve P-256":    "--curve goes with --kty EC",
		"--byok-file " + blob + " --kty OKP":        "use RSA, EC or oct",
		"--byok-file " + blob + " --pem-password x": "transfer files have none",
		"--pem-file " + file + " --curve P-256":     "says itself",
		"--pem-file " + file + " --byok-file x":     "none of the others can be",
		"--pem-file " + file + " -p software":       "use hsm",
	} {
		all := append([]string{"key", "import", "--hsm-name", "contoso", "--name", "k"}, strings.Fields(args)...)
		run(t, &wire{}, nil, all...).want(t, exitUsage, part)
	}
	run(t, &wire{}, nil, "key", "import", "--hsm-name", "contoso", "--name", "k", "--pem-file", writeFile(t, "x.pem", []byte("x"))).want(t, exitFailed, "no PEM private key")
}

// TestPrivateKeysDoNotPrint, whatever the verb.
func TestPrivateKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	k, err := material.Generate(key.Spec{Type: key.Oct, Bits: 128})
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := privateJWK(k)
	if err != nil || len(jwk.K) != 16 {
		t.Fatal(err)
	}
	p := client.ImportKey{Key: jwk}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := strings.ToLower(fmt.Sprintf(verb, p) + fmt.Sprintf(verb, jwk)); strings.Count(text, "private oct-hsm key") != 2 {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	jwk.Wipe()
	if string(jwk.K) != strings.Repeat("\x00", 16) {
		t.Error("not wiped")
	}
}

// TestKeyBackupAndRestore: the file holds what the HSM gave out, and that goes back.
func TestKeyBackupAndRestore(t *testing.T) {
	t.Parallel()
	sent := map[string]any{}
	w := &wire{routes: map[string]http.HandlerFunc{"POST " + keyHost + "/keys/k/backup": says(200, `{"value":"UkRLQgE_"}`),
		"POST " + keyHost + "/keys/restore": body(&sent, 200, keyAnswer), "POST " + keyHost + "/keys/none/backup": says(404, `{"error":{"code":"KeyNotFound","message":"Key not found: none"}}`)}}
	file := filepath.Join(t.TempDir(), "k.backup")
	run(t, w, nil, "key", "backup", "--hsm-name", "contoso", "--name", "k", "--file", file).want(t, 0, "6 bytes", "redoubt key restore")
	if b, err := os.ReadFile(file); err != nil || string(b) != "RDKB\x01?" {
		t.Errorf("%q, %v", b, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	run(t, &wire{}, nil, "key", "backup", "--hsm-name", "contoso", "--name", "k", "-f", file).want(t, exitFailed, "exists already")
	run(t, w, nil, "key", "backup", "--hsm-name", "contoso", "--name", "none", "-f", file+"2").want(t, exitNotFound, "Key not found: none")
	if _, err := os.Stat(file + "2"); err == nil {
		t.Error("a failed backup left a file")
	}
	run(t, w, nil, "key", "restore", "--hsm-name", "contoso", "-f", file).want(t, 0, `"crv": "P-256"`)
	if sent["value"] != "UkRLQgE_" {
		t.Errorf("sent %v", sent)
	}
	run(t, &wire{}, nil, "key", "restore", "--hsm-name", "contoso", "--name", "k", "-f", file).want(t, exitUsage, "the file says itself")
	run(t, &wire{}, nil, "key", "restore", "--hsm-name", "contoso", "-f", file, "--backup-folder", "x").want(t, exitUsage)
	run(t, &wire{}, nil, "key", "restore", "--hsm-name", "contoso").want(t, exitUsage)
	run(t, &wire{}, nil, "key", "restore", "--hsm-name", "contoso", "--backup-folder", "x", "-u", "https://s.blob.core.windows.net/c").want(t, exitUsage, "--name is needed")
	run(t, &wire{}, nil, "key", "restore", "--hsm-name", "contoso", "-f", file+"3").want(t, exitFailed, "Check the path")
}

// TestKeyRestoreFromStorage is a selective restore, as az key restore starts one.
func TestKeyRestoreFromStorage(t *testing.T) {
	t.Parallel()
	sent := map[string]any{}
	job := `{"jobId":"j","status":"Succeeded","startTime":1,"endTime":2}`
	w := &wire{routes: map[string]http.HandlerFunc{"PUT " + keyHost + "/keys/k/restore": func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Azure-AsyncOperation", "https://"+keyHost+"/restore/j/pending")
		body(&sent, 202, strings.Replace(job, "Succeeded", "InProgress", 1))(rw, r)
	}, "GET " + keyHost + "/restore/j/pending": says(200, job)}}
	run(t, w, nil, "key", "restore", "--hsm-name", "contoso", "--name", "k", "--backup-folder", "mhsm-x-1", "--storage-account-name", "s", "--blob-container-name", "c", "-t", "sv=1&sig=x").
		want(t, 0, `"status": "Succeeded"`)
	if sent["folder"] != "mhsm-x-1" {
		t.Errorf("sent %v", sent)
	}
}

// TestKeyDownload writes what other programs read, also for the curve that the standard library does not know.
func TestKeyDownload(t *testing.T) {
	t.Parallel()
	for _, spec := range []key.Spec{{Type: key.RSA, Bits: 2048}, {Type: key.EC, Curve: key.P256}, {Type: key.EC, Curve: key.P521}} {
		k, err := material.Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		pub := k.Public()
		doc, err := json.Marshal(client.Key{Key: client.JWK{Kid: "https://h/keys/k/1", Kty: string(spec.Type), Crv: string(spec.Curve), N: pub.N, E: pub.E, X: pub.X, Y: pub.Y}})
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{routes: map[string]http.HandlerFunc{"GET " + keyHost + "/keys/k": says(200, string(doc)), "GET " + keyHost + "/keys/k/7": says(200, string(doc))}}
		file := filepath.Join(t.TempDir(), "k")
		run(t, w, nil, "key", "download", "--hsm-name", "contoso", "--name", "k", "-f", file+".pem").want(t, 0, "SHA-256 ")
		run(t, w, nil, "key", "download", "--id", "https://"+keyHost+"/keys/k/7", "-f", file+".der", "-e", "der").want(t, 0)
		run(t, &wire{}, nil, "key", "download", "--hsm-name", "contoso", "--name", "k", "-f", file+".der").want(t, exitFailed, "exists already")
		der, err := os.ReadFile(file + ".der")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(text); block == nil || block.Type != "PUBLIC KEY" || string(block.Bytes) != string(der) {
			t.Errorf("%s: %s", spec, text)
		}
		parsed, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := x509.MarshalPKIXPublicKey(parsed); err != nil || string(again) != string(der) {
			t.Errorf("%s: %v", spec, err)
		}
	}
	// P-256K, byte for byte: the generator (SEC 2, 2.4.1) in the form of RFC 5480.
	der, err := publicDER(client.JWK{Kty: "EC-HSM", Crv: "P-256K", X: make([]byte, 32), Y: make([]byte, 32)})
	if want := "3056301006072a8648ce3d020106052b8104000a034200" + "04" + strings.Repeat("00", 64); err != nil || fmt.Sprintf("%x", der) != want {
		t.Errorf("%x, %v", der, err)
	}
	w := &wire{routes: map[string]http.HandlerFunc{"GET " + keyHost + "/keys/o": says(200, `{"key":{"kid":"x","kty":"oct-HSM"},"attributes":{}}`)}}
	run(t, w, nil, "key", "download", "--hsm-name", "contoso", "--name", "o", "-f", filepath.Join(t.TempDir(), "o")).want(t, exitFailed, "oct-HSM key has no public part")
	run(t, &wire{}, nil, "key", "download", "--hsm-name", "contoso", "--name", "o", "-f", "x", "-e", "JWK").want(t, exitUsage, "use PEM or DER")
}

// TestKeyLife: delete, show, list, recover, purge; ids of deleted keys are taken too.
func TestKeyLife(t *testing.T) {
	t.Parallel()
	sent := map[string]any{}
	item := `{"value":[{"kid":"https://contoso.managedhsm.azure.net/keys/k","attributes":{"enabled":true},"recoveryId":"https://contoso.managedhsm.azure.net/deletedkeys/k","deletedDate":1767323045}]}`
	w := &wire{routes: map[string]http.HandlerFunc{
		"DELETE " + keyHost + "/keys/k": says(200, deletedAnswer), "GET " + keyHost + "/deletedkeys/k": says(200, deletedAnswer), "GET " + keyHost + "/deletedkeys": says(200, item),
		"POST " + keyHost + "/deletedkeys/k/recover": says(200, keyAnswer), "DELETE " + keyHost + "/deletedkeys/k": says(204, ""),
		"PATCH " + keyHost + "/keys/k": body(&sent, 200, keyAnswer), "PATCH " + keyHost + "/keys/k/7": body(&sent, 200, keyAnswer)}}
	at := []string{"--hsm-name", "contoso", "--name", "k"}
	id := []string{"--id", "https://" + keyHost + "/deletedKeys/k"}
	verb := func(name string, args ...string) result {
		return run(t, w, nil, append([]string{"key", name}, args...)...)
	}
	verb("delete", at...).want(t, 0, `"scheduledPurgeDate": "2026-01-30T03:04:05+00:00"`)
	verb("show-deleted", id...).want(t, 0, `"recoveryId": "https://contoso.managedhsm.azure.net/deletedkeys/k"`)
	verb("list-deleted", "--hsm-name", "contoso", "--query", "[0].name", "-o", "tsv").want(t, 0, "k\n")
	verb("recover", id...).want(t, 0, `"crv": "P-256"`)
	verb("purge", at...).want(t, 0, "k is purged.")

	verb("set-attributes", append(at, "--enabled", "false", "--ops", "sign", "--tags", "a=b")...).want(t, 0)
	if at, _ := sent["attributes"].(map[string]any); at["enabled"] != false || sent["tags"].(map[string]any)["a"] != "b" || len(sent["key_ops"].([]any)) != 1 {
		t.Errorf("sent %v", sent)
	}
	clear(sent)
	verb("set-attributes", append(at, "--version", "7", "--tags", "", "--not-before", "2030-01-01")...).want(t, 0)
	if tags, ok := sent["tags"].(map[string]any); !ok || len(tags) != 0 || sent["key_ops"] != nil {
		t.Errorf("sent %v", sent)
	}
	if at, _ := sent["attributes"].(map[string]any); at["nbf"] != 1893456000.0 || at["enabled"] != nil {
		t.Errorf("sent %v", sent)
	}
	policy := writeFile(t, "policy.json", []byte(`{"version":"1.0.0"}`))
	verb("set-attributes", append(at, "--policy", policy, "--immutable")...).want(t, 0)
	if p, _ := sent["release_policy"].(map[string]any); p["data"] != client.Encode([]byte(`{"version":"1.0.0"}`)) || p["immutable"] != true {
		t.Errorf("sent %v", sent)
	}
	verb("set-attributes", append(at, "--immutable", "true")...).want(t, exitUsage, "goes with --policy")
	verb("set-attributes", append(at, "--policy", writeFile(t, "text", []byte("x")))...).want(t, exitFailed, "is not JSON")
	verb("set-attributes", append(at, "--enabled=perhaps")...).want(t, exitUsage, "use true or false")
	verb("set-attributes", append(at, "--enabled", "perhaps")...).want(t, exitUsage)
	verb("purge", "--id", "https://"+keyHost+"/secrets/k").want(t, exitUsage, "not the URL of a key")
}
