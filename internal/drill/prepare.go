package drill

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"redoubt/internal/client"
)

// requestTime bounds one request. Making an RSA-4096 key while others are made takes longest.
const requestTime = 3 * time.Minute

// pollEvery is the pause between two looks at a job: short, so that the measured times are the job's own.
const pollEvery = 50 * time.Millisecond

// retentionDays of both HSMs: the scheduled purge dates of deleted keys depend on it.
const retentionDays = 7

// principal is somebody who sends requests.
type principal struct {
	name string // how messages call it
	id   string // object id
	*client.Client
}

// prepare starts the cloud and makes what stands around an HSM.
func (d *drill) prepare(ctx context.Context) error {
	if err := d.step("start", "start a dev cloud", func(s *step) error { return d.startCloud(ctx, s) }); err != nil {
		return err
	}
	if err := d.step("sign-in", "sign in as a person and as a service principal", func(s *step) error { return d.signIn(ctx, s) }); err != nil {
		return err
	}
	return d.step("surroundings", "resource group, storage account, container, managed identities", func(s *step) error { return d.surroundings(ctx, s) })
}

func (d *drill) startCloud(ctx context.Context, s *step) error {
	cloud, err := d.o.Start(ctx, d.cloudDir())
	if err != nil {
		return err
	}
	d.cloud = cloud
	if d.http, err = httpClient(cloud.Env); err != nil {
		return err
	}
	s.note("proxy %s", cloud.Env("HTTPS_PROXY"))
	return nil
}

// httpClient goes through the cloud's proxy and trusts its authority alone. It is shared by all principals:
// connections are kept, tokens travel per request.
func httpClient(env func(string) string) (*http.Client, error) {
	proxy, err := url.Parse(env("HTTPS_PROXY"))
	if err != nil || proxy.Host == "" {
		return nil, errors.New("the dev cloud names no proxy in HTTPS_PROXY")
	}
	pem, err := os.ReadFile(env("SSL_CERT_FILE"))
	if err != nil {
		return nil, fmt.Errorf("the dev cloud's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the dev cloud's authority: no certificate in the file that SSL_CERT_FILE names")
	}
	through := func(r *http.Request) (*url.URL, error) { // as HTTPS_PROXY means it; the identity endpoint is plain http on loopback
		if r.URL.Scheme != "https" {
			return nil, nil
		}
		return proxy, nil
	}
	return &http.Client{Timeout: requestTime, Transport: &http.Transport{Proxy: through,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 2 * workers, IdleConnTimeout: time.Minute}}, nil
}

// principal signs somebody in; the object id comes from the token.
func (d *drill) principal(ctx context.Context, name string, cred client.Credential) (principal, error) {
	c, err := client.New(client.Config{HTTP: d.http, Credential: client.NewCached(cred), Subscription: d.cloud.Env("AZURE_SUBSCRIPTION_ID"),
		Tenant: d.cloud.Env("AZURE_TENANT_ID"), PollEvery: pollEvery})
	if err != nil {
		return principal{}, err
	}
	token, _, err := cred.Token(ctx, client.DefaultResourceManager)
	if err != nil {
		return principal{}, fmt.Errorf("sign in as %s: %w", name, err)
	}
	id, err := objectID(token)
	return principal{name, id, c}, err
}

// objectID reads the claim oid of an access token. The token is not verified: it was just given to us, and
// only its own issuer's services will believe it.
func objectID(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the access token is not a JWT")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("the access token's claims: %w", err)
	}
	var claims struct {
		OID string `json:"oid"`
	}
	if err := json.Unmarshal(b, &claims); err != nil || claims.OID == "" {
		return "", errors.New("the access token has no oid")
	}
	return claims.OID, nil
}

