package storage_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"redoubt/internal/api/storage"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := openCloud(t, t.TempDir(), storage.Config{MaxBody: 1000, MaxBlob: 1500})
	check(t, write(t, c.container("backups"), "x", "0123456789"))
	blockBlob := map[string]string{"x-ms-blob-type": "BlockBlob"}
	with := func(k, v string) map[string]string { return map[string]string{"x-ms-blob-type": "BlockBlob", k: v} }
	for _, tc := range []struct {
		method, path string
		header       map[string]string
		body         string
		status       int
		code         string
	}{
		{"PUT", "/backups/y", nil, "z", 400, "MissingRequiredHeader"},
		{"PUT", "/backups/y", map[string]string{"x-ms-blob-type": "PageBlob"}, "", 501, "NotImplemented"},
		{"PUT", "/backups/y", map[string]string{"x-ms-blob-type": "Z"}, "", 400, "InvalidHeaderValue"},
		{"PUT", "/backups/y", with("x-ms-copy-source", "https://x/y"), "", 501, "NotImplemented"},
		{"PUT", "/backups/y", with("x-ms-encryption-key", "k"), "", 501, "NotImplemented"},
		{"PUT", "/backups/y", with("x-ms-structured-body", "XSM/1.0"), "", 501, "NotImplemented"},
		{"PUT", "/backups/y", with("x-ms-tags", "a=b"), "", 501, "NotImplemented"},
		{"PUT", "/backups/y", with("x-ms-lease-id", "a"), "", 501, "NotImplemented"},
		{"PUT", "/backups/y", with("x-ms-meta-a-b", "1"), "", 400, "InvalidMetadata"},
		{"PUT", "/backups/y", with("x-ms-meta-1", "1"), "", 400, "InvalidMetadata"},
		{"PUT", "/backups/y", with("x-ms-meta-a", strings.Repeat("x", 8192)), "", 400, "MetadataTooLarge"},
		{"PUT", "/backups/y", with("Content-MD5", "zz"), "", 400, "InvalidMd5"},
		{"PUT", "/backups/y", blockBlob, strings.Repeat("x", 1001), 413, "RequestBodyTooLarge"},
		{"PUT", "/backups/y?comp=snapshot", nil, "", 501, "NotImplemented"},
		{"PUT", "/backups/y?comp=lease", nil, "", 501, "NotImplemented"},
		{"PUT", "/backups/y?comp=block&blockid=!", nil, "x", 400, "InvalidBlockId"},
		{"PUT", "/backups/y?comp=block&blockid=AAAA", nil, "", 400, "InvalidHeaderValue"},
		{"PUT", "/backups/y?comp=blocklist", nil, "<BlockList><Nope>AAAA</Nope></BlockList>", 400, "InvalidXmlDocument"},
		{"PUT", "/backups/y?comp=blocklist", nil, "<BlockList>", 400, "InvalidXmlDocument"},
		{"PUT", "/backups/y?comp=blocklist", nil, "<BlockList></BlockList>more", 400, "InvalidXmlDocument"},
		{"POST", "/backups/y", nil, "", 405, "UnsupportedHttpVerb"},
		{"GET", "/backups/x?snapshot=2020-01-01", nil, "", 501, "NotImplemented"},
		{"GET", "/backups/x?comp=blocklist&blocklisttype=some", nil, "", 400, "InvalidQueryParameterValue"},
		{"GET", "/backups/x", map[string]string{"If-Modified-Since": "yesterday"}, "", 400, "InvalidHeaderValue"},
		{"GET", "/backups", nil, "", 404, "ContainerNotFound"},
		{"GET", "/BACKUPS/x", nil, "", 400, "InvalidResourceName"},
		{"GET", "/..%2f..%2fetc/passwd", nil, "", 400, "InvalidResourceName"},
		{"GET", "//x", nil, "", 400, "InvalidUri"},
		{"GET", "/backups/%00", nil, "", 400, "InvalidResourceName"},
		{"GET", "/backups/%ff", nil, "", 400, "InvalidResourceName"},
		{"GET", "/backups/" + strings.Repeat("x", 1025), nil, "", 400, "InvalidResourceName"},
		{"GET", "/backups?restype=container&comp=list&maxresults=0", nil, "", 400, "OutOfRangeQueryParameterValue"},
		{"GET", "/backups?restype=container&comp=list&maxresults=x", nil, "", 400, "InvalidQueryParameterValue"},
		{"GET", "/backups?restype=container&comp=list&marker=*", nil, "", 400, "InvalidQueryParameterValue"},
		{"PUT", "/public?restype=container", map[string]string{"x-ms-blob-public-access": "blob"}, "", 409, "PublicAccessNotPermitted"},
		{"PUT", "/a--b?restype=container", nil, "", 400, "InvalidResourceName"},
	} {
		res, body := c.do(tc.method, tc.path, tc.header, tc.body)
		if res.StatusCode != tc.status || res.Header.Get("x-ms-error-code") != tc.code || !strings.Contains(body, "<Code>"+tc.code+"</Code>") {
			t.Errorf("%s %s %v: %s %s, want %d %s; body %s", tc.method, tc.path, tc.header, res.Status, res.Header.Get("x-ms-error-code"), tc.status, tc.code, body)
		}
	}
	for i := range 2 {
		c.do("PUT", fmt.Sprintf("/backups/y?comp=block&blockid=AAA%d", i), nil, strings.Repeat("x", 800))
	}
	res, _ := c.do("PUT", "/backups/y?comp=blocklist", nil, "<BlockList><Latest>AAA0</Latest><Latest>AAA1</Latest></BlockList>")
	if res.StatusCode != 413 {
		t.Errorf("a blob over the limit: %s", res.Status)
	}
	if names := files(t, filepath.Join(c.dir, account, "backups", "data")); len(names) != 1 {
		t.Errorf("refused writes left segments: %q", names)
	}
}

