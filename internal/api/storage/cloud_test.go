package storage_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"redoubt/internal/api/storage"
)

const (
	account = "mhsmdemo"
	origin  = "https://mhsmdemo.blob.core.windows.net"
	tenant  = "3f6c1a52-0000-4000-8000-0000000000aa"
)

// cloud is a server with two accounts and a few principals, and a transport that finds it under the
// accounts' real names.
type cloud struct {
	t      *testing.T
	dir    string
	server *httptest.Server
	client *http.Client
	skew   atomic.Int64 // nanoseconds added to the server's clock
	roles  roles
}

// keys of account; the other account has keys[1] only.
var keys = [][]byte{[]byte("first key of the account, 32 byte"), []byte("second key of the account, 32 by")}

type accounts map[string]storage.Account

func (a accounts) Account(name string) (storage.Account, bool) { x, ok := a[name]; return x, ok }

// roles are the principals: "reader", "writer" and "nobody", whose tokens are "token-" and their name.
type roles map[string]string

func (r roles) Bearer(_ context.Context, token string) (string, error) {
	id, ok := strings.CutPrefix(token, "token-")
	if _, known := r[id]; !ok || !known {
		return "", errors.New("the token is not one of this cloud's")
	}
	return id, nil
}

func (r roles) MayData(principal, acct, con string, write bool) bool {
	return acct == account && (r[principal] == "w" || r[principal] == "r" && !write)
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	return openCloud(t, t.TempDir(), storage.Config{})
}

func openCloud(t *testing.T, dir string, cfg storage.Config) *cloud {
	t.Helper()
	c := &cloud{t: t, dir: dir, roles: roles{"reader": "r", "writer": "w", "nobody": ""}}
	cfg.Dir = dir
	cfg.Accounts = accounts{account: {Name: account, Keys: keys}, "otheraccount": {Name: "otheraccount", Keys: keys[1:]},
		"contosobackup": {Name: "contosobackup", Spelling: "ContosoBackup", Keys: keys}}
	cfg.Authorizer = c.roles
	cfg.Suffixes = []string{"blob.core.windows.net"}
	cfg.TenantID = tenant
	cfg.Authority = "https://login.microsoftonline.com/" + tenant
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }
	c.server = httptest.NewTLSServer(storage.New(cfg))
	t.Cleanup(c.server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(c.server.Certificate())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.server.Listener.Addr().String())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport}
	return c
}

func (c *cloud) options() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: c.client, Retry: policy.RetryOptions{MaxRetries: -1}}
}

func credential(t *testing.T, name string, key []byte) *azblob.SharedKeyCredential {
	t.Helper()
	cred, err := azblob.NewSharedKeyCredential(name, base64.StdEncoding.EncodeToString(key))
	check(t, err)
	return cred
}

// owner is a client with the account's key.
func (c *cloud) owner() *service.Client {
	c.t.Helper()
	s, err := service.NewClientWithSharedKeyCredential(origin+"/", credential(c.t, account, keys[0]), &service.ClientOptions{ClientOptions: c.options()})
	check(c.t, err)
	return s
}

// container makes one and returns the owner's client for it.
func (c *cloud) container(name string) *container.Client {
	c.t.Helper()
	cc := c.owner().NewContainerClient(name)
	_, err := cc.Create(c.t.Context(), nil)
	check(c.t, err)
	return cc
}

// withSAS is a client that has nothing but a SAS.
func (c *cloud) withSAS(con, query string) *container.Client {
	c.t.Helper()
	cc, err := container.NewClientWithNoCredential(origin+"/"+con+"?"+query, &container.ClientOptions{ClientOptions: c.options()})
	check(c.t, err)
	return cc
}

// withToken is a client with a bearer token.
func (c *cloud) withToken(principal string) *service.Client {
	c.t.Helper()
	s, err := service.NewClient(origin+"/", token("token-"+principal), &service.ClientOptions{ClientOptions: c.options()})
	check(c.t, err)
	return s
}

type token string

func (k token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(k), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// containerSAS signs with the account's first key.
func containerSAS(t *testing.T, con, permissions string, change func(*sas.BlobSignatureValues)) string {
	t.Helper()
	v := sas.BlobSignatureValues{ContainerName: con, Permissions: permissions, ExpiryTime: time.Now().Add(time.Hour)}
	if change != nil {
		change(&v)
	}
	q, err := v.SignWithSharedKey(credential(t, account, keys[0]))
	check(t, err)
	return q.Encode()
}

// do sends a request with the account's SAS for everything, for what no SDK call expresses.
func (c *cloud) do(method, path string, header map[string]string, body string) (*http.Response, string) {
	c.t.Helper()
	q, err := sas.AccountSignatureValues{Permissions: "rwdlac", ResourceTypes: "sco", ExpiryTime: time.Now().Add(time.Hour)}.SignWithSharedKey(credential(c.t, account, keys[0]))
	check(c.t, err)
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return c.plain(method, path+sep+q.Encode(), header, body)
}

// plain sends a request as it is.
func (c *cloud) plain(method, path string, header map[string]string, body string) (*http.Response, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, origin+path, strings.NewReader(body))
	check(c.t, err)
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	res, err := c.client.Do(req)
	check(c.t, err)
	b, err := io.ReadAll(res.Body)
	check(c.t, err)
	check(c.t, res.Body.Close())
	return res, string(b)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantCode checks the code of a refusal as the SDK reports it.
func wantCode(t *testing.T, what string, err error, code bloberror.Code) {
	t.Helper()
	if !bloberror.HasCode(err, code) {
		t.Errorf("%s: got %v, want code %s", what, err, code)
	}
}

// read downloads a blob.
func read(t *testing.T, cc *container.Client, name string) (string, error) {
	t.Helper()
	res, err := cc.NewBlobClient(name).DownloadStream(t.Context(), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func write(t *testing.T, cc *container.Client, name, content string) error {
	t.Helper()
	_, err := cc.NewBlockBlobClient(name).Upload(t.Context(), nopCloser{strings.NewReader(content)}, nil)
	return err
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// list returns the names under a prefix.
func list(t *testing.T, cc *container.Client, prefix string, page int32) ([]string, error) {
	t.Helper()
	o := container.ListBlobsFlatOptions{Prefix: &prefix}
	if page > 0 {
		o.MaxResults = &page
	}
	var names []string
	for p := cc.NewListBlobsFlatPager(&o); p.More(); {
		r, err := p.NextPage(t.Context())
		if err != nil {
			return names, err
		}
		for _, b := range r.Segment.BlobItems {
			names = append(names, *b.Name)
		}
	}
	return names, nil
}

func parseQuery(t *testing.T, q string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(q)
	check(t, err)
	return v
}
