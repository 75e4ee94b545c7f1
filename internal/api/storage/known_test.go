package storage

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// knownKey is the account key the answers below were made with: bytes 0 to 63.
func knownKey() []byte {
	k := make([]byte, 64)
	for i := range k {
		k[i] = byte(i)
	}
	return k
}

// TestKnownSAS checks tokens made offline by the Python SDK (azure-storage-blob 12.29, service version
// 2026-04-06) for account mhsmdemo. The user delegation tokens were signed with bytes 0 to 31.
func TestKnownSAS(t *testing.T) {
	t.Parallel()
	const delegated = "&skoid=aaaaaaaa-0000-4000-8000-000000000001&sktid=bbbbbbbb-0000-4000-8000-000000000002&skt=2026-12-30T00%3A00%3A00Z&ske=2027-01-03T00%3A00%3A00Z&sks=b&skv=2026-04-06"
	for _, tc := range []struct{ name, resource, query string }{
		{"container", "/blob/mhsmdemo/backups", "se=2027-01-02T03%3A04%3A05Z&sp=crdw&sv=2026-04-06&sr=c&sig=j6B8psrLKrwrlcWs8e/JBrD6KdpyUu9BtTu8eqzK5C8%3D"},
		{"container with every restriction", "/blob/mhsmdemo/backups", "st=2026-12-30T00%3A00%3A00Z&se=2027-01-02T03%3A04%3A05Z&sp=rl&sip=127.0.0.1-127.0.0.9&spr=https&sv=2026-04-06&sr=c&rscc=no-store&rscd=attachment%3B%20filename%3Dx&rsce=gzip&rscl=de&rsct=text/plain&sig=YtLB4d8BYpQkA6iLcuWlcqCXBbi8xsyQ36H8aoAPY5M%3D"},
		{"blob", "/blob/mhsmdemo/backups/folder/a b+ü.txt", "se=2027-01-02T03%3A04Z&sp=r&sv=2026-04-06&sr=b&sig=9y3X3Nhrl2Lx7eiHGGnHLv/JLpSO93qN6jp%2BIS5iLRE%3D"},
		{"account", "", "st=2026-12-30T00%3A00%3A00Z&se=2027-01-02T03%3A04%3A05Z&sp=rwdlac&spr=https&sv=2026-04-06&ss=b&srt=sco&sig=y8KWZZwdIqZX9RejBZYtzVJqfCeYAqVfCCu/d%2Br/gqs%3D"},
		{"user delegation", "/blob/mhsmdemo/backups", "se=2027-01-02T03%3A04%3A05Z&sp=rl&sv=2026-04-06&sr=c" + delegated + "&sig=W/r4xhEuXCGOPuIeM2nni6kGqJsKKn%2BYz7Vehr%2BD974%3D"},
		{"user delegation pinning the request", "/blob/mhsmdemo/backups/x", "se=2027-01-02T03%3A04%3A05Z&sp=rw&sv=2026-04-06&sr=b" + delegated + "&srh=x-ms-blob-type,x-ms-meta-a&srq=timeout&sig=rxPKo47DvIWjKVmAQBppynJ6JUBZMaKPfSVQkI9Dn04%3D"},
	} {
		q, err := url.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSAS(q)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		key, text := knownKey(), ""
		switch {
		case s.isAccount():
			text = s.accountString("mhsmdemo")
		case s.isDelegation():
			q.Set("timeout", "30")
			key, text = key[:32], s.delegationString(tc.resource, http.Header{"X-Ms-Blob-Type": {"BlockBlob"}, "X-Ms-Meta-A": {"1"}}, q)
		default:
			text = s.serviceString(tc.resource)
		}
		if !signedByAny([][]byte{nil, {1}, key}, text, s.mac) {
			t.Errorf("%s: the signature does not match %q", tc.name, text)
		}
	}
}

// TestOlderVersions pins the fields that older service versions sign.
func TestOlderVersions(t *testing.T) {
	t.Parallel()
	s := sas{permissions: "r", expiry: "E", protocol: "https", resource: "c"}
	s.key = delegationKey{oid: "O", tid: "T", start: "S", expiry: "X", service: "b", version: "V"}
	for version, want := range map[string][3]string{
		"2015-04-05": {"r\n\nE\n/R\n\n\nhttps\n2015-04-05\n\n\n\n\n", "", "A\nr\n\n\n\nE\n\nhttps\n2015-04-05\n"},
		"2018-11-09": {"r\n\nE\n/R\n\n\nhttps\n2018-11-09\nc\n\n\n\n\n\n", "r\n\nE\n/R\nO\nT\nS\nX\nb\nV\n\nhttps\n2018-11-09\nc\n\n\n\n\n\n", "A\nr\n\n\n\nE\n\nhttps\n2018-11-09\n"},
		"2020-12-06": {"r\n\nE\n/R\n\n\nhttps\n2020-12-06\nc\n\n\n\n\n\n\n", "r\n\nE\n/R\nO\nT\nS\nX\nb\nV\n\n\n\n\nhttps\n2020-12-06\nc\n\n\n\n\n\n\n", "A\nr\n\n\n\nE\n\nhttps\n2020-12-06\n\n"},
	} {
		s.version = version
		if got := s.serviceString("/R"); got != want[0] {
			t.Errorf("%s: service string %q, want %q", version, got, want[0])
		}
		if got := s.delegationString("/R", nil, nil); want[1] != "" && got != want[1] {
			t.Errorf("%s: delegation string %q, want %q", version, got, want[1])
		}
		if got := s.accountString("A"); got != want[2] {
			t.Errorf("%s: account string %q, want %q", version, got, want[2])
		}
	}
}

