package storage_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"redoubt/internal/api/storage"
)

// pseudorandom makes n reproducible bytes.
func pseudorandom(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestContainers(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	owner := c.owner()
	for _, n := range []string{"backups", "archive", "backups-2"} {
		_, err := owner.CreateContainer(ctx, n, &service.CreateContainerOptions{Metadata: map[string]*string{"purpose": to.Ptr("test of " + n)}})
		check(t, err)
	}
	_, err := owner.CreateContainer(ctx, "backups", nil)
	wantCode(t, "create again", err, bloberror.ContainerAlreadyExists)

	var names []string
	for p := owner.NewListContainersPager(&service.ListContainersOptions{MaxResults: to.Ptr[int32](2), Include: service.ListContainersInclude{Metadata: true}}); p.More(); {
		r, err := p.NextPage(ctx)
		check(t, err)
		for _, i := range r.ContainerItems {
			names = append(names, *i.Name+":"+*i.Metadata["purpose"])
		}
	}
	if want := []string{"archive:test of archive", "backups:test of backups", "backups-2:test of backups-2"}; !slices.Equal(names, want) {
		t.Errorf("listed %q, want %q", names, want)
	}

	cc := owner.NewContainerClient("backups")
	before, err := cc.GetProperties(ctx, nil)
	check(t, err)
	_, err = cc.SetMetadata(ctx, &container.SetMetadataOptions{Metadata: map[string]*string{"a": to.Ptr("1")}})
	check(t, err)
	after, err := cc.GetProperties(ctx, nil)
	check(t, err)
	if *before.ETag == *after.ETag || len(after.Metadata) != 1 || *after.LeaseState != "available" {
		t.Errorf("properties after the change: %+v", after)
	}
	acl, err := cc.GetAccessPolicy(ctx, nil)
	check(t, err)
	if acl.BlobPublicAccess != nil || len(acl.SignedIdentifiers) != 0 {
		t.Errorf("access policy %+v, want none", acl)
	}
	_, err = cc.Delete(ctx, nil)
	check(t, err)
	_, err = cc.GetProperties(ctx, nil)
	wantCode(t, "properties of a deleted container", err, bloberror.ContainerNotFound)
	_, err = cc.Delete(ctx, nil)
	wantCode(t, "delete again", err, bloberror.ContainerNotFound)
	_, err = read(t, cc, "x")
	wantCode(t, "read from a deleted container", err, bloberror.ContainerNotFound)
	wantCode(t, "write to a deleted container", write(t, cc, "x", "y"), bloberror.ContainerNotFound)
	_, err = list(t, cc, "", 0)
	wantCode(t, "list a deleted container", err, bloberror.ContainerNotFound)

	props, err := owner.GetProperties(ctx, nil)
	check(t, err)
	if props.DefaultServiceVersion == nil {
		t.Error("service properties name no version")
	}
	info, err := owner.GetAccountInfo(ctx, nil)
	check(t, err)
	if *info.AccountKind != service.AccountKindStorageV2 {
		t.Errorf("account kind %v", *info.AccountKind)
	}
}

func TestBlobRoundTrip(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	cc := c.container("backups")
	names := []string{"mhsm-demo-2026/manifest.json", "ünï cødé & more+%2f?#.txt", "a/../../b", "..", ".hidden", "UPPER", "upper", "x//y/", strings.Repeat("long/", 200) + "end"}
	for _, n := range names {
		check(t, write(t, cc, n, "content of "+n))
	}
	for _, n := range names {
		got, err := read(t, cc, n)
		check(t, err)
		if got != "content of "+n {
			t.Errorf("%q holds %q", n, got)
		}
	}
	got, err := list(t, cc, "", 4)
	check(t, err)
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("listed %q, want %q", got, names)
	}
	if got, err = list(t, cc, "mhsm-demo", 0); err != nil || len(got) != 1 {
		t.Errorf("prefix listed %q, %v", got, err)
	}
	for _, n := range names {
		_, err := cc.NewBlobClient(n).Delete(ctx, nil)
		check(t, err)
		_, err = read(t, cc, n)
		wantCode(t, "read a deleted blob", err, bloberror.BlobNotFound)
	}
	_, err = cc.NewBlobClient("x").Delete(ctx, nil)
	wantCode(t, "delete an absent blob", err, bloberror.BlobNotFound)
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	bb := c.container("backups").NewBlockBlobClient("big")
	data := pseudorandom(3<<20 + 12345)
	_, err := bb.UploadStream(ctx, bytes.NewReader(data), &blockblob.UploadStreamOptions{BlockSize: 1 << 20, Concurrency: 4, HTTPHeaders: &blob.HTTPHeaders{BlobContentType: to.Ptr("application/x-test")}})
	check(t, err)
	got := make([]byte, len(data))
	_, err = bb.DownloadBuffer(ctx, got, &blob.DownloadBufferOptions{BlockSize: 700_000, Concurrency: 3})
	check(t, err)
	if !bytes.Equal(got, data) {
		t.Fatal("the blob came back different")
	}
	bl, err := bb.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
	check(t, err)
	if len(bl.CommittedBlocks) != 4 || len(bl.UncommittedBlocks) != 0 || *bl.BlobContentLength != int64(len(data)) {
		t.Fatalf("block list %+v", bl)
	}

	id := func(i int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%04d", i)) }
	for i := range 3 {
		_, err := bb.StageBlock(ctx, id(i), nopCloser{strings.NewReader(fmt.Sprintf("<%d>", i))}, nil)
		check(t, err)
	}
	if now := make([]byte, len(data)); true {
		_, err = bb.DownloadBuffer(ctx, now, nil)
		check(t, err)
		if !bytes.Equal(now, data) {
			t.Error("staged blocks changed the blob before they were committed")
		}
	}
	_, err = bb.CommitBlockList(ctx, []string{id(0), id(7)}, nil)
	wantCode(t, "commit of a block nobody staged", err, bloberror.InvalidBlockList)
	first := *bl.CommittedBlocks[3].Name
	_, err = bb.CommitBlockList(ctx, []string{id(2), first, id(0), id(2)}, &blockblob.CommitBlockListOptions{Metadata: map[string]*string{"k": to.Ptr("v")}})
	check(t, err)
	res, err := bb.DownloadStream(ctx, nil)
	check(t, err)
	all, err := io.ReadAll(res.Body)
	check(t, err)
	check(t, res.Body.Close())
	if want := "<2>" + string(data[3<<20:]) + "<0><2>"; string(all) != want {
		t.Errorf("reassembled blob has %d bytes, want %d, or other ones", len(all), len(want))
	}
	if res.ContentMD5 != nil || *res.Metadata["K"] != "v" {
		t.Errorf("properties of the committed blob: %+v", res)
	}
	bl, err = bb.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
	check(t, err)
	if len(bl.UncommittedBlocks) != 0 || len(bl.CommittedBlocks) != 4 {
		t.Errorf("block list after the commit: %+v", bl)
	}
	_, err = bb.StageBlock(ctx, base64.StdEncoding.EncodeToString(make([]byte, 65)), nopCloser{strings.NewReader("x")}, nil)
	wantCode(t, "a block id that is too long", err, "InvalidBlockId")

	fresh := c.owner().NewContainerClient("backups").NewBlockBlobClient("uncommitted")
	_, err = fresh.StageBlock(ctx, id(1), nopCloser{strings.NewReader("x")}, nil)
	check(t, err)
	if _, err = fresh.GetProperties(ctx, nil); !bloberror.HasCode(err, bloberror.BlobNotFound) {
		t.Errorf("a blob with staged blocks only: %v, want BlobNotFound", err)
	}
	bl, err = fresh.GetBlockList(ctx, blockblob.BlockListTypeUncommitted, nil)
	check(t, err)
	if len(bl.UncommittedBlocks) != 1 || *bl.UncommittedBlocks[0].Name != id(1) {
		t.Errorf("uncommitted list %+v", bl.UncommittedBlocks)
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	bb := c.container("backups").NewBlockBlobClient("x")
	data := pseudorandom(100_000)
	up, err := bb.UploadBuffer(ctx, data, &blockblob.UploadBufferOptions{TransactionalValidation: blob.TransferValidationTypeComputeCRC64()})
	check(t, err)
	if up.ContentCRC64 == nil {
		t.Error("no CRC-64 came back")
	}
	for _, o := range []blockblob.UploadOptions{
		{TransactionalValidation: blob.TransferValidationTypeCRC64(1)},
		{TransactionalValidation: blob.TransferValidationTypeMD5(make([]byte, 16))},
	} {
		_, err = bb.Upload(ctx, nopCloser{bytes.NewReader([]byte("other"))}, &o)
		if !bloberror.HasCode(err, bloberror.MD5Mismatch, "Crc64Mismatch") {
			t.Errorf("upload with a wrong digest: %v", err)
		}
	}
	res, err := bb.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: 10, Count: 1000}, RangeGetContentMD5: to.Ptr(true)})
	check(t, err)
	check(t, res.Body.Close())
	part, whole := md5.Sum(data[10:1010]), md5.Sum(data)
	if !bytes.Equal(res.ContentMD5, part[:]) || !bytes.Equal(res.BlobContentMD5, whole[:]) {
		t.Errorf("MD5 of the range %x, of the blob %x", res.ContentMD5, res.BlobContentMD5)
	}
	props, err := bb.GetProperties(ctx, nil)
	check(t, err)
	if !bytes.Equal(props.ContentMD5, whole[:]) || *props.ContentLength != 100_000 {
		t.Errorf("properties: md5 %x, %d bytes", props.ContentMD5, *props.ContentLength)
	}
}

