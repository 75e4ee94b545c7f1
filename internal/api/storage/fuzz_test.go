package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func FuzzBlobName(f *testing.F) {
	for _, s := range []string{"a", "a/b", "..", "../../etc/passwd", ".hidden", "~", "%2f", "A", "ü", "a\x00b", strings.Repeat("Ü", 90), strings.Repeat("/", 1024)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		file := encodeName(name)
		if strings.ContainsAny(file, "/\\\x00") || strings.HasPrefix(file, ".") || len(file) > maxFileName || file != strings.ToLower(file) {
			t.Fatalf("%q becomes the file name %q", name, file)
		}
		got, ok := decodeName(file)
		hashed := strings.HasPrefix(file, "~")
		if ok == hashed && name != "" || ok && got != name {
			t.Fatalf("%q -> %q -> %q, %v", name, file, got, ok)
		}
		if got, ok := decodeName(name); ok && encodeName(got) != name {
			t.Fatalf("%q decodes to %q, which encodes to something else", name, got)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=0-1", "bytes=-1", "bytes=5-4", "bytes=9223372036854775807-9223372036854775807", "bytes= 1-2", ""} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		off, n, err := parseRange(s, size)
		if err == nil && (off < 0 || n < 1 || n > size || off > size-n) {
			t.Fatalf("%q of %d bytes: offset %d, length %d", s, size, off, n)
		}
	})
}

func FuzzBlockList(f *testing.F) {
	for _, s := range []string{
		`<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>AAAA</Latest><Committed>AAAB</Committed><Uncommitted>AAAC</Uncommitted></BlockList>`,
		"<BlockList/>", "<BlockList><Latest>AAAA</Latest>", "<X/>", "<BlockList><Latest><Latest>AAAA</Latest></Latest></BlockList>", "<!DOCTYPE a [<!ENTITY b 'c'>]><BlockList>&b;</BlockList>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := parseBlockList(body)
		if err != nil {
			var e *apiError
			if !errors.As(err, &e) || e.status != http.StatusBadRequest {
				t.Fatalf("%q: %v is not a refusal", body, err)
			}
			return
		}
		for _, b := range list {
			if len(b.id) == 0 || len(b.id) > 2*maxBlockIDLength || strings.Trim(b.id, "0123456789abcdef") != "" {
				t.Fatalf("%q: block id %q", body, b.id)
			}
		}
	})
}

func FuzzSAS(f *testing.F) {
	for _, s := range []string{
		"se=2027-01-02T03%3A04%3A05Z&sp=crdw&sv=2026-04-06&sr=c&sig=j6B8psrLKrwrlcWs8e/JBrD6KdpyUu9BtTu8eqzK5C8%3D",
		"st=2026-12-30&se=2027-01-02T03%3A04Z&sp=rl&sip=::1-::2&spr=https&sv=2018-11-09&sr=b&sig=AA==",
		"se=x&sp=rwdlac&spr=https,http&sv=2015-04-05&ss=b&srt=sco&sig=AAAA",
		"se=2027-01-02&sp=r&sv=2026-04-06&sr=c&skoid=o&ske=2027-01-02&sks=b&srh=a,b,,&srq=,c&sig=AAAA",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		s, err := parseSAS(q)
		if err != nil {
			return
		}
		// The number of lines says which field is which; it must not depend on the values.
		lines := map[bool]int{true: 10, false: 13}[s.isAccount()]
		text := s.serviceString("/blob/a/c")
		if s.isAccount() {
			text = s.accountString("a")
		}
		if s.version >= versionScope {
			lines++
		}
		if !s.isAccount() && s.version >= versionSignedResource {
			lines += 2
		}
		if got := strings.Count(text, "\n") + 1; got != lines {
			t.Fatalf("%q: %d lines, want %d: %q", raw, got, lines, text)
		}
		_ = s.delegationString("/blob/a/c", http.Header{}, q)
		_ = timeFrame("x", s.start, s.expiry, time.Unix(0, 0))
		_ = addressAllowed(s.ip, "127.0.0.1:1")
	})
}

func FuzzSplitPath(f *testing.F) {
	for _, s := range []string{"/", "", "/backups", "/backups/a%2Fb", "/backups/..%2f..", "//", "/a%zz", `/backups/a\b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		container, blob, err := splitPath(raw)
		if err != nil {
			return
		}
		if container != "" && !validContainer(container) || container == "" && blob != "" || blob != "" && !validBlobName(blob) {
			t.Fatalf("%q gives container %q, blob %q", raw, container, blob)
		}
		if strings.ContainsAny(container, `./\`) {
			t.Fatalf("%q gives container %q", raw, container)
		}
	})
}

// TestDistinctNames: two blobs never share a file.
func TestDistinctNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if a != b && encodeName(a) == encodeName(b) {
			t.Fatalf("%q and %q are both %q", a, b, encodeName(a))
		}
	})
}

// TestHeaderOrder pins the service's collation on the names where it matters.
func TestHeaderOrder(t *testing.T) {
	t.Parallel()
	sorted := []string{"x-ms-blob-type", "x-ms-date", "x-ms-meta-a", "x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-meta-ab", "x-ms-version"}
	for i := 1; i < len(sorted); i++ {
		if compareCollated(sorted[i-1], sorted[i]) >= 0 || compareCollated(sorted[i], sorted[i-1]) <= 0 {
			t.Errorf("%s does not come before %s", sorted[i-1], sorted[i])
		}
	}
}

func TestErrorsOfTheMachine(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("write: %w", &fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC})
	for _, tc := range []struct {
		err   error
		want  *apiError
		known bool
	}{
		{full, errNoSpace, true},
		{errors.Join(full, fs.ErrNotExist), errNoSpace, true},
		{syscall.EDQUOT, errNoSpace, true},
		{fmt.Errorf("body: %w", io.ErrUnexpectedEOF), errIncompleteBody, true},
		{errors.Join(errInvalidBlockList, fs.ErrNotExist), errInvalidBlockList, true},
		{syscall.EIO, errInternal, false},
	} {
		if got, known := asAPIError(tc.err); got != tc.want || known != tc.known {
			t.Errorf("%v: %v, %v", tc.err, got, known)
		}
	}
}

// TestFullDisk: a write that finds no room leaves the blob that was there and no trace of itself.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	d := newDisk(t.TempDir())
	if err := d.createContainer("account", "backups", containerInfo{}); err != nil {
		t.Fatal(err)
	}
	p := d.place("account", "backups", "x")
	_, _, err := d.writeSegment(p, io.MultiReader(strings.NewReader("some bytes"), failing{syscall.ENOSPC}))
	if e, _ := asAPIError(err); e != errNoSpace {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(p.dir, "data")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
