package syslog

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/audit"
)

// Lines of all chains arrive, in order, once each while nothing goes wrong, in the form of RFC 5424.
func TestSend(t *testing.T) {
	t.Parallel()
	s, r, c := newSite(t), newReceiver(t), &clock{}
	r.back()
	s.write("a", 30)
	x, stop := s.sender(r, c)
	s.write("control", 5)
	s.write("a", 10)
	s.delivered(x)
	stop()
	if n := s.same(r); n != 0 {
		t.Errorf("%d lines arrived twice", n)
	}
	const first = `<110>1 1970-01-01T00:00:01.000000Z hsmhost.example redoubtd - AuditEvent [redoubt@32473 chain="a" seq="1" prev="`
	if !strings.HasPrefix(r.got[0], first) || !strings.Contains(r.got[0], `hsm="Contoso\"\]\\"] {"time":"1970-01-01T00:00:01Z","operationName":"KeySign",`) || !strings.HasPrefix(r.got[2], "<108>1 ") {
		t.Errorf("%s", r.got[0])
	}
	before, _ := r.counts()
	lines := s.log("a").Head().Seq
	x, stop = s.sender(r, c) // a new process goes on where the old one was
	s.write("a", 1)
	s.delivered(x)
	stop()
	if got, _ := r.counts(); got != before+int(s.log("a").Head().Seq-lines) {
		t.Errorf("%d messages more", got-before)
	}
}

// The receiver is away for an hour, and comes back; meanwhile it is asked for ever less often, nothing waits for it, and no
// file that it has not got is removed.
func TestReceiverAwayForAnHour(t *testing.T) {
	t.Parallel()
	s, r, c := newSite(t), newReceiver(t), &clock{}
	r.back()
	var x *Sender
	s.needs = func(chain string, last uint64) bool { return x.Needed(chain, last) }
	x, stop := s.sender(r, c)
	defer func() { stop() }()
	s.write("a", 10)
	s.delivered(x)
	r.away()
	for hour := c.hours(); c.hours() < hour+1; {
		s.write("a", 1)
	}
	s.write("a", 50)
	if n := len(must[[]audit.Segment](t)(audit.Segments(filepath.Join(s.dir, "a.jsonl")))); n < 4 {
		t.Errorf("%d files: some that the receiver has not got are removed", n)
	}
	_, before := r.counts()
	r.back()
	s.delivered(x)
	s.same(r)
	if _, dialed := r.counts(); dialed-before > 50 {
		t.Errorf("%d connections for what there was", dialed-before)
	}
	s.write("a", 200) // and now retention removes what it has got, at last
	s.delivered(x)
	s.write("a", 20)
	if n := len(must[[]audit.Segment](t)(audit.Segments(filepath.Join(s.dir, "a.jsonl")))); n > 6 {
		t.Errorf("%d files are kept", n)
	}
	s.delivered(x)
	s.same(r)
}

// A receiver that dies with messages it has read, and a sender that is killed at any moment: every line arrives, in order.
func TestCrashes(t *testing.T) {
	t.Parallel()
	s, r, c := newSite(t), newReceiver(t), &clock{}
	r.back()
	s.write("a", 40)
	for i := range 12 {
		x, stop := s.sender(r, c)
		s.write("a", 20)
		r.mu.Lock()
		r.crash = 1 + 5*i
		n := len(r.got)
		r.mu.Unlock()
		if i%2 == 0 { // it is killed somewhere within
			until(t, "some arrived", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.got) > n || r.crash == 0 })
			stop()
			continue
		}
		s.delivered(x)
		stop()
	}
	r.mu.Lock()
	r.crash = 0
	r.mu.Unlock()
	x, stop := s.sender(r, c)
	s.delivered(x)
	stop()
	if doubles := s.same(r); doubles == 0 {
		t.Error("nothing arrived twice: no crash had any effect")
	}
}

// A receiver with another authority's certificate gets nothing.
func TestUntrustedReceiver(t *testing.T) {
	t.Parallel()
	s, r, other, c := newSite(t), newReceiver(t), newReceiver(t), &clock{}
	r.back()
	r.pool = other.pool
	s.write("a", 3)
	x, stop := s.sender(r, c)
	until(t, "it was tried", func() bool { return c.hours() > 1 })
	stop()
	if got, _ := r.counts(); got > 0 || !x.Needed(filepath.Join(s.dir, "a.jsonl"), 1) {
		t.Errorf("%d messages", got)
	}
}

// What a writer does not stand for yet is not sent; a position that is no longer there, or damaged, has everything sent again.
func TestPositions(t *testing.T) {
	t.Parallel()
	s, r, c := newSite(t), newReceiver(t), &clock{}
	r.back()
	s.write("a", 4)
	chain := filepath.Join(s.dir, "a.jsonl")
	x := must[*Sender](t)(New(Config{Dir: s.dir, Address: r.addr, TLS: &tls.Config{RootCAs: r.pool}, After: c.after,
		Head: func(string) (audit.Head, bool) { return audit.Head{Seq: 2}, true }}))
	err := x.session(t.Context())
	if got, _ := r.counts(); err != nil || x.Needed(chain, 2) || !x.Needed(chain, 3) || got != 2 {
		t.Errorf("%v: %d messages", err, got)
	}
	for _, bad := range []string{"junk", `{"file":"a.jsonl","offset":7,"seq":2,"hash":"00"}`, `{"file":"none.jsonl","offset":7,"seq":2,"hash":"00"}`,
		`{"file":"a.jsonl","offset":-7,"seq":2,"hash":"00"}`, `{"file":"a.jsonl","offset":9223372036854775807,"seq":2,"hash":"00"}`, `{"file":"../a.jsonl","offset":7,"seq":2,"hash":"00"}`, `{"file":".","offset":7,"seq":2,"hash":"00"}`} {
		if err := os.WriteFile(positionFile(chain), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.got = nil
		r.mu.Unlock()
		x, stop := s.sender(r, c)
		s.delivered(x)
		stop()
		s.same(r)
	}
}