func TestPropertiesAndConditions(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	ctx := t.Context()
	bb := c.container("backups").NewBlockBlobClient("x")
	ifNone := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
	one, err := bb.Upload(ctx, nopCloser{strings.NewReader("one")}, &blockblob.UploadOptions{AccessConditions: ifNone})
	check(t, err)
	_, err = bb.Upload(ctx, nopCloser{strings.NewReader("two")}, &blockblob.UploadOptions{AccessConditions: ifNone})
	wantCode(t, "upload over an existing blob", err, bloberror.BlobAlreadyExists)
	_, err = bb.CommitBlockList(ctx, nil, &blockblob.CommitBlockListOptions{AccessConditions: ifNone})
	wantCode(t, "commit over an existing blob", err, bloberror.BlobAlreadyExists)

	if _, err := bb.SetHTTPHeaders(ctx, blob.HTTPHeaders{BlobContentType: to.Ptr("text/x"), BlobCacheControl: to.Ptr("no-store"), BlobContentDisposition: to.Ptr("inline")}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := bb.SetMetadata(ctx, map[string]*string{"a_b": to.Ptr("1"), "a1": to.Ptr("2"), "ab": to.Ptr("3")}, nil); err != nil {
		t.Fatal(err)
	}
	p, err := bb.GetProperties(ctx, nil)
	check(t, err)
	if *p.ContentType != "text/x" || *p.CacheControl != "no-store" || *p.ContentDisposition != "inline" || len(p.Metadata) != 3 || p.ContentMD5 != nil {
		t.Errorf("properties %+v", p)
	}
	stale := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: one.ETag}}
	_, err = bb.DownloadStream(ctx, &blob.DownloadStreamOptions{AccessConditions: stale})
	wantCode(t, "read of a stale ETag", err, bloberror.ConditionNotMet)
	_, err = bb.Delete(ctx, &blob.DeleteOptions{AccessConditions: stale})
	wantCode(t, "delete of a stale ETag", err, bloberror.ConditionNotMet)
	res, _ := c.do(http.MethodGet, "/backups/x", map[string]string{"If-None-Match": string(*p.ETag)}, "")
	if res.StatusCode != http.StatusNotModified {
		t.Errorf("read of a known ETag: %s", res.Status)
	}
	if got, err := read(t, c.owner().NewContainerClient("backups"), "x"); err != nil || got != "one" {
		t.Errorf("the blob holds %q, %v", got, err)
	}
}

