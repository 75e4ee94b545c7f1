// Package authn turns a bearer token into the principal that acts, and nothing else: it decides who, never
// what. Permission is rbac's business.
//
// A token is accepted only when all of this holds: it is a compact JWS of at most MaxTokenBytes whose
// algorithm is on its issuer's list (asymmetric algorithms only; "none" and HS* cannot be configured); its
// "iss" equals a configured issuer byte for byte and that issuer's key set verifies the signature; neither its
// header's nor its own "typ" says that it is something else than an access token, and it is not bound to a key ("cnf"); no claim occurs twice; its "aud"
// is one of the configured audiences; the clock is between "nbf" and "exp", give or take Skew; and its tenant
// is the configured one. The audiences come from configuration and never from a Host header, so a client
// cannot talk the server into accepting a token that was made for somebody else.
//
// Verified tokens are remembered by their SHA-256 for at most a minute and never past "exp". The revocation
// hook is asked on every call, remembered token or not.
//
// Known limits: a principal removed at an external issuer stays valid here until its token expires, unless
// the revocation hook knows better. Groups that an issuer leaves out of its tokens are not asked for elsewhere: the
// identity says so (rbac.Principal.GroupsLost), and a refusal repeats it.
package authn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/rbac"
	"redoubt/internal/tally"
)

// MaxTokenBytes is the longest token that is looked at.
const MaxTokenBytes = 16 << 10

// Skew is how far the issuer's clock may be off.
const Skew = 60 * time.Second

// The ways in which a token can be refused; see also ErrWrongAudience. Every one of them is answered with
// 401 and a Challenge.
var (
	// ErrNoToken: the request carries no bearer token.
	ErrNoToken = errors.New("the request has no bearer token; sign in and send it in the Authorization header")
	// ErrExpired: the token was good until its "exp".
	ErrExpired = errors.New("the token has expired; sign in again")
	// ErrWrongTenant: the token is of another tenant.
	ErrWrongTenant = errors.New("the token belongs to another tenant; sign in to the tenant of this resource")
	// ErrBadToken: the token cannot be read, is not signed by a trusted issuer, or is not valid yet.
	ErrBadToken = errors.New("the token is not valid")
	// ErrRevoked: the token is in order but its principal may no longer use it.
	ErrRevoked = errors.New("the principal of the token was removed or disabled")
)

// ErrWrongAudience says for whom the token was made and whom it should have been made for.
type ErrWrongAudience struct{ Got, Want string }

func (e ErrWrongAudience) Error() string {
	return "Found token with aud=" + e.Got + ", but expected aud=" + e.Want
}

// Identity is what a verified token says.
type Identity struct {
	Principal rbac.Principal
	Name      string // for people: display name, may be empty
	App       bool   // a service principal or managed identity, not a person
	Audience  string // as written in the token
	Issuer    string
	Expires   time.Time
}

// Verifier checks tokens for one service. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]Issuer
	tenant  string
	now     func() time.Time
	revoked func(rbac.Principal) bool
	cache   *cache
}

// Config says which tokens a Verifier accepts. Issuers, Audiences and Tenant are required.
type Config struct {
	Issuers   []Issuer
	Audiences []string // see Audiences; the first one is named in ErrWrongAudience
	Tenant    string   // GUID
	Clock     func() time.Time
	// Revoked tells whether a principal may no longer act. It is asked for every token, so it must be
	// quick; nil means never.
	Revoked func(rbac.Principal) bool
	// CacheSize bounds the number of remembered tokens; 0 means 4096.
	CacheSize int
}

// New checks the configuration and returns a Verifier.
func New(cfg Config) (*Verifier, error) {
	v := &Verifier{
		issuers: make(map[string]Issuer, len(cfg.Issuers)),
		tenant:  strings.ToLower(cfg.Tenant),
		now:     cfg.Clock,
		revoked: cfg.Revoked,
		cache:   newCache(cfg.CacheSize),
	}
	if v.now == nil {
		v.now = time.Now
	}
	if !isGUID(v.tenant) {
		return nil, fmt.Errorf("authn: tenant %q is not a GUID", cfg.Tenant)
	}
	if _, err := NewAudiences(cfg.Audiences); err != nil {
		return nil, err
	}
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("authn: at least one issuer is needed")
	}
	for _, is := range cfg.Issuers {
		is, err := is.complete(cfg.Audiences)
		if err != nil {
			return nil, err
		}
		if _, twice := v.issuers[is.URL]; twice {
			return nil, fmt.Errorf("authn: issuer %q is configured twice", is.URL)
		}
		v.issuers[is.URL] = is
	}
	return v, nil
}

