package identity

import (
	"fmt"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	try := func(password string) float64 {
		_, a := s.token(t, "grant_type", "password", "client_id", azClient, "username", s.acct.User.UPN, "password", password, "scope", hsmAud)
		if a.str("error") == "" {
			return 0
		}
		return a["error_codes"].([]any)[0].(float64)
	}
	for range maxFailures {
		if got := try("wrong"); got != 50126 {
			t.Fatalf("got %v", got)
		}
	}
	if got := try(s.cred.Password); got != 50053 {
		t.Errorf("not locked: %v", got)
	}
	s.shift.Store(int64(failureWindow))
	if got := try(s.cred.Password); got != 0 {
		t.Errorf("still locked: %v", got)
	}
}

func TestThrottleAndPendingAreBounded(t *testing.T) {
	t.Parallel()
	th := newThrottle(time.Now)
	for i := range maxPending * 3 {
		th.failed(fmt.Sprint(i))
	}
	if len(th.names) > maxPending {
		t.Errorf("%d names", len(th.names))
	}
	now := time.Now()
	p := newPending[int](func() time.Time { return now }, time.Minute)
	for i := range maxPending {
		if !p.add(fmt.Sprint(i), i) {
			t.Fatalf("no room at %d", i)
		}
	}
	if p.add("more", 1) {
		t.Error("no bound")
	}
	now = now.Add(time.Minute)
	if _, ok := p.take("1"); ok {
		t.Error("expired item taken")
	}
	if !p.add("more", 1) {
		t.Error("expired items are not dropped")
	}
}
