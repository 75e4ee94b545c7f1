package client

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTokenCommand(t *testing.T) {
	t.Parallel()
	sh := func(script string) TokenCommand { return TokenCommand{[]string{"sh", "-c", script, "sh"}} }
	for name, c := range map[string]struct {
		of    TokenCommand
		token string
		lives time.Duration
		says  string // of the error
	}{
		"a token":          {sh(`echo "a.b.c"`), "a.b.c", time.Minute, ""},
		"for the resource": {sh(`printf %s "$1"`), "https://managedhsm.example.com", time.Minute, ""},
		"an answer":        {sh(`echo '{"access_token":"a.b.c","expires_in":600,"token_type":"Bearer"}'`), "a.b.c", 10 * time.Minute, ""},
		"no lifetime":      {sh(`echo '{"access_token":"a.b.c"}'`), "a.b.c", time.Minute, ""},
		"an error":         {sh(`echo '{"error":"invalid_grant"}'`), "", 0, "something else"},
		"half an answer":   {sh(`echo '{"access_token":"a.b.c"'`), "", 0, "something else"},
		"nothing":          {sh(`:`), "", 0, "something else"},
		"two lines":        {sh(`echo a; echo b`), "", 0, "something else"},
		"it fails":         {sh(`echo 'secret'; echo 'first'; echo 'wrong password' >&2; exit 3`), "", 0, "wrong password"},
		"it is not there":  {TokenCommand{[]string{"/nowhere/token"}}, "", 0, "/nowhere/token"},
		"it is not named":  {TokenCommand{}, "", 0, "no command"},
	} {
		token, expires, err := c.of.Token(t.Context(), "https://managedhsm.example.com")
		if token != c.token || (err == nil) != (c.says == "") {
			t.Errorf("%s: %q, %v", name, token, err)
			continue
		}
		if err != nil {
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") || !errors.Is(err, ErrSignIn) && !errors.Is(err, ErrNoCredential) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if left := time.Until(expires); left > c.lives || left < c.lives-30*time.Second {
			t.Errorf("%s: it lives for %s", name, left)
		}
	}
}