func TestErrorShape(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.container("backups")
	res, body := c.do("GET", "/backups/x", map[string]string{"x-ms-version": "2031-01-01", "x-ms-client-request-id": "abc"}, "")
	h := res.Header
	if h.Get("Content-Type") != "application/xml" || h.Get("x-ms-version") != "2031-01-01" || h.Get("x-ms-client-request-id") != "abc" || h.Get("x-ms-request-id") == "" || h.Get("Date") == "" {
		t.Errorf("headers %v", h)
	}
	prefix := `<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound</Code><Message>The specified blob does not exist.&#xA;RequestId:` + h.Get("x-ms-request-id") + "&#xA;Time:"
	if !strings.HasPrefix(body, prefix) || !strings.HasSuffix(body, "Z</Message></Error>") {
		t.Errorf("body %s", body)
	}
	res, body = c.do("HEAD", "/backups/x", nil, "")
	if res.StatusCode != 404 || res.Header.Get("x-ms-error-code") != "BlobNotFound" || body != "" {
		t.Errorf("HEAD: %s %v %q", res.Status, res.Header, body)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cc := c.container("backups")
	check(t, write(t, cc, "x", "0123456789"))
	check(t, write(t, cc, "empty", ""))
	for _, tc := range []struct {
		path, value, body, contentRange string
		status                          int
	}{
		{"x", "bytes=0-3", "0123", "bytes 0-3/10", 206},
		{"x", "bytes=4-", "456789", "bytes 4-9/10", 206},
		{"x", "bytes=9-100", "9", "bytes 9-9/10", 206},
		{"x", "bytes=0-0", "0", "bytes 0-0/10", 206},
		{"x", "bytes=10-", "", "bytes */10", 416},
		{"empty", "bytes=0-3", "", "bytes */0", 416},
		{"x", "bytes=-3", "", "", 400},
		{"x", "bytes=3-1", "", "", 400},
		{"x", "bytes=1-2,4-5", "", "", 400},
		{"x", "octets=1-2", "", "", 400},
		{"x", "bytes=+1-2", "", "", 400},
		{"x", "bytes=99999999999999999999-", "", "", 400},
	} {
		for _, header := range []string{"Range", "x-ms-range"} {
			res, body := c.do("GET", "/backups/"+tc.path, map[string]string{header: tc.value}, "")
			if res.StatusCode != tc.status || res.Header.Get("Content-Range") != tc.contentRange || tc.status == 206 && body != tc.body {
				t.Errorf("%s %s=%s: %s %q, range %q", tc.path, header, tc.value, res.Status, body, res.Header.Get("Content-Range"))
			}
		}
	}
	if res, _ := c.do("GET", "/backups/empty", nil, ""); res.StatusCode != 200 || res.ContentLength != 0 {
		t.Errorf("empty blob: %s, %d bytes", res.Status, res.ContentLength)
	}
}

// TestRefusedUploadIsReadToItsEnd: a client that sends all before it reads still learns why.
func TestRefusedUploadIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.container("backups")
	cc := c.withSAS("backups", containerSAS(t, "backups", "rl", nil))
	_, err := cc.NewBlockBlobClient("x").Upload(t.Context(), nopCloser{bytes.NewReader(make([]byte, 20<<20))}, nil)
	wantCode(t, "large upload with a read-only SAS", err, bloberror.AuthorizationPermissionMismatch)
}

// TestBrokenUpload: a body that ends early stores nothing.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.container("backups")
	q := containerSAS(t, "backups", "w", nil)
	for _, path := range []string{"/backups/x?" + q, "/backups/x?comp=block&blockid=AAAA&" + q} {
		conn, err := tls.Dial("tcp", c.server.Listener.Addr().String(), c.client.Transport.(*http.Transport).TLSClientConfig)
		check(t, err)
		_, err = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: mhsmdemo.blob.core.windows.net\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 100\r\n\r\nonly this", path)
		check(t, err)
		check(t, conn.CloseWrite())
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		check(t, err)
		if res.StatusCode != 400 || res.Header.Get("x-ms-error-code") != "IncompleteBody" {
			t.Errorf("%s: %s", path, res.Status)
		}
		check(t, res.Body.Close())
		check(t, conn.Close())
	}
	if left := files(t, filepath.Join(c.dir, account, "backups")); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// TestReaderKeepsItsVersion: whoever began to read a blob of several blocks gets that blob to the end,