// TestKnownSharedKey checks requests signed by the Python SDK (azure-storage-blob 12.29). The first one
// has metadata names on which the service's order of headers and the order of bytes differ.
func TestKnownSharedKey(t *testing.T) {
	t.Parallel()
	common := map[string]string{"x-ms-version": "2026-04-06", "x-ms-date": "Mon, 23 Nov 2026 13:05:25 GMT"}
	s := &server{cfg: Config{Clock: func() time.Time { return time.Date(2026, 11, 23, 13, 6, 0, 0, time.UTC) }}}
	for _, tc := range []struct {
		method, target, body, signature string
		header                          map[string]string
	}{
		{"PUT", "/backups/folder/a%20b%2B%C3%BC.txt", "hello", "KT3chIFVkQoezVYeWOto2/02BAiZPZSSvNwFH67ZSxQ=", map[string]string{
			"x-ms-meta-a_b": "1", "x-ms-meta-a1": "2", "x-ms-meta-ab": "3", "x-ms-blob-type": "BlockBlob", "If-None-Match": "*",
			"Content-Type": "application/octet-stream", "x-ms-client-request-id": "8c26a278-e73e-11f1-9434-02fc00000001"}},
		{"GET", "/backups?restype=container&comp=list&prefix=mhsm-%C3%BC&include=metadata,copy", "", "ACLEBk4855Qe37dS2TVnbPkQ2fn9Vy8jeglVYsp0O6k=", map[string]string{
			"x-ms-client-request-id": "8c26dd7e-e73e-11f1-9434-02fc00000001"}},
		{"PUT", "/backups?restype=container", "", "jLQBrWpZZbBbcI+Ls8ykX3Br365/Yjja9v3Ux8Mm+aw=", map[string]string{
			"x-ms-client-request-id": "8c2708d0-e73e-11f1-9434-02fc00000001"}},
		{"GET", "/backups/x", "", "OdJL/URvJ892jLY6QwY3q56JUKjkVrDeDfegBntMeL4=", map[string]string{
			"x-ms-range": "bytes=5-14", "x-ms-client-request-id": "8c27345e-e73e-11f1-9434-02fc00000001"}},
	} {
		for _, change := range []string{"", "x-ms-version", "method"} {
			r := httptest.NewRequest(tc.method, tc.target, strings.NewReader(tc.body))
			for _, h := range []map[string]string{common, tc.header} {
				for k, v := range h {
					r.Header.Set(k, v)
				}
			}
			switch change {
			case "method":
				r.Method = "POST"
			case "x-ms-version":
				r.Header.Set(change, "2019-02-02")
			}
			c := &call{s: s, r: r, now: s.now(), version: r.Header.Get("x-ms-version"), query: r.URL.Query(), rawPath: rawPath(r), account: Account{Name: "mhsmdemo", Keys: [][]byte{knownKey()}}}
			_, err := c.authenticateSharedKey("mhsmdemo:"+tc.signature, false)
			if (err == nil) != (change == "") {
				t.Errorf("%s %s, changed %q: %v", tc.method, tc.target, change, err)
			}
		}
	}
}

// TestSharedKeyLite follows the example of the documentation: four fields, headers, short resource.
func TestSharedKeyLite(t *testing.T) {
	t.Parallel()
	q := requestToSign{
		method: "PUT", account: "testaccount1", version: "2009-09-19", path: "/mycontainer/hello.txt", query: url.Values{"comp": {"metadata"}, "timeout": {"20"}},
		header: http.Header{"Content-Type": {"text/plain; charset=UTF-8"}, "X-Ms-Date": {"Sun, 20 Sep 2009 20:36:40 GMT"}, "X-Ms-Meta-M1": {"v1"}, "X-Ms-Meta-M2": {"v2"}},
	}
	want := "PUT\n\ntext/plain; charset=UTF-8\n\nx-ms-date:Sun, 20 Sep 2009 20:36:40 GMT\nx-ms-meta-m1:v1\nx-ms-meta-m2:v2\n/testaccount1/mycontainer/hello.txt?comp=metadata"
	if got := q.sharedKeyLite(compareCollated); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	q.header.Del("X-Ms-Date")
	q.header.Set("Date", "Sun, 20 Sep 2009 20:36:40 GMT")
	if got := q.sharedKeyLite(compareCollated); !strings.HasPrefix(got, "PUT\n\ntext/plain; charset=UTF-8\nSun, 20 Sep 2009 20:36:40 GMT\n") {
		t.Errorf("got %q", got)
	}
}

func TestDelegationKeyCoversEveryField(t *testing.T) {
	t.Parallel()
	base := delegationKey{oid: "o", tid: "t", start: "s", expiry: "e", service: "b", version: "v", delegatedTID: "d"}
	seen := map[string]bool{}
	for _, change := range []func(*delegationKey){
		func(*delegationKey) {},
		func(k *delegationKey) { k.oid = "x" }, func(k *delegationKey) { k.tid = "x" }, func(k *delegationKey) { k.start = "x" }, func(k *delegationKey) { k.expiry = "x" },
		func(k *delegationKey) { k.service = "x" }, func(k *delegationKey) { k.version = "x" }, func(k *delegationKey) { k.delegatedTID = "x" },
	} {
		k := base
		change(&k)
		seen[base64.StdEncoding.EncodeToString(k.value(knownKey()))] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d different keys, want 8", len(seen))
	}
}
