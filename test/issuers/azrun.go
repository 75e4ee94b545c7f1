package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"redoubt/internal/client"
	"redoubt/test/internal/devcloud"
)

// The storage account of the site, which lives in the dev cloud.
const (
	account, container = "sitebackup", "backups"
	blobContributor    = "ba92f5b4-2d11-453d-a403-e96b0029c9fe" // who makes the container
)

// errand is what the steps of the az run use.
type errand struct {
	*run
	dev    *devcloud.Process
	site   *site
	proxy  *proxy
	env    map[string]string // of the dev cloud
	bundle string            // authorities of both
	person string            // object id
	owner  *client.Client    // the dev cloud's person, at the dev cloud
	key    string            // of its storage account
}

// az is the run with the genuine Azure CLI: it signs in to the issuer of a dev cloud, whose tokens have Entra ID's
// shape, and drives a redoubtd serve that trusts that issuer and has nothing else of it.
func (r *run) az(ctx context.Context) (err error) {
	e := &errand{run: r}
	defer func() {
		if err != nil && e.site != nil {
			err = fmt.Errorf("%w\nend of the server's log:\n%s", err, e.site.Tail())
		}
		stopped := []error{e.proxy.stop(), e.dev.Stop()}
		if e.site != nil {
			stopped = append(stopped, e.site.Stop())
		}
		err = errors.Join(append(stopped, err)...)
	}()
	if err := e.begin(ctx); err != nil {
		return err
	}
	return e.drive(ctx)
}

// begin starts the dev cloud and the site that trusts its issuer.
func (e *errand) begin(ctx context.Context) error {
	pair, ca, err := e.certificates("localhost", controlHost, "*."+suffix)
	if err != nil {
		return err
	}
	cloud := e.path("cloud")
	if e.dev, err = devcloud.StartDev(ctx, e.bin("redoubtd"), cloud, e.path("dev.log"), "--token-resource", deviceAudience, "--token-resource", controlAudience); err != nil {
		return err
	}
	if e.env, err = devcloud.Environ(ctx, cloud); err != nil {
		return err
	}
	if e.bundle, err = e.join(ca, e.env["SSL_CERT_FILE"]); err != nil {
		return err
	}
	if e.person, err = e.me(ctx); err != nil {
		return err
	}
	if err := e.storage(ctx); err != nil {
		return err
	}
	origin, tenant := e.env["REDOUBT_RESOURCE_MANAGER"], e.env["AZURE_TENANT_ID"]
	e.site, err = e.startSite(ctx, pair, e.bundle, tenant, e.person, origin+"/adfs", fmt.Sprintf(`graph-url = %q
[[issuers]]
url = %q
jwks = %q
algorithms = ["RS256"]
[storage]
suffixes = [%q]
allow-ranges = ["127.0.0.0/8"]
[storage.addresses]
"%s.blob.core.localhost" = "127.0.0.1"
`, origin+"/graph/", "https://sts.windows.net/"+tenant+"/", origin+"/"+tenant+"/discovery/keys", ".blob.core.localhost:"+e.env["REDOUBT_RESOURCE_MANAGER"][len("https://localhost:"):], account))
	if err != nil {
		return err
	}
	dev := strings.TrimPrefix(origin, "https://")
	e.proxy, err = startProxy(ctx, func(hostport string) string {
		switch {
		case isSite(hostport):
			return e.site.address
		case hostport == dev:
			return "127.0.0.1" + dev[strings.Index(dev, ":"):]
		}
		return ""
	})
	e.did("redoubtd serve trusts the issuer of a dev cloud")
	return err
}

// storage makes a storage account with a container in the dev cloud, which is also the storage of this site.
func (e *errand) storage(ctx context.Context) error {
	if _, err := e.owner.PutResourceGroup(ctx, "g", "westus3"); err != nil {
		return err
	}
	made, err := e.owner.PutStorageAccount(ctx, "g", account, "westus3")
	if err != nil {
		return err
	}
	if _, err := e.owner.AssignRole(ctx, made.ID, blobContributor, e.person, "User"); err != nil {
		return err
	}
	keys, err := e.owner.StorageKeys(ctx, "g", account)
	if err != nil {
		return err
	}
	e.key = keys[0]
	return e.owner.CreateContainer(ctx, account, container)
}

// join writes a file of both authorities.
func (e *errand) join(files ...string) (string, error) {
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		all = append(all, b...)
	}
	return e.path("bundle.pem"), os.WriteFile(e.path("bundle.pem"), all, 0o600)
}

// me is the object id of the dev cloud's person.
func (e *errand) me(ctx context.Context) (string, error) {
	get := func(name string) string { return e.env[name] }
	h, err := devcloud.Browser(get)
	if err != nil {
		return "", err
	}
	conf, err := client.FromEnvironment(func(name string) string {
		if name == "REDOUBT_AUTH" {
			return client.AuthPassword
		}
		return get(name)
	}, h)
	if err != nil {
		return "", err
	}
	if e.owner, err = client.New(conf); err != nil {
		return "", err
	}
	me, err := e.owner.Me(ctx)
	return me.ID, err
}

// cli runs az.
func (e *errand) cli(ctx context.Context, into any, args ...string) error {
	return e.azure(ctx, e.proxy, e.bundle, into, args...)
}

