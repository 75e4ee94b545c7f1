package storage_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"redoubt/internal/api/storage"
)

func TestSharedKey(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.container("backups")
	ctx := t.Context()
	as := func(name string, key []byte, host string) error {
		s, err := service.NewClientWithSharedKeyCredential(host+"/", credential(t, name, key), &service.ClientOptions{ClientOptions: c.options()})
		check(t, err)
		_, err = s.NewContainerClient("backups").GetProperties(ctx, nil)
		return err
	}
	check(t, as(account, keys[1], origin))
	wantCode(t, "wrong key", as(account, []byte("no key of the account"), origin), bloberror.AuthenticationFailed)
	wantCode(t, "another account's name", as("otheraccount", keys[1], origin), bloberror.AuthenticationFailed)
	wantCode(t, "first key at the other account", as("otheraccount", keys[0], "https://otheraccount.blob.core.windows.net"), bloberror.AuthenticationFailed)
	wantCode(t, "right key at the other account", as("otheraccount", keys[1], "https://otheraccount.blob.core.windows.net"), bloberror.ContainerNotFound)
	wantCode(t, "unknown account", as(account, keys[0], "https://nosuchaccount.blob.core.windows.net"), bloberror.ResourceNotFound)
	wantCode(t, "foreign domain", as(account, keys[0], "https://mhsmdemo.blob.example.org"), "InvalidUri")
	wantCode(t, "a spelling that is not the account's", as("MHSMDEMO", keys[0], origin), bloberror.AuthenticationFailed)
	check(t, as(account, keys[0], "https://MHSMDEMO.Blob.Core.Windows.Net"))
	check(t, as(account, keys[0], "https://mhsmdemo.blob.core.windows.net:10443"))

	for _, d := range []time.Duration{-16 * time.Minute, 16 * time.Minute} {
		c.skew.Store(int64(d))
		wantCode(t, "a request 16 minutes away", as(account, keys[0], origin), bloberror.AuthenticationFailed)
	}
}

// TestSpelling: clients sign an account's name as they were given it, and az finds the document's
// ContosoBackup only when the account was made so.
func TestSpelling(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	options := &container.ClientOptions{ClientOptions: c.options()}
	at := "https://contosobackup.blob.core.windows.net/backups"
	by := func(key *service.SharedKeyCredential) *container.Client {
		cc, err := container.NewClientWithSharedKeyCredential(at, key, options)
		check(t, err)
		return cc
	}
	_, err := by(credential(t, "contosobackup", keys[0])).Create(t.Context(), nil)
	check(t, err)
	for name, want := range map[string]bool{"contosobackup": true, "ContosoBackup": true, "CONTOSOBACKUP": false} {
		key := credential(t, name, keys[0])
		if _, err := by(key).GetProperties(t.Context(), nil); (err == nil) != want {
			t.Errorf("%s by its key: %v", name, err)
		}
		q, err := sas.BlobSignatureValues{ContainerName: "backups", Permissions: "rl", ExpiryTime: time.Now().Add(time.Hour)}.SignWithSharedKey(key)
		check(t, err)
		cc, err := container.NewClientWithNoCredential(at+"?"+q.Encode(), options)
		check(t, err)
		if _, err := cc.NewListBlobsFlatPager(nil).NextPage(t.Context()); (err == nil) != want {
			t.Errorf("%s by a SAS: %v", name, err)
		}
	}
}

// TestSASPermissions tries every operation on a blob with every permission alone.
func TestSASPermissions(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	owner := c.container("backups")
	operations := []struct {
		name, allowed string
		run           func(*container.Client) error
	}{
		{"create", "cw", func(cc *container.Client) error { return write(t, cc, "new", "x") }},
		{"overwrite", "w", func(cc *container.Client) error { return write(t, cc, "old", "x") }},
		{"stage", "w", func(cc *container.Client) error {
			_, err := cc.NewBlockBlobClient("staged").StageBlock(ctx, "AAAA", nopCloser{strings.NewReader("x")}, nil)
			return err
		}},
		{"commit", "w", func(cc *container.Client) error {
			_, err := cc.NewBlockBlobClient("old").CommitBlockList(ctx, nil, nil)
			return err
		}},
		{"set metadata", "w", func(cc *container.Client) error {
			_, err := cc.NewBlobClient("old").SetMetadata(ctx, nil, nil)
			return err
		}},
		{"read", "r", func(cc *container.Client) error { _, err := read(t, cc, "old"); return err }},
		{"head", "r", func(cc *container.Client) error {
			_, err := cc.NewBlobClient("old").GetProperties(ctx, nil)
			return err
		}},
		{"block list", "r", func(cc *container.Client) error {
			_, err := cc.NewBlockBlobClient("old").GetBlockList(ctx, "all", nil)
			return err
		}},
		{"list", "l", func(cc *container.Client) error { _, err := list(t, cc, "", 0); return err }},
		{"delete", "d", func(cc *container.Client) error { _, err := cc.NewBlobClient("old").Delete(ctx, nil); return err }},
	}
	for _, p := range []string{"r", "l", "w", "c", "d", "a", "t", "x", "rl", "crdw", "racwdxltmei"} {
		cc := c.withSAS("backups", containerSAS(t, "backups", p, nil))
		for _, op := range operations {
			check(t, write(t, owner, "old", "content"))
			_, _ = owner.NewBlobClient("new").Delete(ctx, nil)
			err := op.run(cc)
			switch allowed := strings.ContainsAny(p, op.allowed); {
			case allowed && err != nil:
				t.Errorf("%s with permissions %q: %v", op.name, p, err)
			case !allowed && !bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch, "UnauthorizedBlobOverwrite"):
				t.Errorf("%s with permissions %q: %v, want a refusal", op.name, p, err)
			}
		}
		_, err := cc.Delete(ctx, nil)
		wantCode(t, "delete the container with a service SAS", err, bloberror.AuthorizationFailure)
		_, err = cc.Create(ctx, nil)
		wantCode(t, "create the container with a service SAS", err, bloberror.AuthorizationFailure)
	}
}

