package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestNoCredentialIsWritten: of passwords, secrets, assertions and tokens that clients send to the dev cloud's sign-in, right or
// wrong, nothing is in an audit file or in the server's log.
func TestNoCredentialIsWritten(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	s := start(t, DevConfig{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	s.create("one")
	n := 0
	canary := func() string { n++; return fmt.Sprintf("canary%dcanary", n) }
	user, client := s.environ("AZURE_USERNAME"), s.environ("AZURE_CLIENT_ID")
	const azCLI, assertionType = "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	refused := 0
	for _, form := range [][]string{
		{"grant_type", "password", "client_id", azCLI, "username", user, "password", canary()},
		{"grant_type", "password", "client_id", azCLI, "username", canary(), "password", canary()},
		{"grant_type", "client_credentials", "client_id", client, "client_secret", canary()},
		{"grant_type", "client_credentials", "client_id", client, "client_assertion_type", assertionType, "client_assertion", canary() + "." + canary() + "." + canary()},
		{"grant_type", "refresh_token", "client_id", azCLI, "refresh_token", canary()},
		{"grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", azCLI, "device_code", canary()},
		{"grant_type", "authorization_code", "client_id", azCLI, "code", canary(), "code_verifier", canary()},
		{"grant_type", canary(), "client_id", canary()},
	} {
		if a := s.ask(form...); a["error"] != nil {
			refused++
		}
	}
	if refused < 8 {
		t.Errorf("%d sign-ins were refused", refused)
	}
	right := s.ask("grant_type", "client_credentials", "client_id", client, "client_secret", s.environ("AZURE_CLIENT_SECRET"))
	token, _ := right["access_token"].(string)
	if token == "" {
		t.Fatalf("%v", right)
	}
	secrets := []string{"canary", token, s.environ("AZURE_CLIENT_SECRET"), s.environ("AZURE_PASSWORD")}
	dir := s.cfg.Dir
	s.stop()
	files, err := filepath.Glob(filepath.Join(dir, "data", "audit", "*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	look := func(what string, b []byte) {
		for _, secret := range secrets {
			if i := bytes.Index(b, []byte(secret)); secret != "" && i >= 0 {
				t.Errorf("%s has a secret: ...%s", what, b[max(0, i-200):min(len(b), i+60)])
			}
		}
	}
	for _, f := range files {
		look(f, must[[]byte](t)(os.ReadFile(f)))
	}
	look("the log", []byte(log.String()))
}
