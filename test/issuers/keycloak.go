package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"redoubt/test/internal/devcloud"
)

// keycloakVersion is the one that install puts into the cache folder, already built, with an empty database.
const keycloakVersion = "26.7.3"

// The people of the realm. Their ids are what roles are assigned to.
const (
	olivia = "0a000000-0000-4000-8000-000000000001" // owner of the subscription, administrator of the HSM
	mia    = "0a000000-0000-4000-8000-000000000002" // in /hsm/signers
	nora   = "0a000000-0000-4000-8000-000000000003" // in no group
)

// keycloak is a running server and its administrator.
type keycloak struct {
	*devcloud.Process
	http     *http.Client
	origin   string
	password string // of everybody
	token    string // the administrator's
	expires  time.Time
}

// startKeycloak starts the server on a copy of the empty database, and signs its administrator in.
func startKeycloak(ctx context.Context, cache, dir string, pair files, client *http.Client) (*keycloak, error) {
	home := filepath.Join(cache, "keycloak-"+keycloakVersion)
	empty, err := os.ReadFile(filepath.Join(home, "empty", "keycloakdb.mv.db"))
	if err != nil {
		return nil, fmt.Errorf("%w: run make clients first", err)
	}
	password, err := os.ReadFile(filepath.Join(home, "empty", "password"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "keycloakdb.mv.db"), empty, 0o600); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	k := &keycloak{http: client, origin: "https://localhost:" + port, password: strings.TrimSpace(string(password))}
	// Only the quick compiler: the server lives for a minute. What follows is as its own documentation has it for a
	// server behind no proxy.
	env := append(devcloud.CleanEnv(os.Environ()), "PATH="+os.Getenv("PATH"), "HOME="+dir, "JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1 -Djava.io.tmpdir="+dir)
	k.Process, err = devcloud.Start(ctx, "Keycloak", filepath.Join(dir, "keycloak.log"), env, func(l string) bool { return strings.Contains(l, ") started in ") },
		"bash", filepath.Join(home, "bin", "kc.sh"), "start", "--optimized", "--http-enabled=false", "--http-host=127.0.0.1", "--https-port="+port,
		"--https-certificate-file="+pair.cert, "--https-certificate-key-file="+pair.key, "--hostname="+k.origin, "--cache=local",
		"--db-url=jdbc:h2:file:"+filepath.Join(dir, "keycloakdb")+";NON_KEYWORDS=VALUE")
	return k, err
}

// issuer is the "iss" of a realm's tokens.
func (k *keycloak) issuer(realm string) string { return k.origin + "/realms/" + realm }

// grant asks a realm's token endpoint, as the programs do.
func (k *keycloak) grant(ctx context.Context, realm string, form url.Values) (token string, lifetime time.Duration, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, k.issuer(realm)+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var out struct {
		Token    string `json:"access_token"`
		Lifetime int    `json:"expires_in"`
		Error    string `json:"error_description"`
	}
	status, err := k.do(q, &out)
	if err == nil && (status != http.StatusOK || out.Token == "") {
		err = fmt.Errorf("no token: %d %s", status, out.Error)
	}
	return out.Token, time.Duration(out.Lifetime) * time.Second, err
}

// admin calls the Admin REST API.
func (k *keycloak) admin(ctx context.Context, method, path string, body, into any) error {
	if time.Now().After(k.expires) {
		token, lifetime, err := k.grant(ctx, "master", url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {k.password}})
		if err != nil {
			return fmt.Errorf("the administrator signs in: %w", err)
		}
		k.token, k.expires = token, time.Now().Add(lifetime/2)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, method, k.origin+"/admin/realms"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Authorization", "Bearer "+k.token)
	status, err := k.do(q, into)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: %d", method, path, status)
	}
	return err
}

func (k *keycloak) do(q *http.Request, into any) (int, error) {
	resp, err := k.http.Do(q)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || into == nil || len(b) == 0 {
		return resp.StatusCode, err
	}
	if err := json.Unmarshal(b, into); err != nil && resp.StatusCode/100 == 2 {
		return resp.StatusCode, fmt.Errorf("%s: %w", q.URL.Path, err)
	}
	return resp.StatusCode, nil
}

type object = map[string]any

