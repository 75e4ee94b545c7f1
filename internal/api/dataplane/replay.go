package dataplane

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"redoubt/internal/api/azhttp"
)

// Clients repeat the request that began a long-running operation: azure-keyvault-securitydomain 1.0.0b1
// and the administration client of az 2.77 to 2.88 answer a challenge on their first poll by sending the
// original POST again. Done twice, a download would put another root in the place of the one whose file
// the client keeps, and an upload or backup would fail with 409 although it succeeded. So the reply to the
// latest such request of each kind is kept for a while, and the same request (same caller, path, body and
// x-ms-client-request-id) gets the same reply. A request with another id is a new one.

// replayTime is how long a reply is kept: a client polls within seconds.
const replayTime = time.Minute

type replayKey struct{ hsm, route string }

// replay is the latest request of one kind to one HSM.
type replay struct {
	mu     sync.Mutex // held while the request is being worked on, so that its repetition waits
	digest [sha256.Size]byte
	reply  azhttp.Reply
	at     time.Time
}

// replays are the latest requests by HSM and route.
type replays struct {
	mu sync.Mutex
	m  map[replayKey]*replay // guarded by mu; bounded by HSMs times kinds of operation
}

func (r *replays) slot(k replayKey) *replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[replayKey]*replay)
	}
	s := r.m[k]
	if s == nil {
		s = new(replay)
		r.m[k] = s
	}
	return s
}

// once runs do for a new request, and answers a repetition with the reply that the first one got. Failed
// requests are not kept.
func (q *request) once(body []byte, do func() (azhttp.Reply, error)) (azhttp.Reply, error) {
	id := q.Header.Get("x-ms-client-request-id")
	if id == "" {
		return do()
	}
	// Nothing that the caller chooses is part of the slot's key: slots are made before anybody has asked for
	// permission, and stay. The digest tells requests apart.
	s := q.replays.slot(replayKey{q.hsm.ID(), q.Verb() + " " + q.pattern})
	s.mu.Lock()
	defer s.mu.Unlock()
	h := sha256.New()
	for _, part := range []string{q.who.ID, id, q.URL.EscapedPath(), string(body)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	digest := [sha256.Size]byte(h.Sum(nil))
	if digest == s.digest && time.Since(s.at) < replayTime {
		if err := q.hsm.Repeated(q.Context(), q.who, q.Operation); err != nil {
			return azhttp.Reply{}, err
		}
		return s.reply, nil
	}
	reply, err := do()
	if err == nil {
		s.digest, s.reply, s.at = digest, azhttp.Reply{Status: reply.Status, Body: reply.Body, Header: reply.Header.Clone()}, time.Now()
	}
	return reply, err
}

// pending is the address at which a long-running operation is polled. The HSM's label is spelled as it was
// at creation: clients remember their sign-in by the host as it was typed, which is usually that, while
// their Host header is always lower-case.
func (q *request) pending(path string) http.Header {
	host := q.Host
	if n := len(q.res.Name); len(host) > n && host[n] == '.' {
		host = q.res.Name + host[n:]
	}
	return http.Header{"Azure-Asyncoperation": {"https://" + host + path}, "Retry-After": {"1"}}
}
