package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/securitydomain"
)

const vectors = "../securitydomain/testdata/vectors/"

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inString(t *testing.T, name string, value []byte) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{name: string(value)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const hsm = "contoso.managedhsm.azure.net"

func downloadArgs(file, quorum string) []string {
	return []string{"security-domain", "download", "--hsm-name", "Contoso", "--sd-wrapping-keys", vectors + "wrap_0.cer", vectors + "wrap_1.cer", vectors + "wrap_2.cer",
		"--sd-quorum", quorum, "--security-domain-file", file}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sd.json")
	want := read(t, vectors+"security_domain.json")
	w := &wire{}
	w.routes = map[string]http.HandlerFunc{
		"POST " + hsm + "/securitydomain/download": func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			certs, quorum, err := securitydomain.ParseDownloadRequest(b)
			if err != nil || quorum != 2 || len(certs) != 3 {
				t.Errorf("request: %d of %d, %v", quorum, len(certs), err)
			}
			answer(rw, 202, inString(t, "value", want))
		},
		"GET " + hsm + "/securitydomain/download/pending": func(rw http.ResponseWriter, _ *http.Request) {
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the file must be there before the HSM is told to activate: %v", err)
			}
			answer(rw, 200, `{"status":"Success","status_details":"activated"}`)
		},
	}
	run(t, w, nil, downloadArgs(file, "2")...).want(t, 0, `"status": "Success"`, `"statusDetails": "activated"`, "written to")
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	w.seen = nil
	run(t, w, nil, downloadArgs(file, "2")...).want(t, 1, "exists already")
	if len(w.seen) != 0 {
		t.Errorf("an existing file is found before anything is asked: %v", w.seen)
	}
}

func TestDownloadGoesWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		quorum, pending string
		code            int
		say             string
		kept            bool
	}{
		"quorum of the answer is another": {"3", `{"status":"Success"}`, 4, "not for the certificates and the quorum asked for", false},
		"failed":                          {"2", `{"status":"Failed","status_details":"store full"}`, 1, "store full", false},
		"state unknown":                   {"2", "", 1, "security-domain wait --hsm-name Contoso --target-operation download", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "sd.json")
			w := &wire{routes: map[string]http.HandlerFunc{
				"POST " + hsm + "/securitydomain/download": says(202, inString(t, "value", read(t, vectors+"security_domain.json"))),
				"GET " + hsm + "/securitydomain/download/pending": func(rw http.ResponseWriter, _ *http.Request) {
					if tc.pending == "" {
						answer(rw, 500, "")
						return
					}
					answer(rw, 200, tc.pending)
				}}}
			run(t, w, nil, downloadArgs(file, tc.quorum)...).want(t, tc.code, tc.say)
			if _, err := os.Stat(file); (err == nil) != tc.kept {
				t.Errorf("file: %v", err)
			}
		})
	}
}

func TestDownloadRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sd.json")
	cer := func(names ...string) []string {
		args := []string{"security-domain", "download", "--id", "https://" + hsm, "--sd-quorum", "2", "--security-domain-file", file, "--sd-wrapping-keys"}
		for _, n := range names {
			args = append(args, vectors+n)
		}
		return args
	}
	w := &wire{}
	run(t, w, nil, cer("wrap_0.cer", "wrap_1.cer")...).want(t, 1, "3")
	run(t, w, nil, cer("wrap_0.cer", "wrap_1.cer", "wrap_1.cer")...).want(t, 1, "3")
	run(t, w, nil, cer("wrap_0.cer", "wrap_1.cer", "../keys/rsa1024.cer")...).want(t, 1, "rsa1024.cer")
	run(t, w, nil, cer("wrap_0.cer", "wrap_1.cer", "../keys/ec.cer")...).want(t, 1, "ec.cer")
	run(t, w, nil, downloadArgs(file, "1")...).want(t, 1, "quorum")
	run(t, w, nil, downloadArgs(file, "4")...).want(t, 1, "quorum")
}

