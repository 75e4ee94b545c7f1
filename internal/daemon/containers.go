package daemon

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"

	"redoubt/internal/api/storage"
	"redoubt/internal/authn"
	"redoubt/internal/blob"
	"redoubt/internal/blob/azblob"
	"redoubt/internal/cloud"
	"redoubt/internal/hsm"
	"redoubt/internal/rbac"
)

// storageAudience is what a managed identity's token for blobs is made for.
const storageAudience = "https://storage.azure.com"

// openContainer opens the storage that a backup or restore names. In a dev cloud every connection goes to
// the cloud's own listener, whatever the name resolves to: nothing dials outward.
func (d *Dev) openContainer(_ context.Context, r hsm.ContainerRequest) (blob.Container, error) {
	target, err := blob.ParseTarget(r.URI, d.blobPolicy())
	if err != nil {
		return nil, err
	}
	o := azblob.Options{Transport: d.blobs}
	switch {
	case r.SAS != nil:
		sas, err := azblob.ParseSAS(r.SAS())
		if err != nil {
			return nil, err
		}
		if err := sas.Check(time.Now(), r.Need); err != nil {
			return nil, err
		}
		o.SAS = sas.Text
	case len(r.Identities) == 0:
		return nil, fmt.Errorf("%w: no user-assigned managed identity is attached to the HSM; attach one with az keyvault update-hsm --mi-user-assigned, or give a SAS token", blob.ErrBadCredential)
	default:
		o.Token = d.identityToken(r.Identities[0])
	}
	return azblob.Open(target, o)
}

func (d *Dev) blobPolicy() blob.Policy {
	return blob.Policy{Suffixes: []string{azureBlobs, ".blob.core." + d.cfg.Suffix + ":" + d.names.port}}
}

// openBlobs makes the one transport that all jobs share.
func (d *Dev) openBlobs() {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", d.tlsAddr.String())
	}
	d.blobs = azblob.NewTransport(d.blobPolicy(), &tls.Config{RootCAs: d.ca.pool(), MinVersion: tls.VersionTLS12}, dial)
	d.closers = append(d.closers, func() error {
		d.blobs.CloseIdleConnections()
		return nil
	})
}

// identityToken mints storage tokens for a managed identity, as the platform does for a real HSM.
func (d *Dev) identityToken(resourceID string) azblob.TokenSource {
	return func(ctx context.Context) (string, time.Time, error) {
		mi, err := d.cloud.ManagedIdentity(ctx, resourceID)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("%w: the managed identity %s does not exist", blob.ErrBadCredential, resourceID)
		}
		return d.issuer.Mint(ctx, rbac.Principal{ID: mi.PrincipalID, AppID: mi.ClientID, Tenant: d.account.Tenant.ID}, storageAudience, nil)
	}
}

// Account implements storage.Accounts.
func (d *Dev) Account(name string) (storage.Account, bool) {
	a, err := d.cloud.StorageAccount(context.Background(), name) // a look-up in the embedded store
	if err != nil {
		return storage.Account{}, false
	}
	out := storage.Account{Name: strings.ToLower(a.Name), Spelling: a.Name}
	for _, k := range a.Keys {
		raw, err := base64.StdEncoding.DecodeString(k.Value)
		if err != nil {
			return storage.Account{}, false
		}
		out.Keys = append(out.Keys, raw)
	}
	return out, true
}

// removeBlobs deletes what a storage account held.
func (d *Dev) removeBlobs(account string) error {
	return storage.RemoveAccount(d.path("blobs"), account)
}

// blobAuthorizer decides about bearer tokens at the storage front.
type blobAuthorizer struct {
	cloud    *cloud.Cloud
	verifier *authn.Verifier
}

// Bearer implements storage.Authorizer.
func (b blobAuthorizer) Bearer(ctx context.Context, token string) (string, error) {
	id, err := b.verifier.Verify(ctx, token)
	return id.Principal.ID, err
}

// MayData implements storage.Authorizer. It fails closed.
func (b blobAuthorizer) MayData(principalID, account, container string, write bool) bool {
	ok, err := b.cloud.MayData(context.Background(), principalID, account, container, write) // look-ups in the embedded store
	return err == nil && ok
}