func TestHierarchy(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cc := c.container("backups")
	for _, n := range []string{"a/1", "a/2", "a/b/3", "a.txt", "b/1", "c"} {
		check(t, write(t, cc, n, n))
	}
	for _, tc := range []struct{ prefix, want string }{
		{"", "P a/, B a.txt, P b/, B c"},
		{"a/", "P a/b/, B a/1, B a/2"},
		{"zz", ""},
	} {
		for _, size := range []int32{1, 2, 5000} {
			var got []string
			for p := cc.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &tc.prefix, MaxResults: &size}); p.More(); {
				r, err := p.NextPage(t.Context())
				check(t, err)
				for _, b := range r.Segment.BlobPrefixes {
					got = append(got, "P "+*b.Name)
				}
				for _, b := range r.Segment.BlobItems {
					got = append(got, "B "+*b.Name)
				}
			}
			want := strings.Split(tc.want, ", ")
			if tc.want == "" {
				want = nil
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("prefix %q, pages of %d: %q, want %q", tc.prefix, size, got, want)
			}
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	cc := c.container("backups")
	check(t, write(t, cc, "a/b", "kept"))
	before, err := cc.NewBlobClient("a/b").GetProperties(t.Context(), nil)
	check(t, err)
	c.server.Close()

	again := openCloud(t, c.dir, storage.Config{})
	cc = again.owner().NewContainerClient("backups")
	got, err := read(t, cc, "a/b")
	check(t, err)
	after, err := cc.NewBlobClient("a/b").GetProperties(t.Context(), nil)
	check(t, err)
	if got != "kept" || *before.ETag != *after.ETag || !before.CreationTime.Equal(*after.CreationTime) {
		t.Errorf("after the restart: %q, ETag %s, was %s", got, *after.ETag, *before.ETag)
	}

	check(t, storage.RemoveAccount(c.dir, account))
	_, err = read(t, cc, "a/b")
	wantCode(t, "read from a removed account", err, bloberror.ContainerNotFound)
	check(t, storage.RemoveAccount(c.dir, account))
	if storage.RemoveAccount(c.dir, "../x") == nil {
		t.Error("RemoveAccount takes a path for an account")
	}
}
