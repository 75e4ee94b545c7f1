package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
)

// otherKey is a second RSA key, made once.
var otherKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var siteStart = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) // the time at which every site begins

// certify makes a self-signed certificate of a key.
func certify(t testing.TB, key crypto.Signer, from, until time.Time) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// signed makes a compact JWS of claims. opts go into the header.
func signed(t testing.TB, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	for k, v := range header {
		o = o.WithHeader(k, v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, ok := claims.(string)
	if !ok {
		b, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		payload = string(b)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func x5t(der []byte) string {
	sum := sha1.Sum(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func x5t256(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// certified is a site whose service principal has a certificate, and what such a program sends.
type certified struct {
	*site
	der []byte
	app string
	jti int
}

func newCertified(t testing.TB) *certified {
	t.Helper()
	s := &certified{site: newSite(t)}
	s.app = s.acct.ServicePrincipal.AppID
	s.der = certify(t, otherKey(), siteStart.Add(-time.Hour), siteStart.AddDate(1, 0, 0))
	if _, err := s.cloud.AddCertificate(t.Context(), s.app, s.der); err != nil {
		t.Fatal(err)
	}
	return s
}

// claims are those of a sound assertion of now; each call has a jti of its own.
func (s *certified) claims() map[string]any {
	now := siteStart.Add(time.Duration(s.shift.Load())).Unix()
	s.jti++
	return map[string]any{"aud": login + "/" + s.acct.Tenant.ID + "/oauth2/v2.0/token", "iss": s.app, "sub": s.app, "jti": fmt.Sprint(s.jti),
		"iat": now, "nbf": now, "exp": now + 600}
}

// show sends an assertion and returns the number of the error, 0 for none.
func (s *site) show(t testing.TB, app, raw, resource string) (float64, answer) {
	t.Helper()
	_, a := s.token(t, "grant_type", "client_credentials", "client_id", app, "client_assertion_type", assertionType, "client_assertion", raw, "scope", resource+"/.default")
	if a.str("error") == "" {
		return 0, a
	}
	return a["error_codes"].([]any)[0].(float64), a
}

// TestCertificate: what the clients send is accepted, in each of their forms.
func TestCertificate(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	for name, tt := range map[string]struct {
		alg    jose.SignatureAlgorithm
		header map[jose.HeaderKey]any
		aud    any
		exp    any
	}{
		"RFC 7515":            {jose.PS256, map[jose.HeaderKey]any{"x5t#S256": x5t256(s.der)}, nil, nil},
		"MSAL for Go":         {jose.PS256, map[jose.HeaderKey]any{"x5t#S256": strings.NewReplacer("-", "+", "_", "/").Replace(x5t256(s.der)) + "="}, nil, nil},
		"MSAL for Python":     {jose.RS256, map[jose.HeaderKey]any{"x5t": x5t(s.der) + "="}, nil, float64(siteStart.Unix()) + 600.25},
		"both":                {jose.RS256, map[jose.HeaderKey]any{"x5t": x5t(s.der), "x5t#S256": x5t256(s.der)}, nil, nil},
		"with chain":          {jose.PS256, map[jose.HeaderKey]any{"x5t#S256": x5t256(s.der), "x5c": []string{base64.StdEncoding.EncodeToString(s.der)}}, nil, nil},
		"v1 audience":         {jose.RS256, map[jose.HeaderKey]any{"x5t": x5t(s.der)}, login + "/" + s.acct.Tenant.ID + "/oauth2/token", nil},
		"own cloud":           {jose.RS256, map[jose.HeaderKey]any{"x5t": x5t(s.der)}, "https://localhost:8443/" + s.acct.Tenant.ID + "/oauth2/v2.0/token", nil},
		"a list of audiences": {jose.RS256, map[jose.HeaderKey]any{"x5t": x5t(s.der)}, []string{"x", login + "/" + s.acct.Tenant.ID + "/oauth2/v2.0/token"}, nil},
	} {
		c := s.claims()
		if tt.aud != nil {
			c["aud"] = tt.aud
		}
		if tt.exp != nil {
			c["exp"] = tt.exp
		}
		code, a := s.show(t, strings.ToUpper(s.app), signed(t, tt.alg, otherKey(), tt.header, c), hsmAud)
		if code != 0 {
			t.Errorf("%s: %v", name, a)
			continue
		}
		if id := s.identityOf(t, a); id.Principal.ID != s.acct.ServicePrincipal.ObjectID || id.Principal.AppID != s.app || !id.App {
			t.Errorf("%s: %+v", name, id)
		}
		if c := claimsOf(t, s.site, a.str("access_token")); c["appidacr"] != "2" {
			t.Errorf("%s: %v", name, c)
		}
	}
}

// TestCertificateAtADFS: az reaches an own cloud as an AD FS, and addresses its assertions to that.
func TestCertificateAtADFS(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	c := s.claims()
	c["aud"] = "https://localhost:8443/adfs/oauth2/token"
	code, a := s.json(t, post("https://localhost:8443/adfs/oauth2/token", "grant_type", "client_credentials", "client_id", s.app, "client_assertion_type", assertionType,
		"client_assertion", signed(t, jose.RS256, otherKey(), map[jose.HeaderKey]any{"x5t": x5t(s.der)}, c), "scope", hsmAud+"/.default"))
	if code != 200 || s.identityOf(t, a).Principal.AppID != s.app {
		t.Errorf("%d %v", code, a)
	}
}

// TestCertificateRefused: everything that is wrong with an assertion, and what is said about it. Each begins with
// a sound one and changes one thing.
func TestCertificateRefused(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	head := map[jose.HeaderKey]any{"x5t": x5t(s.der)}
	now := siteStart.Unix()
	stale := certify(t, otherKey(), siteStart.AddDate(-1, 0, 0), siteStart.Add(-time.Second))
	if _, err := s.cloud.AddCertificate(t.Context(), s.app, stale); err != nil {
		t.Fatal(err)
	}
	other, err := s.cloud.AddServicePrincipal(t.Context(), cloud.ServicePrincipal{DisplayName: "other"}, "")
	if err != nil {
		t.Fatal(err)
	}
	with := func(k string, v any) map[string]any {
		c := s.claims()
		if c[k] = v; v == nil {
			delete(c, k)
		}
		return c
	}
	text := func(c map[string]any, from, to string) string {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Replace(string(b), from, to, 1)
	}
	sound := signed(t, jose.RS256, otherKey(), head, s.claims())
	parts := strings.Split(sound, ".")
	for name, tt := range map[string]struct {
		raw  string
		want float64
	}{
		"another key":       {signed(t, jose.RS256, issuerKey(), head, s.claims()), 700027},
		"unknown thumb":     {signed(t, jose.RS256, otherKey(), map[jose.HeaderKey]any{"x5t": x5t([]byte("x"))}, s.claims()), 700027},
		"no thumb":          {signed(t, jose.RS256, otherKey(), nil, s.claims()), 700027},
		"thumbs disagree":   {signed(t, jose.RS256, otherKey(), map[jose.HeaderKey]any{"x5t": x5t(s.der), "x5t#S256": x5t256(stale)}, s.claims()), 700027},
		"stale certificate": {signed(t, jose.RS256, otherKey(), map[jose.HeaderKey]any{"x5t": x5t(stale)}, s.claims()), 700027},
		"RS512":             {signed(t, jose.RS512, otherKey(), head, s.claims()), 700027},
		"HS256":             {signed(t, jose.HS256, []byte(strings.Repeat("k", 32)), head, s.claims()), 50027},
		"subject":           {signed(t, jose.RS256, otherKey(), head, with("sub", cloud.NewGUID())), 700021},
		"no subject":        {signed(t, jose.RS256, otherKey(), head, with("sub", nil)), 700021},
		"expired":           {signed(t, jose.RS256, otherKey(), head, with("exp", now-60)), 700024},
		"no expiry":         {signed(t, jose.RS256, otherKey(), head, with("exp", nil)), 700024},
		"too long alive":    {signed(t, jose.RS256, otherKey(), head, with("exp", now+90000)), 700024},
		"not yet":           {signed(t, jose.RS256, otherKey(), head, with("nbf", now+61)), 700024},
		"audience":          {signed(t, jose.RS256, otherKey(), head, with("aud", login+"/"+cloud.NewGUID()+"/oauth2/v2.0/token")), 700023},
		"audience host":     {signed(t, jose.RS256, otherKey(), head, with("aud", "https://evil.example/"+s.acct.Tenant.ID+"/oauth2/v2.0/token")), 700023},
		"no audience":       {signed(t, jose.RS256, otherKey(), head, with("aud", nil)), 700023},
		"no jti":            {signed(t, jose.RS256, otherKey(), head, with("jti", nil)), 50027},
		"letter case":       {signed(t, jose.RS256, otherKey(), head, text(s.claims(), `"jti"`, `"JTI"`)), 50027},
		"a claim twice":     {signed(t, jose.RS256, otherKey(), head, text(s.claims(), `{`, `{"sub":"x",`)), 50027},
		"foreign issuer":    {signed(t, jose.RS256, otherKey(), head, with("iss", "https://issuer.example")), 700211},
		"crit":              {signed(t, jose.RS256, otherKey(), map[jose.HeaderKey]any{"x5t": x5t(s.der), "crit": []string{"exp"}}, s.claims()), 700027},
		"payload swapped":   {parts[0] + "." + strings.Split(signed(t, jose.RS256, otherKey(), head, with("exp", now+601)), ".")[1] + "." + parts[2], 700027},
		"none":              {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","x5t":"`+x5t(s.der)+`"}`)) + "." + parts[1] + ".", 50027},
		"nonsense":          {"x.y.z", 50027},
		"too long":          {sound + strings.Repeat("A", authn.MaxTokenBytes), 50027},
	} {
		if got, a := s.show(t, s.app, tt.raw, hsmAud); got != tt.want || a.str("access_token") != "" {
			t.Errorf("%s: %v %v", name, got, a)
		}
	}
	if got, a := s.show(t, other.AppID, sound, hsmAud); got != 700211 {
		t.Errorf("for another application: %v %v", got, a)
	}
	if got, a := s.show(t, cloud.NewGUID(), sound, hsmAud); got != 700016 {
		t.Errorf("for an unknown application: %v %v", got, a)
	}
	if got, a := s.show(t, s.acct.ServicePrincipal.ObjectID, sound, hsmAud); got != 700016 {
		t.Errorf("for an object id: %v %v", got, a)
	}
	if got, a := s.show(t, s.app, sound, hsmAud); got != 0 {
		t.Errorf("the sound one: %v", a)
	}
}

// TestCertificateRemoved: its assertions are worth nothing any more; other ways to sign in are left alone.
func TestCertificateRemoved(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	head := map[jose.HeaderKey]any{"x5t": x5t(s.der)}
	if err := s.cloud.RemoveCertificate(t.Context(), s.app, cloud.Certificate{DER: s.der}.Thumbprint()); err != nil {
		t.Fatal(err)
	}
	if got, a := s.show(t, s.app, signed(t, jose.RS256, otherKey(), head, s.claims()), hsmAud); got != 700027 {
		t.Errorf("%v %v", got, a)
	}
	if got := s.code(t, "grant_type", "client_credentials", "client_id", s.app, "client_secret", s.cred.ClientSecret); got != 0 {
		t.Errorf("the secret: %v", got)
	}
}

// TestReplay: an assertion buys one token a resource; MSAL shows it for several, and at once from several threads.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	head := map[jose.HeaderKey]any{"x5t": x5t(s.der)}
	raw := signed(t, jose.RS256, otherKey(), head, s.claims())
	for _, step := range []struct {
		at       time.Duration
		resource string
		want     float64
	}{
		{0, hsmAud, 0}, {useGrace - 1, hsmAud, 0}, {useGrace, hsmAud, 50027}, {useGrace, hsmAud + "/", 50027}, {useGrace, strings.ToUpper(hsmAud), 50027},
		{5 * time.Minute, graphAud, 0}, {6 * time.Minute, graphAud, 50027}, {10*time.Minute + authn.Skew, hsmAud, 700024},
	} {
		s.shift.Store(int64(step.at))
		if got, a := s.show(t, s.app, raw, step.resource); got != step.want {
			t.Errorf("after %s for %s: %v", step.at, step.resource, a)
		}
	}
	// A refused request uses nothing up.
	s.shift.Store(0)
	c := s.claims()
	if got, _ := s.show(t, s.app, signed(t, jose.RS256, issuerKey(), head, c), hsmAud); got != 700027 {
		t.Errorf("a bad signature: %v", got)
	}
	s.shift.Store(int64(2 * useGrace))
	if got, a := s.show(t, s.app, signed(t, jose.RS256, otherKey(), head, c), hsmAud); got != 0 {
		t.Errorf("the good one with the same jti: %v", a)
	}
}

// TestReplayMemoryIsBounded: one application cannot fill it, all together cannot, and nothing alive is forgotten.
func TestReplayMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := siteStart
	r := newReplays(func() time.Time { return now })
	until := now.Add(time.Minute)
	for i := range maxUsesPerApp {
		if r.take("a", fmt.Sprint(i), hsmAud, until) != useFresh {
			t.Fatalf("no room at %d", i)
		}
	}
	if r.take("a", "more", hsmAud, until) != useTooMany || r.take("b", "0", hsmAud, until) != useFresh {
		t.Error("one application fills the memory of all")
	}
	for app := 'c'; r.total < maxUses; app++ {
		for i := range maxUsesPerApp {
			r.take(string(app), fmt.Sprint(i), hsmAud, until)
		}
	}
	if r.total != maxUses || r.take("new", "0", hsmAud, until) != useTooMany {
		t.Errorf("%d uses", r.total)
	}
	now = now.Add(useGrace)
	if r.take("a", "7", hsmAud, until) != useAgain {
		t.Error("one that is alive was forgotten")
	}
	now = until
	if r.take("a", "7", hsmAud, until.Add(time.Minute)) != useFresh || r.take("new", "0", hsmAud, until.Add(time.Minute)) != useFresh {
		t.Error("the expired ones are still in the way")
	}
	for i := range maxUsesPerApp {
		r.take("new", fmt.Sprint(i), hsmAud, until.Add(time.Minute))
	}
	if r.total != maxUsesPerApp+1 || len(r.apps) != 2 {
		t.Errorf("%d uses of %d applications are left", r.total, len(r.apps))
	}
}

// TestAddCertificate: what is no certificate of an RSA key is refused, and adding one twice is adding it once.
func TestAddCertificate(t *testing.T) {
	t.Parallel()
	s := newCertified(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"EC": certify(t, ec, siteStart, siteStart.AddDate(1, 0, 0)), "nonsense": []byte("x"), "nothing": nil} {
		if _, err := s.cloud.AddCertificate(t.Context(), s.app, der); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.cloud.AddCertificate(t.Context(), s.app, s.der); err != nil {
		t.Error(err)
	}
	if app, err := s.cloud.Application(t.Context(), s.app); err != nil || len(app.Certificates) != 1 || app.Secrets != 1 {
		t.Errorf("%+v, %v", app, err)
	}
}