// furnish makes the realm that docs/issuers.md describes. The server's own realm gets the same clients: nobody asked for
// its tokens.
func (k *keycloak) furnish(ctx context.Context) error {
	person := func(id, name string, groups ...string) object {
		return object{"id": id, "username": name, "enabled": true, "email": name + "@example.com", "emailVerified": true, "firstName": name, "lastName": "Example",
			"credentials": []object{{"type": "password", "value": k.password}}, "groups": groups}
	}
	mapper := func(name, kind string, config object) object {
		config["access.token.claim"] = "true"
		return object{"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config}
	}
	audience := func(url string) object {
		return mapper("audience", "oidc-audience-mapper", object{"included.custom.audience": url})
	}
	groups := mapper("groups", "oidc-group-membership-mapper", object{"claim.name": "groups", "full.path": "true"})
	var failed error
	post := func(path string, body object) {
		if failed == nil {
			failed = k.admin(ctx, http.MethodPost, path, body, nil)
		}
	}
	// Azure's SDKs ask for a new token from five minutes before the end of the old one on.
	post("", object{"realm": "hsm", "enabled": true, "accessTokenLifespan": 600, "groups": []object{{"name": "hsm", "subGroups": []object{{"name": "signers"}}}},
		"users": []object{person(olivia, "olivia"), person(mia, "mia", "/hsm/signers"), person(nora, "nora")}})
	scopes := map[string]string{"device": deviceAudience, "control": controlAudience}
	for _, realm := range []string{"hsm", "master"} {
		var names []string
		for name, url := range scopes {
			names = append(names, name)
			post("/"+realm+"/client-scopes", object{"name": name, "protocol": "openid-connect", "protocolMappers": []object{audience(url), groups}})
		}
		post("/"+realm+"/clients", object{"clientId": "people", "publicClient": true, "directAccessGrantsEnabled": true, "standardFlowEnabled": false,
			"defaultClientScopes": []string{"basic", "profile"}, "optionalClientScopes": names})
		post("/"+realm+"/clients", object{"clientId": "machine", "secret": k.password, "serviceAccountsEnabled": true, "standardFlowEnabled": false,
			"defaultClientScopes": []string{"basic", "service_account"}, "optionalClientScopes": names})
	}
	return failed
}

// join puts the service account of the client "machine" into a group, and returns its object id.
func (k *keycloak) join(ctx context.Context, group string) (string, error) {
	var clients []struct {
		ID string `json:"id"`
	}
	var account, found struct {
		ID string `json:"id"`
	}
	err := k.admin(ctx, http.MethodGet, "/hsm/clients?clientId=machine", nil, &clients)
	if err == nil && len(clients) != 1 {
		err = errors.New("the client machine is not there")
	}
	if err == nil {
		err = k.admin(ctx, http.MethodGet, "/hsm/clients/"+clients[0].ID+"/service-account-user", nil, &account)
	}
	if err == nil {
		err = k.admin(ctx, http.MethodGet, "/hsm/group-by-path"+group, nil, &found)
	}
	if err == nil {
		err = k.admin(ctx, http.MethodPut, "/hsm/users/"+account.ID+"/groups/"+found.ID, object{}, nil)
	}
	return account.ID, err
}

// rotate gives the realm a new signing key. With withdraw, the old ones are no longer published.
func (k *keycloak) rotate(ctx context.Context, name string, priority int, withdraw bool) error {
	type component struct {
		ID         string              `json:"id"`
		Name       string              `json:"name"`
		ProviderID string              `json:"providerId"`
		Type       string              `json:"providerType"`
		Config     map[string][]string `json:"config"`
		Parent     string              `json:"parentId"`
	}
	var realm struct {
		ID string `json:"id"`
	}
	const provider = "org.keycloak.keys.KeyProvider"
	var old []component
	err := errors.Join(k.admin(ctx, http.MethodGet, "/hsm", nil, &realm), k.admin(ctx, http.MethodGet, "/hsm/components?type="+provider, nil, &old))
	if err != nil {
		return err
	}
	err = k.admin(ctx, http.MethodPost, "/hsm/components", object{"name": name, "parentId": realm.ID, "providerId": "rsa-generated", "providerType": provider,
		"config": map[string][]string{"priority": {fmt.Sprint(priority)}, "enabled": {"true"}, "active": {"true"}, "algorithm": {"RS256"}, "keySize": {"2048"}}}, nil)
	for _, c := range old {
		if withdraw && c.ProviderID == "rsa-generated" {
			err = errors.Join(err, k.admin(ctx, http.MethodDelete, "/hsm/components/"+c.ID, nil, nil))
		}
	}
	return err
}

// disable ends a person's account.
func (k *keycloak) disable(ctx context.Context, id string) error {
	return k.admin(ctx, http.MethodPut, "/hsm/users/"+id, object{"enabled": false}, nil)
}
