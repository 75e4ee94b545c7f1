package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/cloud"
)

const (
	cluster  = "https://oidc.example/cluster-1"
	workload = "system:serviceaccount:payments:signer"
)

// outside is an issuer elsewhere, with an EC key.
type outside struct {
	key  *ecdsa.PrivateKey
	jwks []byte
}

func newOutside(t testing.TB) outside {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return outside{key, b}
}

func (o outside) token(t testing.TB, change ...any) string {
	t.Helper()
	c := map[string]any{"iss": cluster, "sub": workload, "aud": []string{cloud.DefaultAudience}, "iat": siteStart.Unix(), "nbf": siteStart.Unix(), "exp": siteStart.Unix() + 3600}
	kid := "one"
	for i := 0; i < len(change); i += 2 {
		k, _ := change[i].(string)
		if k == "kid" {
			kid, _ = change[i+1].(string)
			continue
		}
		if c[k] = change[i+1]; change[i+1] == nil {
			delete(c, k)
		}
	}
	return signed(t, jose.ES256, jose.JSONWebKey{Key: o.key, KeyID: kid}, nil, c)
}

// TestFederated: tokens of a configured issuer, subject and audience do, as often as they are shown and until they
// expire; what differs in one thing does not.
func TestFederated(t *testing.T) {
	t.Parallel()
	s, o := newSite(t), newOutside(t)
	ctx := t.Context()
	app, err := s.cloud.AddServicePrincipal(ctx, cloud.ServicePrincipal{DisplayName: "workload"}, "")
	if err != nil {
		t.Fatal(err)
	}
	show := func(raw string) float64 { got, _ := s.show(t, app.AppID, raw, hsmAud); return got }
	if got := show(o.token(t)); got != 700211 {
		t.Errorf("before anything is configured: %v", got)
	}
	for _, f := range []cloud.Federated{{Name: "prod", Issuer: cluster, Subject: workload},
		{Name: "other", Issuer: cluster, Subject: "system:serviceaccount:payments:other", Audience: "api://other"}} {
		if err := s.cloud.AddFederated(ctx, app.AppID, f); err != nil {
			t.Fatal(err)
		}
	}
	if got := show(o.token(t)); got != 700211 {
		t.Errorf("before the keys are known: %v", got)
	}
	if err := s.cloud.PutIssuer(ctx, cloud.ExternalIssuer{URL: cluster, JWKS: o.jwks}); err != nil {
		t.Fatal(err)
	}
	sound := o.token(t)
	for range 2 {
		code, a := s.show(t, app.AppID, sound, hsmAud)
		if code != 0 || s.identityOf(t, a).Principal.ID != app.ObjectID || claimsOf(t, s, a.str("access_token"))["appidacr"] != "2" {
			t.Errorf("%v %v", code, a)
		}
	}
	for name, tt := range map[string]struct {
		raw  string
		want float64
	}{
		"another key":       {newOutside(t).token(t), 50013},
		"unknown key id":    {o.token(t, "kid", "two"), 50013},
		"another issuer":    {o.token(t, "iss", "https://oidc.example/cluster-2"), 700211},
		"issuer with slash": {o.token(t, "iss", cluster+"/"), 700211},
		"no issuer":         {o.token(t, "iss", nil), 700211},
		"subject":           {o.token(t, "sub", "system:serviceaccount:payments:admin"), 700213},
		"subject's case":    {o.token(t, "sub", "System:serviceaccount:payments:signer"), 700213},
		"no subject":        {o.token(t, "sub", nil), 700213},
		"audience":          {o.token(t, "aud", "api://other"), 700212},
		"no audience":       {o.token(t, "aud", nil), 700212},
		"expired":           {o.token(t, "exp", siteStart.Unix()-60), 700024},
		"no expiry":         {o.token(t, "exp", nil), 700024},
		"not yet":           {o.token(t, "nbf", siteStart.Unix()+61), 700024},
		"crossed over":      {o.token(t, "sub", "system:serviceaccount:payments:other"), 700212},
	} {
		if got := show(tt.raw); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if got, _ := s.show(t, s.acct.ServicePrincipal.AppID, sound, hsmAud); got != 700211 {
		t.Errorf("for another application: %v", got)
	}
	if err := s.cloud.RemoveFederated(ctx, app.AppID, "PROD"); err != nil {
		t.Fatal(err)
	}
	if got := show(sound); got != 700213 {
		t.Errorf("after the credential was removed: %v", got)
	}
}

// TestFederatedByOwnToken: a token of this cloud's own issuer is not one of another issuer.
func TestFederatedByOwnToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, a := s.token(t, "grant_type", "client_credentials", "client_id", s.acct.ServicePrincipal.AppID, "client_secret", s.cred.ClientSecret, "scope", hsmAud)
	if got, a := s.show(t, s.acct.ServicePrincipal.AppID, a.str("access_token"), hsmAud); got != 700211 {
		t.Errorf("%v %v", got, a)
	}
}

