package blob

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var azure = Policy{Suffixes: []string{".blob.core.windows.net", ".blob.core.localhost:10443"}}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]Target{
		"https://mhsmdemobackup.blob.core.windows.net/mhsmbackupcontainer":      {"mhsmdemobackup", "mhsmbackupcontainer", "mhsmdemobackup.blob.core.windows.net"},
		"https://ContosoBackup.blob.core.windows.net/mhsmdemobackupcontainer":   {"contosobackup", "mhsmdemobackupcontainer", "contosobackup.blob.core.windows.net"},
		"HTTPS://ContosoBackup.BLOB.core.Windows.net/mhsmdemobackupcontainer":   {"contosobackup", "mhsmdemobackupcontainer", "contosobackup.blob.core.windows.net"},
		"https://acct.blob.core.localhost:10443/c-1":                            {"acct", "c-1", "acct.blob.core.localhost:10443"},
		"https://abc.blob.core.windows.net/" + strings.Repeat("c", 63):          {"abc", strings.Repeat("c", 63), "abc.blob.core.windows.net"},
		"https://" + strings.Repeat("a", 24) + ".blob.core.windows.net/000-111": {strings.Repeat("a", 24), "000-111", strings.Repeat("a", 24) + ".blob.core.windows.net"},
	} {
		got, err := ParseTarget(uri, azure)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", uri, got, err)
		}
		if again, err := ParseTarget(got.URL(), azure); err != nil || again != want {
			t.Errorf("%s: its URL %s gives %+v, %v", uri, got.URL(), again, err)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	t.Parallel()
	for uri, says := range map[string]string{
		"":                                       "0 characters",
		"http://acct.blob.core.windows.net/cont": "only https",
		"file:///etc":                            "only https",
		"https:acct.blob.core.windows.net/cont":  "only https",
		"//acct.blob.core.windows.net/cont":      "only https",
		"acct.blob.core.windows.net/cont":        "only https",
		"https://user:pw@acct.blob.core.windows.net/cont":                      "user name",
		"https://acct.blob.core.windows.net@evil.example/cont":                 "user name",
		"https://acct.blob.core.windows.net/cont?sv=2021&sig=abc":              "token field",
		"https://acct.blob.core.windows.net/cont?":                             "token field",
		"https://acct.blob.core.windows.net/cont#x":                            "fragment",
		"https://acct.blob.core.windows.net/con%74":                            "percent",
		"https://acct%2eevil.example/cont":                                     "",
		"https://evil.example/cont":                                            "not under a storage suffix",
		"https://acct.blob.core.windows.net.evil.example/cont":                 "not under a storage suffix",
		"https://acct.blob.core.windows.net./cont":                             "not under a storage suffix",
		"https://acct.blob.core.windows.net:8443/cont":                         "not under a storage suffix",
		"https://acct.blob.core.localhost/cont":                                "not under a storage suffix",
		"https://.blob.core.windows.net/cont":                                  "not a storage account",
		"https://blob.core.windows.net/cont":                                   "not under a storage suffix",
		"https://a.b.blob.core.windows.net/cont":                               "not a storage account",
		"https://ab.blob.core.windows.net/cont":                                "not a storage account",
		"https://ac-ct.blob.core.windows.net/cont":                             "not a storage account",
		"https://" + strings.Repeat("a", 25) + ".blob.core.windows.net/cont":   "not a storage account",
		"https://127.0.0.1/cont":                                               "IP address",
		"https://127.0.0.1:10443/cont":                                         "IP address",
		"https://[::1]/cont":                                                   "IP address",
		"https://[fe80::1%25eth0]/cont":                                        "",
		"https://2130706433/cont":                                              "not under a storage suffix",
		"https://acct.blob.core.windows.net":                                   "names no container",
		"https://acct.blob.core.windows.net/":                                  "names no container",
		"https://acct.blob.core.windows.net/cont/":                             "more than the container",
		"https://acct.blob.core.windows.net/cont/folder":                       "more than the container",
		"https://acct.blob.core.windows.net//cont":                             "more than the container",
		"https://acct.blob.core.windows.net/..":                                "not a container",
		"https://acct.blob.core.windows.net/Cont":                              "lower-case",
		"https://acct.blob.core.windows.net/$root":                             "lower-case",
		"https://acct.blob.core.windows.net/co":                                "not a container",
		"https://acct.blob.core.windows.net/-cont":                             "not a container",
		"https://acct.blob.core.windows.net/cont-":                             "not a container",
		"https://acct.blob.core.windows.net/co--nt":                            "not a container",
		"https://acct.blob.core.windows.net/" + strings.Repeat("c", 64):        "not a container",
		"https://acct.blob.core.windows.net\\@evil.example/cont":               "backslash",
		"https://acct.blob.core.windows.net/cont\r\nHost: evil":                "control",
		" https://acct.blob.core.windows.net/cont":                             "space",
		"https://ácct.blob.core.windows.net/cont":                              "non-ASCII",
		"https://acct.blob.core.windows.net/c" + strings.Repeat("c", maxURI+1): "characters",
	} {
		_, err := ParseTarget(uri, azure)
		if !errors.Is(err, ErrBadTarget) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q: %v, want ErrBadTarget that says %q", uri, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "sig=") {
			t.Errorf("%.80q: the message repeats the signature", uri)
		}
	}
	if _, err := ParseTarget("https://acct.blob.core.windows.net/cont", Policy{}); !errors.Is(err, ErrBadTarget) {
		t.Errorf("the zero policy allows an address: %v", err)
	}
	if _, err := ParseTarget("https://acctblob.evil/cont", Policy{Suffixes: []string{"blob.evil"}}); !errors.Is(err, ErrBadTarget) {
		t.Errorf("a suffix without its dot matches: %v", err)
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"https://ContosoBackup.blob.core.windows.net/c-1", "https://a@b:1/%2f?x#y", "https://[::1%25x]:443/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		target, err := ParseTarget(uri, azure)
		if err != nil {
			if !errors.Is(err, ErrBadTarget) || target != (Target{}) {
				t.Errorf("%q: %+v, %v", uri, target, err)
			}
			return
		}
		again, err := ParseTarget(target.URL(), azure)
		if err != nil || again != target || !strings.EqualFold(uri, target.URL()) {
			t.Errorf("%q: %+v, again %+v, %v", uri, target, again, err)
		}
	})
}