// Verify checks a raw token (without "Bearer") and returns who it speaks for. The error is, or wraps, one of
// the sentinels above, ErrWrongAudience, or ErrKeysUnavailable, which is no judgement; it never contains the token.
func (v *Verifier) Verify(ctx context.Context, rawToken string) (Identity, error) {
	if rawToken == "" {
		return Identity{}, ErrNoToken
	}
	if len(rawToken) > MaxTokenBytes {
		return Identity{}, fmt.Errorf("%w: longer than %d bytes", ErrBadToken, MaxTokenBytes)
	}
	now := v.now()
	sum := tokenSum(rawToken)
	id, ok := v.cache.get(sum, now)
	if !ok {
		var err error
		if id, err = v.verify(ctx, rawToken, now); err != nil {
			return Identity{}, err
		}
		v.cache.put(sum, id, now)
	}
	if v.revoked != nil && v.revoked(id.Principal) {
		return Identity{}, ErrRevoked
	}
	return id, nil
}

// Knows tells whether a token was verified within the last minute, and nothing else: not that it may be used.
func (v *Verifier) Knows(rawToken string) bool {
	return len(rawToken) <= MaxTokenBytes && v.cache.has(tokenSum(rawToken), v.now())
}

// Remembered tells how often a token was one that had been verified within the last minute.
func (v *Verifier) Remembered() tally.Lookups { return v.cache.asked.Read() }

func (v *Verifier) verify(ctx context.Context, raw string, now time.Time) (Identity, error) {
	head, named, err := split(raw)
	if err != nil {
		return Identity{}, err
	}
	issuer, ok := v.issuers[named]
	if !ok {
		return Identity{}, fmt.Errorf("%w: its issuer is not trusted here", ErrBadToken)
	}
	if !issuer.allows(head.Alg) {
		return Identity{}, fmt.Errorf("%w: its signature algorithm is not accepted", ErrBadToken)
	}
	payload, err := issuer.Keys.VerifySignature(ctx, raw)
	if err != nil {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return Identity{}, fmt.Errorf("verify token: %w", ctxErr)
		}
		if errors.Is(err, ErrKeysUnavailable) { // nobody can tell whether it is good
			return Identity{}, fmt.Errorf("verify token: %w", err)
		}
		return Identity{}, fmt.Errorf("%w: its signature does not verify", ErrBadToken)
	}
	c, err := parseClaims(payload, issuer.Claims, issuer.SubjectIsID)
	if err != nil {
		return Identity{}, err
	}
	if err := v.check(c, issuer, now); err != nil {
		return Identity{}, err
	}
	return identityOf(c, issuer)
}

// check holds the rules on verified claims, in the order in which a user wants to hear about them.
func (v *Verifier) check(c claims, issuer Issuer, now time.Time) error {
	if c.Issuer != issuer.URL {
		return fmt.Errorf("%w: its issuer is not trusted here", ErrBadToken)
	}
	if c.Type != "" && !strings.EqualFold(c.Type, "Bearer") { // Keycloak has one there
		return fmt.Errorf("%w: it is of type %q, not an access token that whoever bears it may use", ErrBadToken, printable(c.Type))
	}
	if c.ForClient {
		return fmt.Errorf("%w: it is an ID token, not an access token", ErrBadToken)
	}
	if c.Bound { // to take it as it is would be to let whoever has stolen it use it
		return fmt.Errorf("%w: it is bound to a key of its client (cnf), of which no proof is taken here; have the issuer give that client plain bearer tokens", ErrBadToken)
	}
	if c.Expires == 0 {
		return fmt.Errorf("%w: it has no expiry time", ErrBadToken)
	}
	if !now.Before(c.Expires.time().Add(Skew)) {
		return ErrExpired
	}
	if c.NotBefore != 0 && now.Add(Skew).Before(c.NotBefore.time()) {
		return fmt.Errorf("%w: it is not valid yet; compare the clocks of issuer and server", ErrBadToken)
	}
	if !issuer.audiences.matchAny(c.Audience) {
		return ErrWrongAudience{Got: printable(strings.Join(c.Audience, " ")), Want: issuer.want}
	}
	tenant := strings.ToLower(c.Tenant)
	if tenant == "" {
		tenant = issuer.Tenant
	}
	if tenant != v.tenant {
		return ErrWrongTenant
	}
	return nil
}

func identityOf(c claims, issuer Issuer) (Identity, error) {
	oid := strings.ToLower(c.ObjectID)
	if !isGUID(oid) {
		return Identity{}, fmt.Errorf("%w: it names no object id", ErrBadToken)
	}
	p := rbac.Principal{ID: oid, Tenant: firstOf(strings.ToLower(c.Tenant), issuer.Tenant), UPN: c.UserName}
	if c.App {
		p.AppID, p.UPN = strings.ToLower(c.AppID), ""
	}
	p.Groups, p.GroupsLost = groupsOf(c, issuer)
	return Identity{
		Principal: p,
		Name:      c.DisplayName,
		App:       c.App,
		Audience:  strings.Join(c.Audience, " "),
		Issuer:    c.Issuer,
		Expires:   c.Expires.time(),
	}, nil
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