// TestLocalIssuer: the keys of an issuer on this machine are fetched; elsewhere nobody is asked, also when a local
// issuer says that its keys are there.
func TestLocalIssuer(t *testing.T) {
	t.Parallel()
	s, o := newSite(t), newOutside(t)
	ctx := t.Context()
	var jwksURI atomic.Pointer[string]
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_, _ = w.Write(o.jwks)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"issuer": srv.URL, "jwks_uri": *jwksURI.Load()})
	}))
	t.Cleanup(srv.Close)
	app := s.acct.ServicePrincipal.AppID
	if err := s.cloud.AddFederated(ctx, app, cloud.Federated{Name: "local", Issuer: srv.URL, Subject: workload}); err != nil {
		t.Fatal(err)
	}
	at := srv.URL + "/keys"
	jwksURI.Store(&at)
	if got, a := s.show(t, app, o.token(t, "iss", srv.URL), hsmAud); got != 0 {
		t.Errorf("%v", a)
	}
	elsewhere := "https://192.0.2.1/keys" // TEST-NET-1: dialling it would hang
	jwksURI.Store(&elsewhere)
	s.server = s.restart(t)
	if got, a := s.show(t, app, o.token(t, "iss", srv.URL), hsmAud); got != 50166 {
		t.Errorf("%v", a)
	}
	for _, issuer := range []string{"https://localhost:1/", "http://issuer.example", "https://issuer.example"} {
		if err := s.cloud.AddFederated(ctx, app, cloud.Federated{Name: "x", Issuer: issuer, Subject: workload}); err != nil {
			t.Fatal(err)
		}
		if got, a := s.show(t, app, o.token(t, "iss", issuer), hsmAud); got != 700211 {
			t.Errorf("%s: %v", issuer, a)
		}
		if err := s.cloud.RemoveFederated(ctx, app, "x"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDialLocal: no address but loopback is dialled, and no name is looked up.
func TestDialLocal(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"192.0.2.1:80", "example.com:80", "0.0.0.0:80", "localhost.example:80", "nonsense"} {
		if c, err := dialLocal(t.Context(), "tcp", addr); err == nil {
			_ = c.Close()
			t.Errorf("%s was dialled", addr)
		}
	}
}

// TestDisabled: who is disabled cannot sign in by any way, and hears why only with the right secret; refresh
// tokens are dead also afterwards.
func TestDisabled(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	ctx := t.Context()
	u, app := s.acct.User, s.app
	_, d := s.json(t, post(login+"/common/oauth2/v2.0/devicecode", "client_id", azClient, "scope", hsmAud))
	if err := s.server.approve(request{Request: get(login)}, approval{d.str("user_code"), u.UPN, s.cred.Password}); err != nil {
		t.Fatal(err)
	}
	o := newOutside(t)
	if err := s.cloud.AddFederated(ctx, app, cloud.Federated{Name: "f", Issuer: cluster, Subject: workload}); err != nil {
		t.Fatal(err)
	}
	if err := s.cloud.PutIssuer(ctx, cloud.ExternalIssuer{URL: cluster, JWKS: o.jwks}); err != nil {
		t.Fatal(err)
	}
	password := []string{"grant_type", "password", "client_id", azClient, "username", u.UPN, "password", s.cred.Password}
	secret := []string{"grant_type", "client_credentials", "client_id", app, "client_secret", s.cred.ClientSecret}
	_, a := s.token(t, append(password, "scope", hsmAud+"/.default offline_access")...)
	refresh := []string{"grant_type", "refresh_token", "client_id", azClient, "refresh_token", a.str("refresh_token")}
	assertion := func() float64 {
		got, _ := s.show(t, app, signed(t, jose.RS256, otherKey(), map[jose.HeaderKey]any{"x5t": x5t(s.der)}, s.claims()), hsmAud)
		return got
	}
	federated := func() float64 { got, _ := s.show(t, app, o.token(t), hsmAud); return got }
	for _, disabled := range []bool{true, false} {
		for _, id := range []string{u.ObjectID, s.acct.ServicePrincipal.ObjectID} {
			if err := s.cloud.SetDisabled(ctx, id, disabled); err != nil {
				t.Fatal(err)
			}
		}
		var user, program float64
		if disabled {
			user, program = 50057, 7000112
		}
		device := []string{"grant_type", grantDevice, "client_id", azClient, "device_code", d.str("device_code")}
		wantRefresh := 50173.0
		if disabled {
			wantRefresh = 50057
			if got := s.code(t, device...); got != user {
				t.Errorf("device code: %v", got)
			}
		}
		for name, got := range map[string][2]float64{
			"password": {s.code(t, password...), user}, "secret": {s.code(t, secret...), program}, "certificate": {assertion(), program}, "federated": {federated(), program},
			"wrong password": {s.code(t, append(password[:6:6], "password", "x")...), 50126}, "wrong secret": {s.code(t, append(secret[:4:4], "client_secret", "x")...), 7000215},
			"refresh": {s.code(t, refresh...), wantRefresh},
		} {
			if got[0] != got[1] {
				t.Errorf("disabled %v: %s: %v, want %v", disabled, name, got[0], got[1])
			}
		}
	}
}

// TestReplayedFederatedTokenAfterRotation: new keys of an issuer count from the next token on.
func TestReplayedFederatedTokenAfterRotation(t *testing.T) {
	t.Parallel()
	s, o, next := newSite(t), newOutside(t), newOutside(t)
	ctx, app := t.Context(), s.acct.ServicePrincipal.AppID
	if err := s.cloud.AddFederated(ctx, app, cloud.Federated{Name: "f", Issuer: cluster, Subject: workload}); err != nil {
		t.Fatal(err)
	}
	for i, jwks := range [][]byte{o.jwks, next.jwks} {
		if err := s.cloud.PutIssuer(ctx, cloud.ExternalIssuer{URL: cluster, JWKS: jwks}); err != nil {
			t.Fatal(err)
		}
		old, _ := s.show(t, app, o.token(t), hsmAud)
		now, _ := s.show(t, app, next.token(t), hsmAud)
		if want := [2]float64{float64(i) * 50013, float64(1-i) * 50013}; [2]float64{old, now} != want {
			t.Errorf("key set %d: %v %v", i, old, now)
		}
	}
	if err := s.cloud.RemoveIssuer(ctx, cluster); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.show(t, app, next.token(t), hsmAud); got != 700211 {
		t.Errorf("without keys: %v", got)
	}
}