// TestSASRefused: a signature that is not for this, not now, not from here, or not genuine.
func TestSASRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	check(t, write(t, c.container("backups"), "x", "content"))
	c.container("others")
	sign := func(change func(*sas.BlobSignatureValues)) string { return containerSAS(t, "backups", "r", change) }
	mangle := func(name, value string) string {
		q := parseQuery(t, sign(nil))
		q.Set(name, value)
		return q.Encode()
	}
	past := func(d time.Duration) string {
		return sign(func(v *sas.BlobSignatureValues) {
			v.StartTime, v.ExpiryTime = time.Now().Add(d), time.Now().Add(d+time.Minute)
		})
	}
	for _, tc := range []struct{ name, container, query, code, detail string }{
		{"good", "backups", sign(nil), "", ""},
		{"another container", "others", sign(nil), "AuthenticationFailed", "Signature did not match"},
		{"expired", "backups", past(-time.Hour), "AuthenticationFailed", "Signature not valid in the specified time frame: Start ["},
		{"not yet valid", "backups", past(time.Hour), "AuthenticationFailed", "Signature not valid in the specified time frame"},
		{"permission added", "backups", mangle("sp", "rw"), "AuthenticationFailed", "did not match"},
		{"expiry moved", "backups", mangle("se", "2099-01-01"), "AuthenticationFailed", "did not match"},
		{"resource changed", "backups", mangle("sr", "b"), "AuthenticationFailed", "did not match"},
		{"directory", "backups", mangle("sr", "d"), "AuthenticationFailed", "sr is mandatory"},
		{"stored policy", "backups", mangle("si", "p"), "AuthenticationFailed", "stored access policies"},
		{"no base64", "backups", mangle("sig", "%%%"), "AuthenticationFailed", "not well formed"},
		{"empty signature", "backups", mangle("sig", ""), "AuthenticationFailed", "did not match"},
		{"ancient version", "backups", mangle("sv", "2012-02-12"), "AuthenticationFailed", "sv is mandatory"},
		{"line break", "backups", mangle("rscc", "a\nb"), "AuthenticationFailed", "line break"},
		{"given twice", "backups", sign(nil) + "&sp=r", "AuthenticationFailed", "more than once"},
		{"no expiry", "backups", strings.Replace(sign(nil), "se=", "xx=", 1), "AuthenticationFailed", "se is mandatory"},
		{"foreign address", "backups", sign(func(v *sas.BlobSignatureValues) {
			v.IPRange = sas.IPRange{Start: netip.MustParseAddr("10.0.0.1").AsSlice()}
		}), "AuthorizationSourceIPMismatch", ""},
		{"this address", "backups", sign(func(v *sas.BlobSignatureValues) {
			v.IPRange = sas.IPRange{Start: netip.MustParseAddr("127.0.0.0").AsSlice(), End: netip.MustParseAddr("127.0.0.9").AsSlice()}
		}), "", ""},
		{"https only", "backups", sign(func(v *sas.BlobSignatureValues) { v.Protocol = sas.ProtocolHTTPS }), "", ""},
		{"this blob", "backups", sign(func(v *sas.BlobSignatureValues) { v.BlobName = "x" }), "", ""},
		{"another blob", "backups", sign(func(v *sas.BlobSignatureValues) { v.BlobName = "y" }), "AuthenticationFailed", "did not match"},
		{"unescaped plus", "backups", strings.ReplaceAll(sign(nil), "%2B", "+"), "", ""},
	} {
		res, body := c.plain(http.MethodGet, "/"+tc.container+"/x?"+tc.query, nil, "")
		if got := res.Header.Get("x-ms-error-code"); got != tc.code || !strings.Contains(strings.ToLower(body), strings.ToLower(tc.detail)) {
			t.Errorf("%s: code %q, want %q; body %s", tc.name, got, tc.code, body)
		}
		if sig := parseQuery(t, tc.query).Get("sig"); len(sig) > 8 && strings.Contains(body, sig) {
			t.Errorf("%s: the answer repeats the signature", tc.name)
		}
	}
	_, err := list(t, c.withSAS("backups", sign(func(v *sas.BlobSignatureValues) { v.BlobName, v.Permissions = "x", "r" })), "", 0)
	wantCode(t, "list with a blob SAS", err, bloberror.AuthorizationFailure)
}

