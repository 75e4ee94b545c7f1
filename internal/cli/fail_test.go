package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/secret"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	list := []string{"key", "list", "--hsm-name", "contoso"}
	refusing := &wire{routes: map[string]http.HandlerFunc{"GET " + hsm + "/keys": says(403, `{"error":{"code":"Forbidden","message":"Not active.\nDownload it.\u001b[2J","innererror":{"code":"NotActivated"}}}`)}}
	run(t, refusing, nil, list...).want(t, 1, "(Forbidden/NotActivated) Not active. Download it.")
	run(t, &wire{}, map[string]string{"AZURE_TENANT_ID": ""}, list...).want(t, 1, "AZURE_TENANT_ID", "az login")
	run(t, &wire{}, nil, append(list, "--auth", "magic")...).want(t, 1, "magic")
	run(t, &wire{}, nil, "key", "list", "--hsm-name", "a.b").want(t, 1, "not a managed HSM name")
	elsewhere := &wire{routes: map[string]http.HandlerFunc{"GET contoso.example.com/keys": says(200, "<html>")}}
	run(t, elsewhere, nil, "key", "list", "--hsm-name", "contoso", "--suffix", "example.com").want(t, 1, "did not ask for a sign-in", "--suffix")
	unknown := &wire{routes: map[string]http.HandlerFunc{"GET contoso.example.com/keys": says(404, `{"error":{"code":"ResourceNotFound","message":"no such HSM"}}`)}}
	run(t, unknown, nil, "key", "list", "--hsm-name", "contoso", "--suffix", "example.com").want(t, 3, "(ResourceNotFound) no such HSM")
	denied := &wire{routes: map[string]http.HandlerFunc{"GET " + hsm + "/keys": says(403, `{"error":{"code":"AccessDenied","message":"Not authorized."}}`)}}
	run(t, denied, nil, list...).want(t, 1, "(AccessDenied) Not authorized.", "--auth az asks as az login does")
	run(t, &wire{}, nil).want(t, 0, "Available Commands")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runWith(t, ctx, &wire{routes: map[string]http.HandlerFunc{"GET " + hsm + "/keys": says(200, "{}")}}, nil, "", list...).want(t, 130, "interrupted")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now, http: &http.Client{Transport: broken{}},
		getenv: func(n string) string {
			return map[string]string{"AZURE_CLIENT_ID": "a", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": "s3cret"}[n]
		}}
	if code := a.run(t.Context(), []string{"security-domain", "upload", "--hsm-name", "contoso", "--sd-file", vectors + "restore_blob.json", "--restore-blob"}); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if s := errs.String(); !strings.Contains(s, "cannot reach the service") || !strings.Contains(s, "HTTPS_PROXY") || strings.Contains(s, "https://") {
		t.Errorf("%s", s)
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, fs.ErrClosed }

func TestPrompts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	make := func(answers ...string) (int, string) {
		var out, errs bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(string) string { return "" }, now: time.Now, prompt: func(context.Context, string) (secret.Bytes, error) {
			if len(answers) == 0 {
				return secret.Bytes{}, errors.New("asked too often")
			}
			s := answers[0]
			answers = answers[1:]
			return secret.New([]byte(s)), nil
		}}
		return a.run(t.Context(), []string{"security-domain", "keygen", "--bits", "2048", "--directory", dir}), errs.String()
	}
	if code, text := make("a", "a", "b", "c"); code != 1 || !strings.Contains(text, "differ") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := make("", ""); code != 1 || !strings.Contains(text, "empty") {
		t.Errorf("%d %s", code, text)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if code, text := make("a", "a", "b", "b", "c", "c"); code != 0 {
		t.Errorf("%d %s", code, text)
	}
	r := run(t, nil, nil, "security-domain", "restore-blob", "--sd-exchange-key", vectors+"exchange.cer", "--sd-file", vectors+"security_domain.json", "--sd-wrapping-keys",
		vectors+"wrap_0.key", vectors+"wrap_1.key", "--sd-file-restore-blob", filepath.Join(dir, "blob"))
	r.want(t, 0)
}