func TestCheckAddr(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"20.60.1.1", "8.8.8.8", "2603:1030::1", "::ffff:20.60.1.1", "64:ff9b::143c:101", "2002:143c:101::1"} {
		if err := azure.CheckAddr(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	bad := []string{
		"127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "168.63.129.16",
		"100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1",
		"::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "fec0::1", "100::1", "5f00::1",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1", "20.60.1.1%eth0",
	}
	for _, s := range bad {
		a, err := netip.ParseAddr(s)
		if err != nil {
			a = netip.MustParseAddr("fe80::2%eth0")
		}
		if err := azure.CheckAddr(a); !errors.Is(err, ErrBadTarget) {
			t.Errorf("%s is allowed: %v", s, err)
		}
	}
	if err := azure.CheckAddr(netip.Addr{}); !errors.Is(err, ErrBadTarget) {
		t.Errorf("the zero address is allowed: %v", err)
	}
	site := Policy{Allow: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}}
	for s, ok := range map[string]bool{"10.20.3.4": true, "::ffff:10.20.3.4": true, "10.21.0.1": false, "127.0.0.1": false} {
		if err := site.CheckAddr(netip.MustParseAddr(s)); (err == nil) != ok {
			t.Errorf("%s with 10.20.0.0/16 allowed: %v", s, err)
		}
	}
}

// TestDialer: the connection goes to the very address that was checked, and each refusal dials nothing.
func TestDialer(t *testing.T) {
	t.Parallel()
	closed := errors.New("refused by the peer")
	for _, tc := range []struct {
		name, address string
		resolved      []string
		resolveErr    error
		up            string // the address that answers
		dialled       []string
		want          error
	}{
		{name: "public", address: "acct.blob.core.windows.net:443", resolved: []string{"20.60.1.1"}, up: "20.60.1.1:443", dialled: []string{"20.60.1.1:443"}},
		{name: "second address", address: "ACCT.blob.core.windows.net:443", resolved: []string{"20.60.1.1", "2603:1030::1"}, up: "[2603:1030::1]:443",
			dialled: []string{"20.60.1.1:443", "[2603:1030::1]:443"}},
		{name: "port", address: "acct.blob.core.localhost:10443", resolved: []string{"20.60.1.1"}, up: "20.60.1.1:10443", dialled: []string{"20.60.1.1:10443"}},
		{name: "loopback", address: "acct.blob.core.windows.net:443", resolved: []string{"127.0.0.1", "::1"}, want: ErrBadTarget},
		{name: "mapped loopback", address: "acct.blob.core.windows.net:443", resolved: []string{"::ffff:127.0.0.1"}, want: ErrBadTarget},
		{name: "mixed", address: "acct.blob.core.windows.net:443", resolved: []string{"169.254.169.254", "20.60.1.1"}, up: "20.60.1.1:443", dialled: []string{"20.60.1.1:443"}},
		{name: "down", address: "acct.blob.core.windows.net:443", resolved: []string{"20.60.1.1"}, dialled: []string{"20.60.1.1:443"}, want: ErrUnreachable},
		{name: "no such name", address: "acct.blob.core.windows.net:443", resolveErr: errors.New("no such host"), want: ErrUnreachable},
		{name: "no address", address: "acct.blob.core.windows.net:443", want: ErrUnreachable},
		{name: "other host", address: "evil.example:443", resolved: []string{"20.60.1.1"}, want: ErrBadTarget},
		{name: "other port", address: "acct.blob.core.windows.net:22", resolved: []string{"20.60.1.1"}, want: ErrBadTarget},
		{name: "literal", address: "20.60.1.1:443", resolved: []string{"20.60.1.1"}, want: ErrBadTarget},
		{name: "no port", address: "acct.blob.core.windows.net", want: ErrBadTarget},
	} {
		var dialled []string
		dial := azure.Dialer(func(context.Context, string) (addrs []netip.Addr, err error) {
			for _, s := range tc.resolved {
				addrs = append(addrs, netip.MustParseAddr(s))
			}
			return addrs, tc.resolveErr
		}, func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			if address != tc.up {
				return nil, closed
			}
			client, server := net.Pipe()
			return client, server.Close()
		})
		conn, err := dial(t.Context(), "tcp", tc.address)
		if err == nil {
			err = conn.Close()
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if strings.Join(dialled, " ") != strings.Join(tc.dialled, " ") {
			t.Errorf("%s: dialled %q, want %q", tc.name, dialled, tc.dialled)
		}
	}
}

func TestExactly(t *testing.T) {
	t.Parallel()
	for size, ok := range map[int64]bool{4: false, 5: true, 6: false} {
		b, err := io.ReadAll(Exactly(io.NopCloser(strings.NewReader("12345")), size))
		if (err == nil) != ok {
			t.Errorf("5 bytes as %d: %q, %v", size, b, err)
		}
	}
}
