package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// TokenCommand lets a program of the site get the tokens, from an issuer that is not Entra ID. It is run with the
// resource as its last argument and prints an access token for it on standard output: the token alone, or the
// JSON of a token endpoint (RFC 6749, 5.1).
type TokenCommand struct {
	Command []string // program and first arguments
}

// unknownLifetime is how long a token is kept of which nobody has said when it expires.
const unknownLifetime = time.Minute

// Token implements Credential.
func (t TokenCommand) Token(ctx context.Context, resource string) (string, time.Time, error) {
	if len(t.Command) == 0 {
		return "", time.Time{}, fmt.Errorf("%w: there is no command", ErrNoCredential)
	}
	cmd := exec.CommandContext(ctx, t.Command[0], append(t.Command[1:len(t.Command):len(t.Command)], resource)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := lastLine(said.String())
		if text == "" {
			text = err.Error()
		}
		return "", time.Time{}, fmt.Errorf("%w: %s: %s", ErrSignIn, t.Command[0], text)
	}
	token, expires := strings.TrimSpace(out.String()), time.Now().Add(unknownLifetime)
	if strings.HasPrefix(token, "{") {
		var answer struct {
			Token    string `json:"access_token"`
			Lifetime int64  `json:"expires_in"`
		}
		if json.Unmarshal(out.Bytes(), &answer) != nil {
			answer.Token = ""
		}
		if token = answer.Token; answer.Lifetime > 0 && answer.Lifetime < 1<<31 {
			expires = time.Now().Add(time.Duration(answer.Lifetime) * time.Second)
		}
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", time.Time{}, fmt.Errorf("%w: %s printed something else than an access token", ErrSignIn, t.Command[0])
	}
	return token, expires, nil
}