// exchange is what the HSM of these tests gives at init-recovery.
func exchange(t *testing.T) (*securitydomain.ExchangeKey, http.HandlerFunc) {
	t.Helper()
	x, err := securitydomain.NewExchangeKey("x", 1, 2_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return x, says(200, `{"key_format":"jwk",`+inString(t, "transfer_key", []byte(x.TransferKeyJSON()))[1:])
}

func TestInitRecovery(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sde.cer")
	x, give := exchange(t)
	w := &wire{routes: map[string]http.HandlerFunc{"GET " + hsm + "/securitydomain/upload": give}}
	args := []string{"security-domain", "init-recovery", "--hsm-name", "contoso", "--sd-exchange-key", file}
	run(t, w, nil, args...).want(t, 0, x.Fingerprint())
	if got := read(t, file); !bytes.Equal(got, x.CertificatePEM()) {
		t.Errorf("file:\n%s", got)
	}
	run(t, w, nil, args...).want(t, 1, "exists already")
}

func TestUpload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x, give := exchange(t)
	cert := filepath.Join(dir, "sde.cer")
	if err := os.WriteFile(cert, x.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blob.json")
	run(t, nil, nil, "security-domain", "restore-blob", "--sd-exchange-key", cert, "--sd-file", vectors+"../golden/security_domain.json", "--sd-wrapping-keys",
		vectors+"wrap_0.key", vectors+"wrap_1.key", "--sd-file-restore-blob", blob).want(t, 0)
	id := securitydomain.ReadDomainID(read(t, vectors+"../golden/security_domain.json"))
	other := "sd-" + strings.Repeat("0", 32)
	accepting := func(t *testing.T, report string) *wire {
		return &wire{routes: map[string]http.HandlerFunc{
			"GET " + hsm + "/securitydomain/upload": give,
			"POST " + hsm + "/securitydomain/upload": func(rw http.ResponseWriter, r *http.Request) {
				var body struct{ Value string }
				err := json.NewDecoder(r.Body).Decode(&body)
				if err == nil {
					_, err = securitydomain.Accept([]byte(body.Value), x, securitydomain.Tags())
				}
				if err != nil {
					t.Errorf("blob: %v", err)
				}
				answer(rw, 202, `{"status":"InProgress"}`)
			},
			"GET " + hsm + "/securitydomain/upload/pending": says(200, `{"status":"Success","status_details":"activated with security domain `+report+`; compare"}`)}}
	}
	base := []string{"security-domain", "upload", "--hsm-name", "Contoso", "--sd-file"}
	asBlob := append(base, blob, "--restore-blob")
	online := append(base, vectors+"../golden/security_domain.json", "--sd-exchange-key", cert, "--sd-wrapping-keys", vectors+"wrap_0.key", vectors+"wrap_2.key")

	run(t, accepting(t, id), nil, asBlob...).want(t, 0, `"status": "Success"`, id, x.Fingerprint())
	run(t, accepting(t, id), nil, append(asBlob, "--expect-domain", id)...).want(t, 0)
	run(t, accepting(t, other), nil, append(asBlob, "--expect-domain", id)...).want(t, 4, "not the expected security domain", "delete and purge")
	run(t, accepting(t, id), nil, append(online, "--expect-domain", id)...).want(t, 0, "share 3")
	w := accepting(t, id)
	run(t, w, nil, append(online, "--expect-domain", other)...).want(t, 4, "nothing was sent")
	run(t, w, nil, append(asBlob, "--expect-domain", "sd-12")...).want(t, 2, "not a domain id")
	run(t, w, nil, append(asBlob, "--expect-domain", id, "--no-wait")...).want(t, 2)
	run(t, w, nil, append(base, cert, "--restore-blob")...).want(t, 1, "not a restore blob")
	run(t, w, nil, append(base, blob)...).want(t, 2, "--sd-wrapping-keys")
	if len(w.seen) != 0 {
		t.Errorf("sent %v", w.seen)
	}
	_, give = exchange(t) // another HSM, or another recovery
	w = accepting(t, id)
	run(t, w, nil, asBlob...).want(t, 1, "for another exchange key", "nothing was sent", "init-recovery")
	if len(w.seen) != 1 {
		t.Errorf("sent %v", w.seen)
	}
}
