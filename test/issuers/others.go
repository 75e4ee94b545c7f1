package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
)

// rest: az cannot sign in to Keycloak, but az rest sends what it is given.
func (s *scene) rest(ctx context.Context) error {
	token, _, err := credential{s, s.person("mia")}.Token(ctx, deviceAudience)
	if err != nil {
		return err
	}
	var list struct {
		Value []struct {
			ID string `json:"kid"`
		} `json:"value"`
	}
	url := "https://" + hsmName + "." + suffix
	if err := s.azure(ctx, s.proxy, s.ca, &list, "rest", "--url", url+"/keys?api-version=7.4", "--skip-authorization-header", "--headers", "Authorization=Bearer "+token); err != nil {
		return err
	}
	if len(list.Value) != 1 || list.Value[0].ID != url+"/keys/k" {
		return fmt.Errorf("az rest: %+v", list)
	}
	s.did("az rest lists the keys with a token of Keycloak")
	return nil
}

// redoubt: the operator's tool asks a program of the site for its tokens.
func (s *scene) redoubt(ctx context.Context) error {
	for name, want := range map[string]string{"mia": "https://" + hsmName + "." + suffix + "/keys/k/", "nora": "keys/read/action"} {
		c := exec.CommandContext(ctx, s.bin("redoubt"), "key", "show", "--hsm-name", hsmName, "--name", "k", "--query", "key.kid", "-o", "tsv")
		c.Env, c.Dir = s.environment("hsm", s.person(name)), s.dir
		out, err := c.CombinedOutput()
		if (err == nil) != (name == "mia") || !strings.Contains(string(out), want) {
			return fmt.Errorf("redoubt key show as %s: %v: %s", name, err, out)
		}
	}
	s.did("redoubt signs in by REDOUBT_TOKEN_COMMAND")
	return nil
}

// raw asks the HSM for its keys with a token.
func (s *scene) raw(ctx context.Context, token string, want int) error {
	h, err := trusting(s.ca, s.proxy)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+hsmName+"."+suffix+"/keys?api-version=7.4", nil)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+token)
	resp, err := h.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%d, want %d", resp.StatusCode, want)
	}
	return nil
}
