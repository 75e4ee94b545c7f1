package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"redoubt/internal/secret"
)

// wire answers requests in process; routes are "METHOD host/path".
type wire struct {
	t      *testing.T
	routes map[string]http.HandlerFunc
	seen   []string
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	route := r.Method + " " + r.URL.Host + r.URL.Path
	switch {
	case r.URL.Host == "login.microsoftonline.com":
		answer(rec, 200, `{"access_token":"tok","expires_in":3600}`)
	case strings.HasSuffix(r.URL.Host, ".managedhsm.azure.net") && r.Header.Get("Authorization") == "":
		rec.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/ten", resource="https://managedhsm.azure.net"`)
		rec.WriteHeader(http.StatusUnauthorized)
	case w.routes[route] == nil:
		w.t.Errorf("unexpected %s", route)
		rec.WriteHeader(http.StatusNotFound)
	default:
		w.seen = append(w.seen, route)
		w.routes[route](rec, r)
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

func answer(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, status, body) }
}

// result of one run of the tool.
type result struct {
	code     int
	out, err string
}

func run(t *testing.T, w *wire, env map[string]string, args ...string) result {
	t.Helper()
	return runWith(t, t.Context(), w, env, "", args...)
}

func runWith(t *testing.T, ctx context.Context, w *wire, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	all := map[string]string{"AZURE_TENANT_ID": "ten", "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "s3cret", "AZURE_SUBSCRIPTION_ID": "sub"}
	for k, v := range env {
		all[k] = v
	}
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(stdin), out: &out, err: &errs, getenv: func(n string) string { return all[n] }, now: time.Now,
		prompt: func(context.Context, string) (secret.Bytes, error) { return secret.Bytes{}, errNoTerminal }}
	if w != nil {
		w.t, a.http = t, &http.Client{Transport: w}
	}
	code := a.run(ctx, args)
	return result{code, out.String(), errs.String()}
}

func (r result) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, p := range parts {
		if !strings.Contains(r.out+r.err, p) {
			t.Errorf("%q is missing in\n%s%s", p, r.out, r.err)
		}
	}
	if strings.Contains(r.out+r.err, "s3cret") {
		t.Errorf("a secret was printed:\n%s%s", r.out, r.err)
	}
}
