package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// How an external issuer's keys are kept. They are fetched again when a token names a key that is not
// known, but not more often than keysPause, whoever asks: strangers can name keys that do not exist as often
// as they like. Keys older than keysFresh are fetched again in the background; keys older than keysStale are
// not used, so that a key which the issuer has withdrawn ends here even while the issuer cannot be reached.
const (
	keysPause   = 30 * time.Second
	keysFresh   = time.Hour
	keysStale   = 24 * time.Hour
	keysTimeout = 10 * time.Second
	keysBytes   = 1 << 20
	keysMost    = 100
)

// ErrKeysUnavailable: the issuer's keys could not be fetched, and there are none that may still be used.
var ErrKeysUnavailable = errors.New("the issuer's signing keys cannot be fetched now")

// RemoteKeys is the KeySet of an issuer that publishes its keys (OpenID Connect Discovery 1.0; RFC 7517). Make
// it with NewRemoteKeys.
type RemoteKeys struct {
	cfg RemoteConfig

	mu      sync.Mutex
	keys    map[string]jose.JSONWebKey // guarded by mu; replaced as a whole
	fetched time.Time                  // guarded by mu: when keys came
	tried   time.Time                  // guarded by mu: start of the last try
	err     error                      // guarded by mu: of the last try
	running chan struct{}              // guarded by mu: closed when the try under way ends, nil without one
}

// RemoteConfig says where an issuer's keys are.
type RemoteConfig struct {
	// Issuer is the "iss" of its tokens; its discovery document must name it byte for byte.
	Issuer string
	// JWKS is the address of the key set. Empty: the discovery document names it.
	JWKS   string
	Client *http.Client // nil: one with time limits, that follows no redirect
	Clock  func() time.Time
	// Insecure allows http on loopback, for tests.
	Insecure bool
}

// NewRemoteKeys checks the addresses; nothing is fetched before the first token comes.
func NewRemoteKeys(cfg RemoteConfig) (*RemoteKeys, error) {
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: keysTimeout}
	}
	c := *cfg.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.Client = &c
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	r := &RemoteKeys{cfg: cfg}
	at := cfg.JWKS
	if at == "" {
		at = cfg.Issuer
	}
	return r, r.checkURL(at)
}

// RemoteFigures are how an issuer's keys are.
type RemoteFigures struct {
	Issuer  string
	Keys    int       // that can be used
	Fetched time.Time // when they came; zero: never
	Failing bool      // the last try to fetch them failed
}

// Figures tells how the keys are. Nothing is fetched.
func (r *RemoteKeys) Figures() RemoteFigures {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := RemoteFigures{Issuer: r.cfg.Issuer, Fetched: r.fetched, Failing: r.err != nil}
	if r.cfg.Clock().Sub(r.fetched) < keysStale {
		f.Keys = len(r.keys)
	}
	return f
}

func (r *RemoteKeys) checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("authn: %q is not the address of an issuer", printable(s))
	}
	if u.Scheme == "https" || u.Scheme == "http" && r.cfg.Insecure && isLoopbackName(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("authn: %q must be an https address", printable(s))
}

func isLoopbackName(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// VerifySignature implements KeySet.
func (r *RemoteKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, algorithms)
	if err != nil {
		return nil, fmt.Errorf("parse token: %w", err)
	}
	head := jws.Signatures[0].Protected
	k, err := r.key(ctx, head.KeyID)
	if err != nil {
		return nil, err
	}
	if k.Algorithm != "" && k.Algorithm != head.Algorithm {
		return nil, errors.New("the token's algorithm is not that of its key")
	}
	return jws.Verify(k.Key)
}

// key finds a key, asking the issuer when that may help.
func (r *RemoteKeys) key(ctx context.Context, kid string) (jose.JSONWebKey, error) {
	for waited := false; ; waited = true {
		r.mu.Lock()
		now := r.cfg.Clock()
		if now.Before(r.fetched) { // the clock was moved back, who knows how far: the keys may be as old as can be borne
			r.fetched = now.Add(-keysFresh)
		}
		age := now.Sub(r.fetched)
		k, known := r.keys[kid]
		usable := r.keys != nil && age < keysStale
		if usable && known {
			if age >= keysFresh {
				r.refresh(now)
			}
			r.mu.Unlock()
			return k, nil
		}
		var running chan struct{}
		if !waited {
			running = r.refresh(now)
		}
		err := r.err
		r.mu.Unlock()
		switch {
		case running != nil:
			select {
			case <-running:
			case <-ctx.Done():
				return jose.JSONWebKey{}, ctx.Err()
			}
		case !usable:
			return jose.JSONWebKey{}, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
		default:
			return jose.JSONWebKey{}, errors.New("the token names an unknown key")
		}
	}
}

// refresh begins a fetch unless one is under way or the last began a moment ago; it returns what to wait for,
// or nil. mu is held.
func (r *RemoteKeys) refresh(now time.Time) chan struct{} {
	if r.running != nil {
		return r.running
	}
	if !r.tried.IsZero() && now.Sub(r.tried) < keysPause && !now.Before(r.tried) {
		return nil
	}
	r.tried, r.running = now, make(chan struct{})
	go func() {
		// Whoever asked first may go away: the fetch is everybody's, and ends by its own limit.
		ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
		defer cancel()
		keys, err := r.fetch(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.err = err; err == nil {
			r.keys, r.fetched = keys, now
		}
		close(r.running)
		r.running = nil
	}()
	return r.running
}

func (r *RemoteKeys) fetch(ctx context.Context) (map[string]jose.JSONWebKey, error) {
	at := r.cfg.JWKS
	if at == "" {
		var doc struct {
			Issuer string `json:"issuer"`
			JWKS   string `json:"jwks_uri"`
		}
		if err := r.get(ctx, strings.TrimRight(r.cfg.Issuer, "/")+"/.well-known/openid-configuration", &doc); err != nil {
			return nil, err
		}
		if doc.Issuer != r.cfg.Issuer {
			return nil, fmt.Errorf("the discovery document is that of issuer %q", printable(doc.Issuer))
		}
		if err := r.checkURL(doc.JWKS); err != nil {
			return nil, err
		}
		at = doc.JWKS
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := r.get(ctx, at, &set); err != nil {
		return nil, err
	}
	return signingKeys(set.Keys)
}

// signingKeys reads the keys of a set that can verify tokens. Others are passed over, and so is a key id that
// occurs twice: nobody could tell which is meant.
func signingKeys(raw []json.RawMessage) (map[string]jose.JSONWebKey, error) {
	if len(raw) > keysMost {
		return nil, fmt.Errorf("the issuer publishes %d keys; more than %d are not taken", len(raw), keysMost)
	}
	keys, seen := make(map[string]jose.JSONWebKey, len(raw)), make(map[string]int)
	for _, b := range raw {
		var k jose.JSONWebKey
		if json.Unmarshal(b, &k) != nil || k.KeyID == "" || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" || !strong(k) {
			continue
		}
		if seen[k.KeyID]++; seen[k.KeyID] > 1 {
			delete(keys, k.KeyID)
			continue
		}
		keys[k.KeyID] = k
	}
	if len(keys) == 0 {
		return nil, errors.New("the issuer publishes no key that can verify tokens")
	}
	return keys, nil
}

func (r *RemoteKeys) get(ctx context.Context, at string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := r.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", at, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, keysBytes+1))
	if err != nil {
		return err
	}
	if len(b) > keysBytes {
		return fmt.Errorf("%s is larger than %d bytes", at, keysBytes)
	}
	return json.Unmarshal(b, into)
}