// TestProtocol: over a plain connection neither an https-only SAS nor a token is worth anything.
func TestProtocol(t *testing.T) {
	t.Parallel()
	h := storage.New(storage.Config{Dir: t.TempDir(), Accounts: accounts{account: {Name: account, Keys: keys}}, Authorizer: roles{"writer": "w"}})
	ask := func(query string, header http.Header) string {
		r := httptest.NewRequest(http.MethodGet, "http://mhsmdemo.blob.core.windows.net/backups/x?"+query, nil)
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Header().Get("x-ms-error-code")
	}
	httpsOnly := containerSAS(t, "backups", "r", func(v *sas.BlobSignatureValues) { v.Protocol = sas.ProtocolHTTPS })
	if got := ask(httpsOnly, nil); got != "AuthorizationProtocolMismatch" {
		t.Errorf("https-only SAS over http: %q", got)
	}
	if got := ask(containerSAS(t, "backups", "r", nil), nil); got != "ContainerNotFound" {
		t.Errorf("SAS over http: %q", got)
	}
	if got := ask("", http.Header{"Authorization": {"Bearer token-writer"}}); got != "AuthenticationFailed" {
		t.Errorf("token over http: %q", got)
	}
}

func TestAccountSAS(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	with := func(p, types string) *service.Client {
		q, err := sas.AccountSignatureValues{Permissions: p, ResourceTypes: types, ExpiryTime: time.Now().Add(time.Hour)}.SignWithSharedKey(credential(t, account, keys[1]))
		check(t, err)
		s, err := service.NewClientWithNoCredential(origin+"/?"+q.Encode(), &service.ClientOptions{ClientOptions: c.options()})
		check(t, err)
		return s
	}
	_, err := with("c", "c").NewContainerClient("backups").Create(ctx, nil)
	check(t, err)
	check(t, write(t, with("c", "o").NewContainerClient("backups"), "x", "y"))
	wantCode(t, "overwrite with c", write(t, with("c", "o").NewContainerClient("backups"), "x", "z"), "UnauthorizedBlobOverwrite")
	wantCode(t, "write a blob with srt=sc", write(t, with("rwdlac", "sc").NewContainerClient("backups"), "x", "y"), bloberror.AuthorizationResourceTypeMismatch)
	_, err = read(t, with("wdlac", "sco").NewContainerClient("backups"), "x")
	wantCode(t, "read without r", err, bloberror.AuthorizationPermissionMismatch)
	_, err = with("r", "s").NewListContainersPager(nil).NextPage(ctx)
	wantCode(t, "list containers without l", err, bloberror.AuthorizationPermissionMismatch)
	_, err = with("l", "s").NewListContainersPager(nil).NextPage(ctx)
	check(t, err)
	_, err = with("rwdlac", "sco").NewContainerClient("backups").GetAccessPolicy(ctx, nil)
	wantCode(t, "access policy with a SAS", err, bloberror.AuthorizationFailure)
	q := parseQuery(t, "sv=2020-12-06&ss=q&srt=o&sp=r&se=2099-01-01&sig=AAAA")
	res, _ := c.plain(http.MethodGet, "/backups/x?"+q.Encode(), nil, "")
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a made-up account SAS: %s", res.Status)
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	_, err := c.withToken("reader").CreateContainer(ctx, "backups", nil)
	wantCode(t, "create as reader", err, bloberror.AuthorizationPermissionMismatch)
	_, err = c.withToken("writer").CreateContainer(ctx, "backups", nil)
	check(t, err)
	writer, reader := c.withToken("writer").NewContainerClient("backups"), c.withToken("reader").NewContainerClient("backups")
	check(t, write(t, writer, "x", "content"))
	if got, err := read(t, reader, "x"); err != nil || got != "content" {
		t.Errorf("read as reader: %q, %v", got, err)
	}
	wantCode(t, "write as reader", write(t, reader, "x", "other"), bloberror.AuthorizationPermissionMismatch)
	_, err = read(t, c.withToken("nobody").NewContainerClient("backups"), "x")
	wantCode(t, "read without a role", err, bloberror.AuthorizationPermissionMismatch)
	_, err = read(t, c.withToken("stranger").NewContainerClient("backups"), "x")
	wantCode(t, "read with an unknown token", err, bloberror.InvalidAuthenticationInfo)

	for _, header := range []map[string]string{nil, {"Authorization": "Bearer nonsense"}} {
		res, _ := c.plain(http.MethodGet, "/backups/x", header, "")
		want := "Bearer authorization_uri=https://login.microsoftonline.com/" + tenant + "/oauth2/authorize resource_id=https://storage.azure.com"
		if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != http.StatusUnauthorized || got != want {
			t.Errorf("%v: %s, challenge %q", header, res.Status, got)
		}
	}
	res, _ := c.plain(http.MethodGet, "/backups/x", map[string]string{"Authorization": "Basic eA=="}, "")
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("Basic: %s", res.Status)
	}
}