func (d *drill) signIn(ctx context.Context, s *step) (err error) {
	env := d.cloud.Env
	d.person, err = d.principal(ctx, "the person", client.UserPassword{HTTP: d.http, Tenant: env("AZURE_TENANT_ID"), Username: env("AZURE_USERNAME"),
		Password: func() string { return env("AZURE_PASSWORD") }})
	if err != nil {
		return err
	}
	d.application, err = d.principal(ctx, "the service principal", client.ClientSecret{HTTP: d.http, Tenant: env("AZURE_TENANT_ID"), ClientID: env("AZURE_CLIENT_ID"),
		Secret: func() string { return env("AZURE_CLIENT_SECRET") }})
	if err != nil {
		return err
	}
	me, err := d.person.Me(ctx)
	if err != nil {
		return err
	}
	if me.ID != d.person.id {
		return fmt.Errorf("the directory says that the person is %s, the access token that it is %s", me.ID, d.person.id)
	}
	s.note("%s and %s", me.UPN, env("AZURE_CLIENT_ID"))
	return nil
}

func (d *drill) surroundings(ctx context.Context, s *step) error {
	me := d.person
	if _, err := me.PutResourceGroup(ctx, resourceGroup, sourceRegion); err != nil {
		return err
	}
	account, err := me.PutStorageAccount(ctx, resourceGroup, storageAccount, rebuiltRegion)
	if err != nil {
		return err
	}
	identities := map[string]client.ManagedIdentityResource{}
	for _, name := range []string{"drill-backup", "drill-signer", "drill-stranger"} {
		if identities[name], err = me.PutManagedIdentity(ctx, resourceGroup, name, sourceRegion); err != nil {
			return err
		}
	}
	d.backupID = identities["drill-backup"]
	for id, kind := range map[string]string{d.backupID.PrincipalID: "ServicePrincipal", me.id: "User"} {
		if _, err := me.AssignRole(ctx, account.ID, client.StorageBlobDataContributor, id, kind); err != nil {
			return err
		}
	}
	if err := me.CreateContainer(ctx, storageAccount, container); err != nil {
		return err
	}
	if d.signer, err = d.identity(ctx, "the identity with a custom role", identities["drill-signer"]); err != nil {
		return err
	}
	if d.stranger, err = d.identity(ctx, "the identity without a role", identities["drill-stranger"]); err != nil {
		return err
	}
	s.note("%s, Storage Blob Data Contributor for %s", me.ContainerURL(storageAccount, container), d.backupID.Name)
	return nil
}

// identity signs in as a program that runs with a managed identity.
func (d *drill) identity(ctx context.Context, name string, mi client.ManagedIdentityResource) (principal, error) {
	env := d.cloud.Env
	return d.principal(ctx, name, client.ManagedIdentity{HTTP: d.http, Endpoint: env("IDENTITY_ENDPOINT"), ClientID: mi.ClientID,
		Header: func() string { return env("IDENTITY_HEADER") }})
}

// createHSM makes an HSM with the backup identity attached and returns its data plane and its traces.
func (d *drill) createHSM(ctx context.Context, name, region string) (*client.HSM, Device, error) {
	m, err := d.person.CreateHSM(ctx, resourceGroup, name, client.CreateHSM{Location: region, Administrators: []string{d.person.id},
		RetentionDays: retentionDays, Identities: []string{d.backupID.ID}})
	if err != nil {
		return nil, Device{}, err
	}
	h, err := d.person.HSM(m.URI)
	if err != nil {
		return nil, Device{}, err
	}
	dev, err := d.cloud.Device(name)
	return h, dev, err
}

// as is the same HSM in the hands of somebody else.
func (p principal) as(h *client.HSM) *client.HSM {
	other, err := p.HSM(h.URL())
	if err != nil {
		panic("drill: an HSM's own URL is refused: " + err.Error()) // it was accepted once
	}
	return other
}

// storage is the container of all backups, used with the identity attached to the HSM.
func (d *drill) storage() client.Storage {
	return client.Storage{URI: d.person.ContainerURL(storageAccount, container), ManagedIdentity: true}
}
