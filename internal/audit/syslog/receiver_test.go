package syslog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"redoubt/internal/audit"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// receiver is a syslog receiver over TLS that can be away, and that can lose its connections in the middle of a message.
type receiver struct {
	t    testing.TB
	addr string
	conf *tls.Config
	pool *x509.CertPool

	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]bool
	got    []string // messages
	crash  int      // breaks the connection after so many more messages; 0: never
	dialed int
}

func newReceiver(t testing.TB) *receiver {
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "receiver"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key))
	r := &receiver{t: t, addr: "127.0.0.1:0", pool: x509.NewCertPool(), conns: map[net.Conn]bool{},
		conf: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}}
	r.pool.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	t.Cleanup(r.away)
	return r
}

// back listens; away stops and breaks what there is.
func (r *receiver) back() {
	l := must[net.Listener](r.t)(net.Listen("tcp", r.addr))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addr, r.l = l.Addr().String(), l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[c] = true
			r.dialed++
			r.mu.Unlock()
			go r.serve(c)
		}
	}()
}

func (r *receiver) away() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.l != nil {
		_ = r.l.Close()
	}
	for c := range r.conns {
		reset(c)
	}
	r.conns = map[net.Conn]bool{}
}

// counts are how many messages and connections there were.
func (r *receiver) counts() (got, dialed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got), r.dialed
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// serve reads messages: a length, a space, so many bytes.
func (r *receiver) serve(raw net.Conn) {
	c := tls.Server(raw, r.conf)
	defer func() { _ = c.Close() }()
	br := bufio.NewReader(c)
	for {
		head, err := br.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(head, " "))
		if err != nil {
			r.t.Errorf("the length is %q", head)
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(br, b); err != nil {
			return
		}
		r.mu.Lock()
		if r.crash > 0 {
			if r.crash--; r.crash == 0 { // it was read, and is lost
				r.mu.Unlock()
				reset(raw)
				return
			}
		}
		r.got = append(r.got, string(b))
		r.mu.Unlock()
	}
}

var shape = regexp.MustCompile(`^<(\d+)>1 (\S+) (\S+) redoubtd - (AuditEvent|checkpoint) \[redoubt@32473 chain="([^"]*)" seq="(\d+)" prev="([0-9a-f]{64})" hash="([0-9a-f]{64})"(?: hsm="((?:\\.|[^"\\])*)")?\] (\{.*\})$`)

// files puts the chains together again from the messages: without doubles, each line when it comes first.
func (r *receiver) files() (files map[string]*bytes.Buffer, doubles int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	files = map[string]*bytes.Buffer{}
	next := map[string]int{}
	for _, m := range r.got {
		f := shape.FindStringSubmatch(m)
		if f == nil {
			r.t.Fatalf("not a message: %s", m)
		}
		chain := f[5]
		seq := must[int](r.t)(strconv.Atoi(f[6]))
		switch {
		case seq <= next[chain]:
			doubles++
			continue
		case seq != next[chain]+1:
			r.t.Errorf("line %d of %s came after line %d", seq, chain, next[chain])
		}
		next[chain] = seq
		if files[chain] == nil {
			files[chain] = &bytes.Buffer{}
		}
		kind := map[string]string{"AuditEvent": "entry", "checkpoint": "checkpoint"}[f[4]]
		fmt.Fprintf(files[chain], `{"seq":%d,"prev":"%s","hash":"%s","%s":%s}`+"\n", seq, f[7], f[8], kind, f[10])
	}
	return files, doubles
}

// clock is the sender's: waiting takes no time, and is counted.
type clock struct{ passed atomic.Int64 }

func (c *clock) after(d time.Duration) <-chan time.Time {
	c.passed.Add(int64(d))
	return time.After(time.Millisecond)
}

func (c *clock) hours() float64 { return time.Duration(c.passed.Load()).Hours() }

type signer struct{ ed25519.PrivateKey }

func (s signer) Sign(b []byte) []byte { return ed25519.Sign(s.PrivateKey, b) }
func (s signer) Public() []byte       { return s.PrivateKey.Public().(ed25519.PublicKey) }

var testKey = signer{ed25519.NewKeyFromSeed(make([]byte, 32))}

// site is a folder with audit logs that are written to.
type site struct {
	t     testing.TB
	dir   string
	logs  map[string]*audit.Log
	n     int
	needs func(string, uint64) bool
}

func (s *site) log(name string) *audit.Log {
	if s.logs[name] == nil {
		keep := 0
		if s.needs != nil {
			keep = 1
		}
		s.logs[name] = must[*audit.Log](s.t)(audit.OpenWith(filepath.Join(s.dir, name+".jsonl"), audit.Options{RotateSize: 5000, Keep: keep, Needed: s.needs}))
	}
	return s.logs[name]
}

func (s *site) write(name string, n int) {
	s.t.Helper()
	l := s.log(name)
	for range n {
		s.n++
		e := audit.Entry{ID: strconv.Itoa(s.n), Time: time.Unix(int64(s.n), 0).UTC(), Operation: "KeySign", Result: "Success", Resource: &audit.Resource{Name: `Contoso"]\`}}
		if s.n%3 == 0 {
			e.Result = "Denied"
		}
		if err := l.Append([]audit.Entry{e}, false); err != nil {
			s.t.Fatal(err)
		}
		if !l.Due() {
			continue
		}
		if err := l.Rotate(testKey); err != nil {
			s.t.Fatal(err)
		}
		if r, ok, err := l.Excess(); err != nil {
			s.t.Fatal(err)
		} else if ok {
			if err := l.Remove(r); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

func newSite(t testing.TB) *site {
	s := &site{t: t, dir: t.TempDir(), logs: map[string]*audit.Log{}}
	t.Cleanup(func() {
		for _, l := range s.logs {
			_ = l.Close()
		}
	})
	return s
}

// sender runs one until stop.
func (s *site) sender(r *receiver, c *clock) (sender *Sender, stop func()) {
	s.t.Helper()
	sender = must[*Sender](s.t)(New(Config{Dir: s.dir, Address: r.addr, TLS: &tls.Config{RootCAs: r.pool}, Host: "hsm host.example", After: c.after,
		Head: func(chain string) (audit.Head, bool) { return audit.Head{}, false }}))
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); sender.Run(ctx) }()
	return sender, func() { cancel(); <-done }
}

// until waits for something that another goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended before: " + what)
		case <-time.After(time.Millisecond):
		}
	}
}

// delivered waits until all lines of all chains are confirmed.
func (s *site) delivered(x *Sender) {
	s.t.Helper()
	until(s.t, "everything is confirmed", func() bool {
		for name, l := range s.logs {
			if x.Needed(filepath.Join(s.dir, name+".jsonl"), l.Head().Seq) {
				return false
			}
		}
		return true
	})
}

// same compares what the receiver can put together with what was written.
func (s *site) same(r *receiver) (doubles int) {
	s.t.Helper()
	files, doubles := r.files()
	for name, l := range s.logs {
		got := files[name]
		if got == nil {
			s.t.Fatalf("nothing of %s arrived", name)
		}
		if rep, err := audit.Verify(bytes.NewReader(got.Bytes()), l.Head().String(), nil); err != nil || rep.Head != l.Head() {
			s.t.Errorf("what arrived of %s is no whole chain: %s, %v", name, rep.Head, err)
		}
	}
	return doubles
}
