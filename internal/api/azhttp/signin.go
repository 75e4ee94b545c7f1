package azhttp

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"redoubt/internal/authn"
)

// Verifier checks a bearer token; *authn.Verifier is one.
type Verifier interface {
	Verify(ctx context.Context, rawToken string) (authn.Identity, error)
	// Knows tells, at little cost, whether the token was verified a moment ago.
	Knows(rawToken string) bool
}

// Limits say how often clients may ask; *throttle.Limits is one. What they return is how long the client has to wait;
// 0: it need not. Addresses are as http.Request has them.
type Limits interface {
	Principal(hsm, id string) time.Duration
	Stranger(address string) time.Duration
	Suspect(address string) time.Duration
	Refuse()
}

// SignIn returns who sends the request. l, which may be nil, limits how often an address may come without a good
// token: a request without any is refused when it has come too often, and so is one with a token that would
// have to be verified, which costs something. Who has been believed a moment ago is not concerned.
func (rq *Request) SignIn(v Verifier, l Limits) (authn.Identity, error) {
	token, err := authn.Bearer(rq.Header.Values("Authorization"))
	if err != nil {
		if refused := rq.Stranger(l); refused != nil {
			return authn.Identity{}, refused
		}
		return authn.Identity{}, err
	}
	if l != nil {
		if wait := l.Suspect(rq.RemoteAddr); wait > 0 && !v.Knows(token) {
			l.Refuse()
			return authn.Identity{}, tooMany(wait, "without a valid token from this address")
		}
	}
	id, err := v.Verify(rq.Context(), token)
	if err != nil {
		if l != nil && StatusOf(err) == http.StatusUnauthorized {
			l.Stranger(rq.RemoteAddr)
		}
		return authn.Identity{}, err
	}
	return id, nil
}

// Stranger refuses a request that shows no token if its address has come too often; nil: it may go on.
func (rq *Request) Stranger(l Limits) error {
	if l == nil {
		return nil
	}
	if wait := l.Stranger(rq.RemoteAddr); wait > 0 {
		return tooMany(wait, "without a valid token from this address")
	}
	return nil
}

// Admit notes who the request is from, and refuses it if they ask its HSM too often.
func (rq *Request) Admit(id authn.Identity, l Limits) error {
	rq.Principal = id.Principal.ID
	if l == nil {
		return nil
	}
	if wait := l.Principal(rq.HSM, id.Principal.ID); wait > 0 {
		return tooMany(wait, "from this principal")
	}
	return nil
}

// tooMany is the answer to who has to wait.
func tooMany(wait time.Duration, from string) *Problem {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return &Problem{Status: http.StatusTooManyRequests, Code: "Throttled", RetryAfter: seconds,
		Message: fmt.Sprintf("Request was not processed because too many requests were received %s. Send it again after %d seconds.", from, seconds)}
}

// Unbelieved tells whether err is a sign-in that failed, for which a client is challenged, and not one that was not
// looked at or cannot be judged now.
func Unbelieved(err error) bool { return StatusOf(err) == http.StatusUnauthorized }
