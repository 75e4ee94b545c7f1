// Package identity is the dev cloud's own token service: it answers what genuine clients ask of
// login.microsoftonline.com (and of an AD FS, which is how clients reach an own cloud behind a port), and it
// mints the tokens that package authn verifies. It exists for redoubtd dev only; redoubtd serve trusts
// external issuers instead and never links a running issuer.
//
// Sign-in kinds: user and password, service principal with secret, certificate or the token of another issuer
// (workload identity), device code, browser (authorization code with PKCE), refresh token, and managed identity
// through the App Service variables or as a virtual machine has it (IMDS).
//
// Access tokens have the shape of Entra's v1 tokens (issuer https://sts.windows.net/{tenant}/), are signed
// with RS256 and made only for the configured resources. Refresh tokens are signed by the same key, name a
// person, a client and the stamp of the person's password, and so survive a restart and die with a password
// change. Device codes and authorization codes live in memory for minutes; a restart ends those sign-ins.
//
// Paths are routed by their raw escaped form, segment by segment, without regard to letter case and to
// doubled slashes, because clients produce both.
package identity

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
	"redoubt/internal/rbac"
)

// Lifetimes of what is issued.
const (
	accessLifetime  = time.Hour
	refreshLifetime = 90 * 24 * time.Hour
)

// refreshAudience keeps refresh tokens apart from access tokens: no service accepts it.
const refreshAudience = "urn:redoubt:refresh-token"

// ErrUnknownResource: a token was asked for a resource that this issuer does not serve.
var ErrUnknownResource = errors.New("no such resource")

// IssuerConfig is what an Issuer needs. Key and Tenant are required.
type IssuerConfig struct {
	Key       *rsa.PrivateKey // 2048 bits or more; kept by the caller, so that tokens survive a restart
	Tenant    string          // GUID
	Resources []string        // audiences served, in the syntax of authn.Audiences
	Clock     func() time.Time
}

// Issuer mints tokens. It is safe for concurrent use.
type Issuer struct {
	tenant    string
	kid       string
	public    *rsa.PublicKey
	signer    jose.Signer
	resources authn.Audiences
	now       func() time.Time
}

// NewIssuer checks the configuration and returns an Issuer.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Key == nil || cfg.Key.N.BitLen() < 2048 {
		return nil, errors.New("identity: the issuer needs an RSA key of 2048 bits or more")
	}
	if cfg.Tenant == "" {
		return nil, errors.New("identity: the issuer needs a tenant")
	}
	is := &Issuer{tenant: strings.ToLower(cfg.Tenant), public: &cfg.Key.PublicKey, now: cfg.Clock}
	if is.now == nil {
		is.now = time.Now
	}
	var err error
	if is.resources, err = authn.NewAudiences(cfg.Resources); err != nil {
		return nil, fmt.Errorf("identity: resources: %w", err)
	}
	sum, err := (&jose.JSONWebKey{Key: is.public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("identity: key id: %w", err)
	}
	is.kid = base64.RawURLEncoding.EncodeToString(sum)
	is.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: cfg.Key, KeyID: is.kid}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("identity: signer: %w", err)
	}
	return is, nil
}

// URL is the "iss" of access tokens.
func (is *Issuer) URL() string { return "https://sts.windows.net/" + is.tenant + "/" }

// Trusted is the entry for this issuer in an authn.Config.
func (is *Issuer) Trusted() authn.Issuer {
	return authn.Issuer{URL: is.URL(), Keys: is.KeySet(), Algorithms: []string{string(jose.RS256)}}
}

// KeySet verifies this issuer's signatures in the same process.
func (is *Issuer) KeySet() authn.KeySet { return authn.StaticKeys{is.kid: is.public} }

// Serves tells whether tokens are made for a resource.
func (is *Issuer) Serves(audience string) bool { return is.resources.Match(audience) }

// Mint returns an access token for p at a resource, and when it expires. extra claims are added but cannot
// replace those that decide. A principal with a UPN is a person, any other a program.
func (is *Issuer) Mint(ctx context.Context, p rbac.Principal, audience string, extra map[string]any) (string, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return "", time.Time{}, err
	}
	if !is.Serves(audience) {
		return "", time.Time{}, ErrUnknownResource
	}
	now := is.now()
	expires := now.Add(accessLifetime).Truncate(time.Second)
	c := map[string]any{}
	for k, v := range extra {
		c[k] = v
	}
	c["aud"], c["iss"], c["tid"] = audience, is.URL(), is.tenant
	c["oid"], c["sub"] = p.ID, p.ID
	c["iat"], c["nbf"], c["exp"] = now.Unix(), now.Unix(), expires.Unix()
	c["ver"], c["uti"] = "1.0", cloud.NewGUID()
	if p.UPN != "" {
		c["idtyp"], c["upn"], c["unique_name"], c["scp"] = "user", p.UPN, p.UPN, "user_impersonation"
	} else {
		c["idtyp"] = "app"
	}
	if p.AppID != "" {
		c["appid"] = p.AppID
	}
	if len(p.Groups) > 0 {
		c["groups"] = p.Groups
	}
	token, err := is.sign(c)
	return token, expires, err
}

func (is *Issuer) sign(claims any) (string, error) {
	b, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	jws, err := is.signer.Sign(b)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return jws.CompactSerialize()
}

// jwks is the public half in the form of RFC 7517.
func (is *Issuer) jwks() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: is.public, KeyID: is.kid, Algorithm: string(jose.RS256), Use: "sig"}}}
}

// refreshClaims are the contents of a refresh token.
type refreshClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"` // object id of a person
	Client   string `json:"client_id"`
	Stamp    string `json:"stamp"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
}

func (is *Issuer) refreshToken(u cloud.User, client string) (string, error) {
	return is.sign(refreshClaims{Issuer: is.URL(), Audience: refreshAudience, Subject: u.ObjectID, Client: client,
		Stamp: u.Stamp, Expires: is.now().Add(refreshLifetime).Unix(), ID: cloud.NewGUID()})
}

var errRefresh = errors.New("refresh token is not valid")

// openRefresh verifies a refresh token. Whether its person and stamp still hold is the caller's to check.
func (is *Issuer) openRefresh(ctx context.Context, token string) (refreshClaims, error) {
	var c refreshClaims
	if len(token) > authn.MaxTokenBytes {
		return c, errRefresh
	}
	payload, err := is.KeySet().VerifySignature(ctx, token)
	if err != nil {
		return c, errRefresh
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return c, errRefresh
	}
	if c.Audience != refreshAudience || c.Issuer != is.URL() || c.Expires <= is.now().Unix() {
		return c, errRefresh
	}
	return c, nil
}

// idToken tells a client who signed in; clients do not verify it but die without tid and a user name.
func (is *Issuer) idToken(u cloud.User, client, nonce, issuer string) (string, error) {
	now := is.now()
	c := map[string]any{
		"aud": client, "iss": issuer, "tid": is.tenant, "oid": u.ObjectID, "sub": u.ObjectID, "ver": "2.0",
		"preferred_username": u.UPN, "upn": u.UPN, "name": u.DisplayName,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(accessLifetime).Unix(),
	}
	if nonce != "" {
		c["nonce"] = nonce
	}
	return is.sign(c)
}
