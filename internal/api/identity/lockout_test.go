package identity

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/cloud"
)

// code signs in and returns the number of the error, 0 for none.
func (s *site) code(t testing.TB, form ...string) float64 {
	t.Helper()
	_, a := s.token(t, append(form, "scope", hsmAud)...)
	if a.str("error") == "" {
		return 0
	}
	return a["error_codes"].([]any)[0].(float64)
}

// TestLockout: people and applications, known or not, are locked alike; each lock is longer than the one before,
// and the right secret ends the row.
func TestLockout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, tt := range map[string]struct {
		wrong, right []string
		want         float64 // of a wrong one
	}{
		"person": {[]string{"grant_type", "password", "client_id", azClient, "username", s.acct.User.UPN, "password", "wrong"},
			[]string{"grant_type", "password", "client_id", azClient, "username", strings.ToUpper(s.acct.User.UPN), "password", s.cred.Password}, 50126},
		"no person": {[]string{"grant_type", "password", "client_id", azClient, "username", "nobody@contoso.onmicrosoft.com", "password", "wrong"}, nil, 50126},
		"application": {[]string{"grant_type", "client_credentials", "client_id", s.acct.ServicePrincipal.AppID, "client_secret", "wrong"},
			[]string{"grant_type", "client_credentials", "client_id", strings.ToUpper(s.acct.ServicePrincipal.AppID), "client_secret", s.cred.ClientSecret}, 7000215},
		"no application": {[]string{"grant_type", "client_credentials", "client_id", cloud.NewGUID(), "client_secret", "wrong"}, nil, 700016},
	} {
		s.shift.Store(0)
		for i := range maxFailures {
			if got := s.code(t, tt.wrong...); got != tt.want {
				t.Fatalf("%s: failure %d: %v", name, i, got)
			}
		}
		var past time.Duration
		for i, lock := range []time.Duration{firstLock, 2 * firstLock, 4 * firstLock, 8 * firstLock, 16 * firstLock, 32 * firstLock, longestLock, longestLock} {
			for _, form := range [][]string{tt.wrong, tt.right} {
				if form == nil {
					continue
				}
				s.shift.Store(int64(past + lock - time.Second))
				if got := s.code(t, form...); got != 50053 {
					t.Errorf("%s: lock %d: %v", name, i, got)
				}
			}
			past += lock
			s.shift.Store(int64(past))
			if got := s.code(t, tt.wrong...); got != tt.want {
				t.Errorf("%s: after lock %d: %v", name, i, got)
			}
		}
		past += longestLock
		s.shift.Store(int64(past))
		if tt.right == nil {
			continue
		}
		for _, form := range [][]string{tt.right, tt.wrong, tt.right} {
			want := 0.0
			if &form[0] == &tt.wrong[0] {
				want = tt.want
			}
			if got := s.code(t, form...); got != want {
				t.Errorf("%s: the row has not ended: %v", name, got)
			}
		}
	}
}

// TestLockoutSaysHowLong: the error names the time, and a row ends by itself after a day.
func TestLockoutSaysHowLong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	wrong := []string{"grant_type", "password", "client_id", azClient, "username", s.acct.User.UPN, "password", "wrong"}
	for range maxFailures {
		s.code(t, wrong...)
	}
	if code, a := s.token(t, append(wrong, "scope", hsmAud)...); code != 400 || a.str("error") != "invalid_grant" || !strings.Contains(a.str("error_description"), "Wait 1m0s and try again") {
		t.Errorf("%d %v", code, a)
	}
	// Every way to enter a password is locked.
	_, d := s.json(t, post(login+"/common/oauth2/v2.0/devicecode", "client_id", azClient, "scope", hsmAud))
	var oe *oauthError
	if err := s.server.approve(request{Request: get(login)}, approval{d.str("user_code"), s.acct.User.UPN, s.cred.Password}); !errors.As(err, &oe) || oe.number != 50053 {
		t.Errorf("device page: %v", err)
	}
	target := login + "/organizations/oauth2/v2.0/authorize"
	form := []string{"client_id", azClient, "response_type", "code", "redirect_uri", "http://localhost:1/", "scope", hsmAud, "username", s.acct.User.UPN, "password", s.cred.Password}
	if page := bodyOf(t, s.do(post(target, form...))); !strings.Contains(page, "AADSTS50053") {
		t.Errorf("browser: %s", page)
	}
	s.shift.Store(int64(forgetAfter))
	for range maxFailures {
		if got := s.code(t, wrong...); got != 50126 {
			t.Fatalf("an old row still counts: %v", got)
		}
	}
	s.server.lockout.forget(lockedUser(s.acct.User.UPN))
	if got := s.code(t, "grant_type", "password", "client_id", azClient, "username", s.acct.User.UPN, "password", s.cred.Password); got != 0 {
		t.Errorf("forgotten, but %v", got)
	}
}

// TestObjectIDIsNoUserName: a person has one name to guess under, and one count.
func TestObjectIDIsNoUserName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if got := s.code(t, "grant_type", "password", "client_id", azClient, "username", s.acct.User.ObjectID, "password", s.cred.Password); got != 50126 {
		t.Errorf("got %v", got)
	}
}

// TestGuessesAtOnce: of any number of guesses that are looked at at the same time, no more outcomes are told
// than of guesses in turn.
func TestGuessesAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := newLockout(func() time.Time { return now })
	const guesses = 200
	for range guesses {
		if l.left("user:x") != 0 {
			t.Fatal("locked too soon") // all of them are being looked at now
		}
	}
	told := make(chan bool, guesses)
	var work sync.WaitGroup
	for range guesses {
		work.Go(func() { told <- l.settle("user:x", false) == 0 })
	}
	work.Wait()
	close(told)
	n := 0
	for ok := range told {
		if ok {
			n++
		}
	}
	if n != maxFailures {
		t.Errorf("%d outcomes were told", n)
	}
	if l.settle("user:x", true) == 0 {
		t.Error("the right one among them was told")
	}
}

// TestLockoutIsBounded: it keeps few names, and of those the ones with the most failures.
func TestLockoutIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := newLockout(func() time.Time { return now })
	for range maxFailures - 1 {
		l.settle("victim", false)
	}
	for i := range 3 * maxPending {
		l.settle(fmt.Sprint(i), false)
	}
	if len(l.names) != maxPending {
		t.Errorf("%d names", len(l.names))
	}
	if l.settle("victim", false); l.left("victim") != firstLock {
		t.Error("a flood of names made it forget a row of failures")
	}
	now = now.Add(forgetAfter)
	l.settle("another", false)
	if len(l.names) != 1 {
		t.Errorf("%d names after a day", len(l.names))
	}
}