// though it is replaced and deleted meanwhile.
func TestReaderKeepsItsVersion(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	cc := c.container("backups")
	data := pseudorandom(8 << 20)
	bb := cc.NewBlockBlobClient("x")
	_, err := bb.UploadStream(ctx, bytes.NewReader(data), &blockblob.UploadStreamOptions{BlockSize: 1 << 20})
	check(t, err)
	res, err := bb.DownloadStream(ctx, nil)
	check(t, err)
	first := make([]byte, 1000)
	_, err = io.ReadFull(res.Body, first)
	check(t, err)
	_, err = bb.SetMetadata(ctx, map[string]*string{"a": to.Ptr("b")}, nil)
	check(t, err)
	check(t, write(t, cc, "x", "new"))
	_, err = bb.Delete(ctx, nil)
	check(t, err)
	rest, err := io.ReadAll(res.Body)
	check(t, err)
	check(t, res.Body.Close())
	if !bytes.Equal(append(first, rest...), data) {
		t.Error("the reader got another blob than the one it opened")
	}
	c.server.Close() // waits for the handler, which lets go of the version
	if left := files(t, filepath.Join(c.dir, account, "backups")); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// TestOneWriterWins: of many who create a blob at once, one succeeds and its content stays.
func TestOneWriterWins(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cc := c.container("backups")
	var mu sync.Mutex
	var won []string
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			content := fmt.Sprint("writer ", i)
			_, err := cc.NewBlockBlobClient("x").Upload(t.Context(), nopCloser{strings.NewReader(content)}, &blockblob.UploadOptions{
				AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}},
			})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, content)
			} else if !bloberror.HasCode(err, bloberror.BlobAlreadyExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := read(t, cc, "x")
	check(t, err)
	if len(won) != 1 || won[0] != got {
		t.Errorf("winners %q, content %q", won, got)
	}
	if names := files(t, filepath.Join(c.dir, account, "backups", "data")); len(names) != 1 {
		t.Errorf("segments %q, want one", names)
	}
}

// TestSweep: what a crash leaves behind is gone after the next start, and nothing else is.
func TestSweep(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cc := c.container("backups")
	check(t, write(t, cc, "x", "kept"))
	for _, n := range []string{"fresh", "stale"} {
		_, err := cc.NewBlockBlobClient(n).StageBlock(t.Context(), "AAAA", nopCloser{strings.NewReader("x")}, nil)
		check(t, err)
	}
	c.server.Close()
	dir := filepath.Join(c.dir, account, "backups")
	for _, f := range []string{"data/orphan", "blobs/.tmp-1", ".tmp-2", "blocks/fresh/.tmp-3"} {
		check(t, os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600))
	}
	for _, d := range []string{".deleted-a/data", account + "/.deleted-b/data", account + "/unfinished/blobs"} {
		check(t, os.MkdirAll(filepath.Join(c.dir, d), 0o700))
	}
	old := time.Now().Add(-8 * 24 * time.Hour)
	check(t, os.Chtimes(filepath.Join(dir, "blocks", "stale"), old, old))

	again := openCloud(t, c.dir, storage.Config{})
	cc = again.owner().NewContainerClient("backups")
	got, err := read(t, cc, "x")
	check(t, err)
	left := files(t, c.dir)
	if got != "kept" || len(left) != 4 { // container.json, record, segment, the fresh block
		t.Errorf("blob %q; files %q", got, left)
	}
	_, err = cc.NewBlockBlobClient("fresh").CommitBlockList(t.Context(), []string{"AAAA"}, nil)
	check(t, err)
	_, err = again.owner().CreateContainer(t.Context(), "unfinished", nil)
	check(t, err)
}

// TestMissingSegment: a blob whose bytes are gone is an error, not an empty blob.
func TestMissingSegment(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cc := c.container("backups")
	check(t, write(t, cc, "x", "content"))
	data := filepath.Join(c.dir, account, "backups", "data")
	names := files(t, data)
	check(t, os.Truncate(names[0], 3))
	if got, err := read(t, cc, "x"); err == nil {
		t.Errorf("a truncated segment was served as %q", got)
	}
	check(t, os.Remove(names[0]))
	if _, err := read(t, cc, "x"); !bloberror.HasCode(err, bloberror.InternalError) {
		t.Errorf("a missing segment: %v", err)
	}
}

// files lists the files below a folder.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	check(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, path)
		}
		return err
	}))
	return out
}
