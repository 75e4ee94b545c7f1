package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupStart(t *testing.T) {
	t.Parallel()
	const sas = "sv=2021&sig=t0psecret"
	dir := t.TempDir()
	file := filepath.Join(dir, "sas")
	if err := os.WriteFile(file, []byte("?"+sas+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	w := &wire{routes: map[string]http.HandlerFunc{
		"POST " + hsm + "/backup": func(rw http.ResponseWriter, r *http.Request) {
			body = nil
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			rw.Header().Set("Azure-AsyncOperation", "https://"+hsm+"/backup/j1/pending")
			answer(rw, 202, `{"jobId":"j1","status":"Succeeded","azureStorageBlobContainerUri":"https://contosobackup.blob.core.windows.net/c/mhsm-Contoso-1"}`)
		}}}
	base := []string{"backup", "start", "--hsm-name", "Contoso", "--storage-account-name", "ContosoBackup", "--blob-container-name", "c"}
	for name, tc := range map[string]struct {
		env   map[string]string
		stdin string
		args  []string
	}{
		"flag":     {args: []string{"--storage-container-SAS-token", sas}},
		"short":    {args: []string{"-t", sas}},
		"file":     {args: []string{"--storage-container-sas-token-file", file}},
		"stdin":    {stdin: sas + "\n", args: []string{"--storage-container-sas-token-file", "-"}},
		"variable": {env: map[string]string{sasVariable: sas}},
	} {
		r := runWith(t, t.Context(), w, tc.env, tc.stdin, append(base, tc.args...)...)
		r.want(t, 0, `"folderUrl": "https://contosobackup.blob.core.windows.net/c/mhsm-Contoso-1"`, `"status": "Succeeded"`)
		if body["token"] != sas || body["storageResourceUri"] != "https://ContosoBackup.blob.core.windows.net/c" {
			t.Errorf("%s: body %v", name, body)
		}
		if strings.Contains(r.out+r.err, "t0psecret") {
			t.Errorf("%s: the SAS token was printed", name)
		}
	}
	for _, args := range [][]string{{"--use-managed-identity", "true"}, {"--use-managed-identity"}} {
		run(t, w, nil, append(base, args...)...).want(t, 0)
		if body["useManagedIdentity"] != true || body["token"] != nil {
			t.Errorf("body %v", body)
		}
	}
	run(t, w, nil, append(base, "--use-managed-identity", "false")...).want(t, 2, "a SAS token is needed")
	run(t, w, nil, append(base, "--use-managed-identity", "true", "-t", sas)...).want(t, 2, "exclude each other")
	run(t, w, nil, append(base, "-t", "https://x/?sig=y")...).want(t, 2, "whole URL")
	run(t, w, nil, append(base, "-u", "https://x/c", "-t", sas)...).want(t, 2, "stands instead")
	run(t, w, nil, "backup", "start", "--hsm-name", "Contoso", "-t", sas).want(t, 2, "--storage-account-name")
	run(t, w, nil, "backup", "start", "-t", sas).want(t, 2, "hsm-name")
}

func TestRestoreStart(t *testing.T) {
	t.Parallel()
	w := &wire{routes: map[string]http.HandlerFunc{
		"PUT " + hsm + "/restore":        says(202, `{"jobId":"j","status":"Failed","error":{"code":"NoRestorePoint","message":"Run az keyvault backup start first."}}`),
		"PUT " + hsm + "/keys/k/restore": says(202, `{"jobId":"j","status":"Succeeded","statusDetails":"1 key","startTime":1,"endTime":2}`),
	}}
	base := []string{"restore", "start", "--hsm-name", "Contoso", "-u", "https://a.blob.core.windows.net/c", "--use-managed-identity", "true", "--backup-folder", "f"}
	run(t, w, nil, base...).want(t, 1, "(NoRestorePoint) Run az keyvault backup start first.")
	for _, flag := range []string{"--key-name", "--key"} {
		run(t, w, nil, append(base, flag, "k", "-o", "table")...).want(t, 0, "Succeeded", "1 key")
	}
}
