package storage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"redoubt/internal/blob"
	"redoubt/internal/blob/azblob"
	"redoubt/internal/blob/blobtest"
)

// TestOwnDriver runs the contract of package blob through our own driver against this server, once with
// a SAS and once with a token: the two ways a backup travels.
func TestOwnDriver(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.container("backups")
	open := func(t *testing.T, con string, o azblob.Options) *azblob.Container {
		t.Helper()
		o.Transport = c.client.Transport
		d, err := azblob.Open(blob.Target{Account: account, Container: con, Host: account + ".blob.core.windows.net"}, o)
		check(t, err)
		return d
	}
	signed := func(con string) azblob.Options {
		q := containerSAS(t, con, "crdwl", nil)
		return azblob.Options{SAS: func() string { return q }}
	}
	managed := azblob.Options{Token: func(context.Context) (string, time.Time, error) {
		return "token-writer", time.Now().Add(time.Hour), nil
	}}
	t.Run("SAS", func(t *testing.T) {
		t.Parallel()
		blobtest.Run(t,
			func(t *testing.T) blob.Container { return open(t, "backups", signed("backups")) },
			func(t *testing.T) blob.Container { return open(t, "nosuch", signed("nosuch")) })
	})
	t.Run("Token", func(t *testing.T) {
		t.Parallel()
		blobtest.Run(t, func(t *testing.T) blob.Container { return open(t, "backups", managed) }, nil)
	})
	t.Run("Refusals", func(t *testing.T) {
		t.Parallel()
		expired := containerSAS(t, "backups", "rl", func(v *sas.BlobSignatureValues) { v.ExpiryTime = time.Now().Add(-time.Minute) })
		readOnly, foreign := containerSAS(t, "backups", "rl", nil), containerSAS(t, "others", "crdwl", nil)
		for _, tc := range []struct {
			name, query string
			want        error
		}{{"expired", expired, blob.ErrExpired}, {"read-only", readOnly, blob.ErrDenied}, {"another container's", foreign, blob.ErrBadCredential}} {
			d := open(t, "backups", azblob.Options{SAS: func() string { return tc.query }})
			if err := d.Put(t.Context(), "x", []byte("y")); !errors.Is(err, tc.want) {
				t.Errorf("put with an %s SAS: %v, want %v", tc.name, err, tc.want)
			}
		}
	})
}
