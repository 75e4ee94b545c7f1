package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// AzureCLI lets an installed, signed-in Azure CLI get the tokens: az account get-access-token. Nothing
// secret is on its argument list; the token comes back on its standard output.
type AzureCLI struct {
	Command      string // empty: az, as found on the PATH
	Subscription string // empty: az's current one
}

// Token implements Credential.
func (a AzureCLI) Token(ctx context.Context, resource string) (string, time.Time, error) {
	name := a.Command
	if name == "" {
		name = "az"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %s is not on the PATH", ErrSignIn, name)
	}
	args := []string{"account", "get-access-token", "--resource", resource, "--output", "json"}
	if a.Subscription != "" {
		args = append(args, "--subscription", a.Subscription)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := lastLine(stderr.String())
		if text == "" {
			text = err.Error()
		}
		return "", time.Time{}, fmt.Errorf("%w: az account get-access-token: %s", ErrSignIn, text)
	}
	return parseAzToken(stdout.Bytes())
}

func parseAzToken(out []byte) (string, time.Time, error) {
	var t struct {
		AccessToken string `json:"accessToken"`
		ExpiresOn   int64  `json:"expires_on"`
		LocalExpiry string `json:"expiresOn"` // older releases: local time only
	}
	if err := json.Unmarshal(out, &t); err != nil || t.AccessToken == "" {
		return "", time.Time{}, fmt.Errorf("%w: az account get-access-token printed something else than a token", ErrSignIn)
	}
	if t.ExpiresOn > 0 {
		return t.AccessToken, time.Unix(t.ExpiresOn, 0), nil
	}
	if at, err := time.ParseInLocation("2006-01-02 15:04:05.000000", t.LocalExpiry, time.Local); err == nil {
		return t.AccessToken, at, nil
	}
	return t.AccessToken, time.Now().Add(5 * time.Minute), nil
}

// lastLine is where az says what went wrong, after its warnings.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), "ERROR:"))
}

// First is a credential that uses the first of several that works, and stays with it.
type First struct {
	Of     []Credential
	chosen Credential
}

// Token implements Credential. It is not safe for concurrent use by itself: wrap it in NewCached.
func (f *First) Token(ctx context.Context, resource string) (string, time.Time, error) {
	if f.chosen != nil {
		return f.chosen.Token(ctx, resource)
	}
	var errs []error
	for _, c := range f.Of {
		token, expires, err := c.Token(ctx, resource)
		if err == nil {
			f.chosen = c
			return token, expires, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return "", time.Time{}, ErrNoCredential
	}
	return "", time.Time{}, errors.Join(errs...)
}