func TestUserDelegationSAS(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	check(t, write(t, c.container("backups"), "x", "content"))
	issue := func(principal string, life time.Duration) (*service.UserDelegationCredential, error) {
		now := time.Now().UTC()
		return c.withToken(principal).GetUserDelegationCredential(ctx, service.KeyInfo{
			Start: to.Ptr(now.Add(-time.Minute).Format(sas.TimeFormat)), Expiry: to.Ptr(now.Add(life).Format(sas.TimeFormat)),
		}, nil)
	}
	reader, err := issue("reader", time.Hour)
	check(t, err)
	sign := func(permissions string, change func(*sas.BlobSignatureValues)) url.Values {
		v := sas.BlobSignatureValues{ContainerName: "backups", Permissions: permissions, ExpiryTime: time.Now().Add(2 * time.Hour)}
		if change != nil {
			change(&v)
		}
		q, err := v.SignWithUserDelegation(reader)
		check(t, err)
		return parseQuery(t, q.Encode())
	}
	good := sign("rwl", nil)
	cc := c.withSAS("backups", good.Encode())
	if got, err := read(t, cc, "x"); err != nil || got != "content" {
		t.Errorf("read: %q, %v", got, err)
	}
	wantCode(t, "write beyond the reader's role", write(t, cc, "y", "z"), bloberror.AuthorizationPermissionMismatch)

	other := url.Values{}
	for k, v := range good {
		other[k] = v
	}
	other.Set("skoid", "writer")
	wantCode(t, "another principal's name", write(t, c.withSAS("backups", other.Encode()), "y", "z"), bloberror.AuthenticationFailed)

	bound := sign("r", func(v *sas.BlobSignatureValues) { v.SignedDelegatedUserObjectID = "writer" })
	path := "/backups/x?" + bound.Encode()
	for header, want := range map[string]int{"": 401, "Bearer token-reader": 403, "Bearer token-writer": 200} {
		res, _ := c.plain(http.MethodGet, path, map[string]string{"Authorization": header}, "")
		if res.StatusCode != want {
			t.Errorf("a SAS bound to a user, with %q: %s, want %d", header, res.Status, want)
		}
	}
	pinned := "/backups/x?" + sign("r", func(v *sas.BlobSignatureValues) {
		v.SignedRequestHeaders = map[string]string{"x-ms-range": "bytes=0-2"}
	}).Encode()
	if res, body := c.plain(http.MethodGet, pinned, map[string]string{"x-ms-range": "bytes=0-2"}, ""); body != "con" {
		t.Errorf("pinned header given: %s %s", res.Status, body)
	}
	if res, _ := c.plain(http.MethodGet, pinned, nil, ""); res.StatusCode != http.StatusForbidden {
		t.Errorf("pinned header left out: %s", res.Status)
	}

	c.roles["reader"] = ""
	_, err = read(t, cc, "x")
	wantCode(t, "read after the role has gone", err, bloberror.AuthorizationPermissionMismatch)
	c.roles["reader"] = "r"
	c.skew.Store(int64(61 * time.Minute))
	_, err = read(t, cc, "x")
	wantCode(t, "read after the key has expired", err, bloberror.AuthenticationFailed)
	c.skew.Store(0)
	_, err = issue("reader", 8*24*time.Hour)
	wantCode(t, "a key for eight days", err, bloberror.InvalidXMLNodeValue)
	_, err = c.owner().GetUserDelegationCredential(ctx, service.KeyInfo{Expiry: to.Ptr(time.Now().UTC().Add(time.Hour).Format(sas.TimeFormat)), Start: to.Ptr(time.Now().UTC().Format(sas.TimeFormat))}, nil)
	wantCode(t, "a key without a token", err, bloberror.AuthenticationFailed)
}