// download is the command that takes the security domain, with certificates that are made for it.
func (e *errand) download(hsm string) ([]string, error) {
	holders, err := devcloud.Holders(3)
	if err != nil {
		return nil, err
	}
	out := []string{"keyvault", "security-domain", "download", "--hsm-name", hsm, "--sd-quorum", "2", "--security-domain-file", e.path("domain.json"), "--sd-wrapping-keys"}
	for i, h := range holders {
		name := e.path(fmt.Sprintf("holder%d.cer", i))
		if err := os.WriteFile(name, h.Certificate.PEM(), 0o600); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// drive registers the cloud, signs in, makes and activates an HSM, and uses it.
func (e *errand) drive(ctx context.Context) error {
	const hsm = "az-hsm"
	download, err := e.download(hsm)
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(digest)
	if err != nil {
		return err
	}
	text := base64.StdEncoding.EncodeToString(raw)
	var signed struct {
		Signature string `json:"signature"`
	}
	for _, step := range []struct {
		into any
		args []string
	}{
		{nil, []string{"cloud", "register", "-n", "Site", "--endpoint-resource-manager", controlAudience}},
		{nil, []string{"cloud", "set", "-n", "Site"}},
		{nil, []string{"login", "-u", e.env["AZURE_USERNAME"], "-p", e.env["AZURE_PASSWORD"]}},
		{nil, []string{"group", "create", "-n", "g", "-l", "westus3"}},
		{nil, []string{"keyvault", "create", "--hsm-name", hsm, "-g", "g", "-l", "westus3", "--administrators", e.person, "--retention-days", "7"}},
		{nil, download},
		{nil, []string{"keyvault", "role", "assignment", "create", "--hsm-name", hsm, "--role", "Managed HSM Crypto User", "--assignee-object-id", e.person, "--scope", "/"}},
		{nil, []string{"keyvault", "key", "create", "--hsm-name", hsm, "-n", "k", "--kty", "EC-HSM", "--curve", "P-256"}},
		{&signed, []string{"keyvault", "key", "sign", "--hsm-name", hsm, "-n", "k", "--algorithm", "ES256", "--digest", text}},
	} {
		if err := e.cli(ctx, step.into, step.args...); err != nil {
			return err
		}
		e.did("az %s", strings.Join(step.args[:min(3, len(step.args))], " "))
	}
	if err := e.backup(ctx, hsm); err != nil {
		return err
	}
	var verified struct {
		Valid bool `json:"isValid"`
	}
	if err := e.cli(ctx, &verified, "keyvault", "key", "verify", "--hsm-name", hsm, "-n", "k", "--algorithm", "ES256", "--digest", text, "--signature", signed.Signature); err != nil {
		return err
	}
	if !verified.Valid {
		return errors.New("az key verify: the signature is not valid")
	}
	return e.other(ctx, hsm)
}

// backup makes a full backup with a SAS token that az has made, and restores it.
func (e *errand) backup(ctx context.Context, hsm string) error {
	var sas string
	err := e.cli(ctx, &sas, "storage", "container", "generate-sas", "--account-name", account, "--account-key", e.key, "--name", container, "--permissions", "crdwl",
		"--expiry", time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04Z"))
	if err != nil {
		return err
	}
	var made struct {
		Folder string `json:"folderUrl"`
	}
	at := []string{"--hsm-name", hsm, "--storage-account-name", account, "--blob-container-name", container, "--storage-container-SAS-token", sas}
	if err := e.cli(ctx, &made, append([]string{"keyvault", "backup", "start"}, at...)...); err != nil {
		return err
	}
	folder := made.Folder[strings.LastIndex(made.Folder, "/")+1:]
	if !strings.HasPrefix(folder, "mhsm-"+hsm+"-") {
		return fmt.Errorf("az keyvault backup start: %+v", made)
	}
	if err := e.cli(ctx, nil, append([]string{"keyvault", "restore", "start", "--backup-folder", folder}, at...)...); err != nil {
		return err
	}
	e.did("az keyvault backup start and restore start, with a SAS token")
	return nil
}

// other looks at the list of HSMs, and shows the token for the site to the dev cloud.
func (e *errand) other(ctx context.Context, hsm string) error {
	var list []struct {
		Name string `json:"name"`
	}
	if err := e.cli(ctx, &list, "keyvault", "list", "--resource-type", "hsm"); err != nil {
		return err
	}
	if len(list) != 1 || list[0].Name != hsm {
		return fmt.Errorf("az keyvault list: %+v", list)
	}
	e.did("az keyvault key verify and list: %s is the only HSM, and signs", hsm)
	// The same token is no good at the dev cloud: it was made for the site.
	h, err := trusting(e.bundle, e.proxy)
	if err != nil {
		return err
	}
	var token struct {
		Token string `json:"accessToken"`
	}
	if err := e.cli(ctx, &token, "account", "get-access-token", "--resource", controlAudience); err != nil {
		return err
	}
	for origin, want := range map[string]int{controlAudience: http.StatusOK, e.env["REDOUBT_RESOURCE_MANAGER"]: http.StatusUnauthorized} {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/subscriptions?api-version=2022-12-01", nil)
		if err != nil {
			return err
		}
		q.Header.Set("Authorization", "Bearer "+token.Token)
		resp, err := h.Do(q)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			return fmt.Errorf("a token for the site at %s: %d, want %d", origin, resp.StatusCode, want)
		}
	}
	e.did("its token is good at redoubtd serve, and not at the dev cloud")
	return nil
}
