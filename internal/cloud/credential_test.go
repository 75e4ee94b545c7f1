package cloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/store/mem"
)

func founded(t *testing.T) (*Cloud, Account, Credentials) {
	t.Helper()
	c := Open(mem.New())
	var cred Credentials
	a, err := c.Bootstrap(t.Context(), Options{Deliver: func(_ Account, c Credentials) error { cred = c; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c, a, cred
}

// TestSameWork: an unknown name costs as many hashes as a wrong password.
func TestSameWork(t *testing.T) {
	t.Parallel()
	c, a, _ := founded(t)
	n := 0
	c.secrets.testOnlyDerived = func() { n++ }
	for _, name := range []string{a.User.UPN, "nobody@contoso.onmicrosoft.com", "", "a/b", a.User.ObjectID} {
		n = 0
		if _, err := c.CheckPassword(t.Context(), name, "wrong"); !errors.Is(err, ErrBadCredentials) || n != 1 {
			t.Errorf("%q: %v after %d hashes", name, err, n)
		}
	}
	if err := c.SetDisabled(t.Context(), a.User.ObjectID, true); err != nil {
		t.Fatal(err)
	}
	n = 0
	if _, err := c.CheckPassword(t.Context(), a.User.UPN, "wrong"); !errors.Is(err, ErrBadCredentials) || n != 1 {
		t.Errorf("disabled: %v after %d hashes", err, n)
	}
}

func TestSetDisabled(t *testing.T) {
	t.Parallel()
	c, a, cred := founded(t)
	ctx := t.Context()
	active := func(id string) bool {
		ok, err := c.Active(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for _, id := range []string{a.User.ObjectID, a.ServicePrincipal.ObjectID} {
		if !active(id) {
			t.Errorf("%s is not active", id)
		}
		for _, disabled := range []bool{true, true, false, false, true} {
			if err := c.SetDisabled(ctx, strings.ToUpper(id), disabled); err != nil {
				t.Fatal(err)
			}
			if p, err := c.Principal(ctx, id); err != nil || p.Disabled != disabled || active(id) == disabled {
				t.Errorf("disabled %v: %+v, %v", disabled, p, err)
			}
		}
	}
	if _, err := c.CheckPassword(ctx, a.User.UPN, cred.Password); !errors.Is(err, ErrDisabled) {
		t.Errorf("right password: %v", err)
	}
	if _, err := c.CheckSecret(ctx, a.ServicePrincipal.AppID, cred.ClientSecret); !errors.Is(err, ErrDisabled) {
		t.Errorf("right secret: %v", err)
	}
	if _, err := c.CheckSecret(ctx, a.ServicePrincipal.AppID, "x"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("wrong secret: %v", err)
	}
	// A new password does not enable.
	if err := c.SetPassword(ctx, a.User.UPN, "another"); err != nil || active(a.User.ObjectID) {
		t.Errorf("active again: %v", err)
	}
	if err := c.DeletePrincipal(ctx, a.User.ObjectID); err != nil || active(a.User.ObjectID) {
		t.Errorf("removed: %v", err)
	}
	mi, _, err := c.EnsureManagedIdentity(ctx, "/subscriptions/s/resourceGroups/g/providers/p/i/disabled", "x", map[string]string{`"disabled":true`: `"disabled":true`})
	if err != nil || !active(mi.PrincipalID) {
		t.Errorf("a managed identity: %v", err)
	}
	if err := c.SetDisabled(ctx, mi.PrincipalID, true); !errors.Is(err, ErrInvalid) {
		t.Errorf("a managed identity: %v", err)
	}
	for _, id := range []string{NewGUID(), "", "a/b"} {
		if err := c.SetDisabled(ctx, id, true); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestRotateSecret: the old secret ends at once, or with the next rotation.
func TestRotateSecret(t *testing.T) {
	t.Parallel()
	c, a, cred := founded(t)
	app := a.ServicePrincipal.AppID
	check := func(want map[string]bool) {
		t.Helper()
		for secret, ok := range want {
			if _, err := c.CheckSecret(t.Context(), app, secret); (err == nil) != ok {
				t.Errorf("%.3s: %v", secret, err)
			}
		}
	}
	for _, step := range []struct {
		secret string
		keep   bool
		want   map[string]bool
	}{
		{"two", true, map[string]bool{cred.ClientSecret: true, "two": true}},
		{"three", true, map[string]bool{cred.ClientSecret: false, "two": true, "three": true}},
		{"four", false, map[string]bool{"two": false, "three": false, "four": true}},
	} {
		if err := c.SetSecret(t.Context(), app, step.secret, step.keep); err != nil {
			t.Fatal(err)
		}
		check(step.want)
	}
	none, err := c.AddServicePrincipal(t.Context(), ServicePrincipal{}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "x"} {
		if _, err := c.CheckSecret(t.Context(), none.AppID, s); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("an application without a secret takes %q: %v", s, err)
		}
	}
}

func TestFederatedCredentials(t *testing.T) {
	t.Parallel()
	c, a, _ := founded(t)
	ctx, app := t.Context(), a.ServicePrincipal.AppID
	good := Federated{Name: "one", Issuer: "https://issuer.example/x", Subject: "s"}
	for name, change := range map[string]func(*Federated){
		"no name":    func(f *Federated) { f.Name = "" },
		"no subject": func(f *Federated) { f.Subject = "" },
		"no issuer":  func(f *Federated) { f.Issuer = "" },
		"issuer":     func(f *Federated) { f.Issuer = "issuer.example" },
		"scheme":     func(f *Federated) { f.Issuer = "file:///etc/passwd" },
		"user info":  func(f *Federated) { f.Issuer = "https://u:p@issuer.example" },
		"fragment":   func(f *Federated) { f.Issuer = "https://issuer.example#x" },
	} {
		f := good
		if change(&f); !errors.Is(c.AddFederated(ctx, app, f), ErrInvalid) {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := c.AddFederated(ctx, app, good); err != nil {
		t.Fatal(err)
	}
	for _, twice := range []Federated{{Name: "ONE", Issuer: good.Issuer, Subject: "t"}, {Name: "two", Issuer: good.Issuer, Subject: good.Subject, Audience: DefaultAudience}} {
		if err := c.AddFederated(ctx, app, twice); !errors.Is(err, ErrExists) {
			t.Errorf("%+v: %v", twice, err)
		}
	}
	for i := range maxCredentials - 1 {
		if err := c.AddFederated(ctx, app, Federated{Name: fmt.Sprint(i), Issuer: good.Issuer, Subject: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddFederated(ctx, app, Federated{Name: "more", Issuer: good.Issuer, Subject: "more"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
	if err := c.RemoveFederated(ctx, app, "none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := c.RemoveCertificate(ctx, app, "00"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	all, err := c.Applications(ctx)
	if err != nil || len(all) != 1 || len(all[0].Federated) != maxCredentials || all[0].Federated[0].Audience != DefaultAudience {
		t.Errorf("%+v, %v", all, err)
	}
	// What else the record holds stays.
	if err := c.SetSecret(ctx, app, "new", false); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Application(ctx, app); err != nil || len(got.Federated) != maxCredentials {
		t.Errorf("after a rotation: %+v, %v", got, err)
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	c, _, _ := founded(t)
	ctx := t.Context()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(k any) []byte {
		b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k, KeyID: "k"}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, i := range map[string]ExternalIssuer{
		"private key":   {URL: "https://issuer.example", JWKS: set(key)},
		"symmetric key": {URL: "https://issuer.example", JWKS: set([]byte("0123456789abcdef"))},
		"no key":        {URL: "https://issuer.example", JWKS: []byte(`{"keys":[]}`)},
		"no set":        {URL: "https://issuer.example", JWKS: []byte(`[]`)},
		"no URL":        {JWKS: set(key.Public())},
	} {
		if err := c.PutIssuer(ctx, i); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := ExternalIssuer{URL: "https://issuer.example", JWKS: set(key.Public())}
	if err := c.PutIssuer(ctx, want); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Issuer(ctx, want.URL); err != nil || string(got.JWKS) != string(want.JWKS) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Issuer(ctx, want.URL+"/"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another spelling: %v", err)
	}
	if all, err := c.Issuers(ctx); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if err := c.RemoveIssuer(ctx, want.URL); err != nil {
		t.Error(err)
	}
	if err := c.RemoveIssuer(ctx, want.URL); !errors.Is(err, ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
}
