package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"redoubt/internal/authn"
	"redoubt/internal/cloud"
)

// checkFederated checks an assertion of an external issuer. The same one may be shown as often as its bearer
// likes until it expires: a workload gets one for an hour in a file, and every program reads that.
func (s *Server) checkFederated(ctx context.Context, a assertion, app cloud.Application) error {
	issuer := a.claims.Issuer
	if !slices.ContainsFunc(app.Federated, func(f cloud.Federated) bool { return f.Issuer == issuer }) {
		return errAssertion(700211, "No matching federated identity record found for presented assertion issuer '%s'; add it with 'redoubtd identity app add-federated'.", clip(issuer))
	}
	keys, err := s.keysOf(ctx, issuer)
	if err != nil {
		return err
	}
	payload, err := keys.VerifySignature(ctx, a.raw)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("verify federated token: %w", ctx.Err())
	case errors.Is(err, authn.ErrKeysUnavailable):
		return errAssertion(50166, "The signing keys of the issuer '%s' cannot be fetched; is it running?", clip(issuer))
	case err != nil:
		return errAssertion(50013, "Assertion failed signature validation: it is not signed with a key of its issuer that is known here.")
	}
	if err := a.verified(payload); err != nil {
		return err
	}
	if a.claims.Issuer != issuer || !a.inTime(s.issuer.now()) {
		return errAssertion(700024, "Client assertion is not within its valid time range; get a new one from its issuer.")
	}
	return matchFederated(a, app.Federated)
}

// matchFederated finds the credential that an assertion belongs to.
func matchFederated(a assertion, all []cloud.Federated) error {
	bySubject := slices.DeleteFunc(slices.Clone(all), func(f cloud.Federated) bool {
		return f.Issuer != a.claims.Issuer || f.Subject != a.claims.Subject
	})
	if len(bySubject) == 0 {
		return errAssertion(700213, "No matching federated identity record found for presented assertion subject '%s'.", clip(a.claims.Subject))
	}
	if !slices.ContainsFunc(bySubject, func(f cloud.Federated) bool { return a.claims.Audience.Contains(f.Audience) }) {
		return errAssertion(700212, "No matching federated identity record found for presented assertion audience '%s'.", clip(strings.Join(a.claims.Audience, " ")))
	}
	return nil
}

// keysOf finds the keys of an external issuer: those that were given, or those that it publishes on this machine.
// Nothing else is asked for keys.
func (s *Server) keysOf(ctx context.Context, issuer string) (authn.KeySet, error) {
	known, err := s.dir.Issuer(ctx, issuer)
	if err == nil {
		return authn.NewStaticKeys(known.JWKS)
	}
	if !errors.Is(err, cloud.ErrNotFound) {
		return nil, fmt.Errorf("find issuer: %w", err)
	}
	u, err := cloud.IssuerURL(issuer)
	if err != nil || u.Scheme != "http" || !isLoopback(u.Hostname()) {
		return nil, errAssertion(700211, "The signing keys of the issuer '%s' are not known: this cloud dials nobody; give them with 'redoubtd identity issuer set'.", clip(issuer))
	}
	return s.local.keys(issuer, s.issuer.now)
}

// localIssuers are external issuers on this machine, whose keys are fetched.
type localIssuers struct {
	mu    sync.Mutex
	known map[string]*authn.RemoteKeys // guarded by mu
}

const maxLocalIssuers = 100

func (l *localIssuers) keys(issuer string, now func() time.Time) (authn.KeySet, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.known[issuer]; ok {
		return k, nil
	}
	k, err := authn.NewRemoteKeys(authn.RemoteConfig{Issuer: issuer, Clock: now, Insecure: true,
		Client: &http.Client{Timeout: localTimeout, Transport: &http.Transport{DialContext: dialLocal, DisableKeepAlives: true}}})
	if err != nil {
		return nil, err
	}
	if l.known == nil || len(l.known) >= maxLocalIssuers {
		l.known = make(map[string]*authn.RemoteKeys)
	}
	l.known[issuer] = k
	return k, nil
}

const localTimeout = 5 * time.Second

// dialLocal connects to loopback and nothing else, whatever a discovery document says; it looks up no names.
func dialLocal(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	if !isLoopback(host) {
		return nil, errors.New("an issuer that is not on this machine is not asked for its keys")
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(host, port))
}
