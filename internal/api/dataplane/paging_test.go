package dataplane_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/hsmtest"
	"redoubt/internal/key"
)

// onePage asks for a page; next is the link to the following one as a target, "" on the last page.
func onePage(t *testing.T, c client, target string) (names []string, next string) {
	t.Helper()
	var p keyPage
	c.do(target, nil).Want(200).JSON(&p)
	for _, k := range p.Value {
		names = append(names, k.Kid[strings.LastIndex(k.Kid, "/")+1:])
	}
	if p.NextLink == nil {
		return names, ""
	}
	rest, ok := strings.CutPrefix(*p.NextLink, "https://"+host)
	if !ok {
		t.Fatalf("nextLink %s", *p.NextLink)
	}
	return names, "GET " + rest
}

// TestPagesOverTime: a list that is read while keys come and go, and over a restart of the server, shows every key once
// that was there all the time, in order.
func TestPagesOverTime(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	for i := range 60 {
		if _, err := d.CreateKey(t.Context(), hsmtest.Caller(hsmtest.User), key.Name(fmt.Sprintf("key-%02d", i)), key.CreateParams{Spec: key.Spec{Type: key.Oct, Bits: 128}}); err != nil {
			t.Fatal(err)
		}
	}
	c := as(s.Serve(), hsmtest.User)
	seen, next := onePage(t, c, "GET /keys?maxresults=20&api-version=7.4")
	if len(seen) != 20 || seen[19] != "key-19" || !strings.Contains(next, "maxresults=20") || !strings.Contains(next, "api-version=7.4") {
		t.Fatalf("%q, then %s", seen, next)
	}
	s.Restart()
	c = as(s.Serve(), hsmtest.User)
	// The last one shown, the next to be shown, the last of all; two new ones before and behind the place.
	for _, gone := range []string{"key-19", "key-20", "key-59"} {
		c.do("DELETE /keys/"+gone, nil).Want(200)
	}
	c.do("POST /keys/key-05-new/create", `{"kty":"oct","key_size":128}`).Want(200)
	c.do("POST /keys/KEY-30-new/create", `{"kty":"oct","key_size":128}`).Want(200)
	again, _ := onePage(t, c, next)
	second, next := onePage(t, c, next) // a link may be followed twice
	if !slices.Equal(again, second) {
		t.Errorf("the same link: %q, then %q", again, second)
	}
	seen = append(seen, second...)
	s.Restart()
	c = as(s.Serve(), hsmtest.User)
	for next != "" {
		var page []string
		page, next = onePage(t, c, next)
		seen = append(seen, page...)
	}
	want := []string{}
	for i := range 59 {
		if i != 20 {
			want = append(want, fmt.Sprintf("key-%02d", i))
		}
		if i == 30 {
			want = append(want, "KEY-30-new")
		}
	}
	if !slices.Equal(seen, want) {
		t.Errorf("%q,\nwant %q", seen, want)
	}
	// A place from which everything has gone is the end.
	_, next = onePage(t, c, "GET /keys?maxresults=25")
	c.do("DELETE /keys/key-05-new", nil).Want(200)
	for _, k := range slices.DeleteFunc(want, func(k string) bool { return k == "key-19" }) {
		c.do("DELETE /keys/"+k, nil).Want(200)
	}
	if page, end := onePage(t, c, next); len(page) != 0 || end != "" {
		t.Errorf("%q, %s", page, end)
	}
	if a := c.do(next, nil).Want(200); string(a.Body) != `{"value":[],"nextLink":null}` {
		t.Errorf("the empty page is %s", a.Body)
	}
}

// TestNextLink: it is absolute, on the host and path that the client asked, and says all that the next request needs.
func TestNextLink(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Active(hsmName)
	w := s.Serve()
	token := s.Token(hsmtest.User, hsmtest.Devices)
	for i := range 2 {
		as(w, hsmtest.User).do(fmt.Sprintf("POST /keys/k%d/create", i), `{"kty":"EC"}`).Want(200)
		as(w, hsmtest.User).do("POST /keys/k0/create", `{"kty":"EC"}`).Want(200)
	}
	for _, asked := range []string{host, "contosomhsm.managedhsm.localhost:8443", "ContosoMHSM.managedhsm.azure.net:443"} {
		for _, path := range []string{"/keys", "//Keys/", "/keys/K0/versions", "/keys/k%30/versions"} {
			var p keyPage
			w.Do(hsmtest.Ask{Method: "GET", Host: asked, Path: path + "?maxresults=1&api-version=2025-07-01&other=x&$skiptoken=", Token: token}).Want(200).JSON(&p)
			if p.NextLink == nil {
				t.Fatalf("%s: no second page", path)
			}
			u, err := url.Parse(*p.NextLink)
			if err != nil || u.Scheme != "https" || u.Host != asked || u.EscapedPath() != path {
				t.Errorf("%s on %s: %s", path, asked, *p.NextLink)
				continue
			}
			if q := u.Query(); len(q) != 3 || q.Get("maxresults") != "1" || q.Get("api-version") != "2025-07-01" || q.Get("$skiptoken") == "" {
				t.Errorf("%s on %s: %s", path, asked, *p.NextLink)
			}
			w.Do(hsmtest.Ask{Method: "GET", Host: asked, Path: u.RequestURI(), Token: token}).Want(200)
		}
	}
}
