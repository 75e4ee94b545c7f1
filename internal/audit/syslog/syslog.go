// Package syslog sends the lines of audit logs to a syslog receiver over TLS (RFC 5424, RFC 5425).
//
// A Sender follows the files of all chains in a folder from a position that it keeps beside each of them. It is no part of
// any operation: nothing waits for it, and it has in memory one line at a time, however long the receiver was away.
//
// Syslog has no acknowledgements. What was written to a connection counts as delivered only once the connection was ended in
// order: the receiver kept it open for a while after the last line, and closed its side when it was told that no more would
// come. Only then the positions go on; anything else, a crash included, has the lines since then sent again. So every line
// arrives at least once, in order, with its number, by which a receiver tells what it has already.
package syslog

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/durable"
)

// Times and amounts of a session.
const (
	pollEvery   = time.Second      // for new lines
	idleAfter   = 5 * time.Second  // without new lines a session is ended, and what it sent confirmed
	settle      = 2 * time.Second  // that the receiver must keep the connection open after the last line
	patience    = 30 * time.Second // for the connection, each write, and the end of the session
	sessionMost = 10000            // lines
	backoffMost = time.Minute
)

// Config is what a Sender needs. Dir, Address and TLS are required.
type Config struct {
	Dir     string // of the audit files
	Address string // host and port of the receiver
	TLS     *tls.Config
	Host    string // this server's name in the messages
	// Head tells up to which line a chain may be sent; ok is false when nobody writes it now, and all of it may.
	Head  func(chain string) (h audit.Head, ok bool)
	After func(time.Duration) <-chan time.Time // time.After, or a test's
	Log   *slog.Logger
}

// Sender sends. Needed and Behind may be called from any goroutine.
type Sender struct {
	cfg    Config
	failed atomic.Bool // the last session did, and the log says so

	mu   sync.Mutex
	done map[string]audit.Position // confirmed, by chain; guarded by mu
}

// New makes a Sender, which reads the positions that the one before it has kept.
func New(cfg Config) (*Sender, error) {
	if cfg.After == nil {
		cfg.After = time.After
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Head == nil {
		cfg.Head = func(string) (audit.Head, bool) { return audit.Head{}, false }
	}
	s := &Sender{cfg: cfg, done: make(map[string]audit.Position)}
	chains, err := audit.Chains(cfg.Dir)
	for _, c := range chains {
		p, perr := readPosition(c)
		err = errors.Join(err, perr)
		s.done[c] = p
	}
	return s, err
}

func positionFile(chain string) string {
	return strings.TrimSuffix(chain, filepath.Ext(chain)) + ".syslog"
}

// readPosition reads where a chain was confirmed up to. A file that is damaged is as good as none: lines arrive again.
func readPosition(chain string) (p audit.Position, err error) {
	b, err := os.ReadFile(positionFile(chain))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil && json.Unmarshal(b, &p) != nil {
		return audit.Position{}, nil
	}
	return p, err
}

// Needed tells whether the receiver still has to get lines up to last (audit.Options).
func (s *Sender) Needed(chain string, last uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[chain].Seq < last
}

// Confirmed is up to which line a chain was sent, so that it need not be again.
func (s *Sender) Confirmed(chain string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[chain].Seq
}

// Failing tells that the last try to send did not end well.
func (s *Sender) Failing() bool { return s.failed.Load() }

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	pause := time.Second
	for ctx.Err() == nil {
		err := s.session(ctx)
		wait := pollEvery
		if err != nil && ctx.Err() == nil {
			if !s.failed.Load() {
				s.cfg.Log.ErrorContext(ctx, "audit entries cannot be sent to the syslog receiver; they are kept and sent later", "receiver", s.cfg.Address, "error", err)
			}
			s.failed.Store(true)
			wait, pause = pause, min(2*pause, backoffMost)
		} else {
			pause = time.Second
		}
		select {
		case <-ctx.Done():
		case <-s.cfg.After(wait):
		}
	}
}

// session sends what there is, if there is anything, over one connection.
func (s *Sender) session(ctx context.Context) error {
	src := s.sources()
	defer src.close()
	first, err := src.next()
	if err != nil || first == nil {
		return err
	}
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what counts was confirmed before
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	gone := make(chan error, 1)
	go func() { // a receiver says nothing; the end of this is the end of the connection
		_, err := io.Copy(io.Discard, conn)
		gone <- err
	}()
	if err := s.send(ctx, conn, src, first, gone); err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := s.finish(ctx, conn, gone); err != nil {
		return errors.Join(err, conn.Close())
	}
	return s.confirm(src)
}

func (s *Sender) dial(ctx context.Context) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := (&tls.Dialer{Config: s.cfg.TLS}).DialContext(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return nil, err
	}
	if s.failed.Load() {
		s.failed.Store(false)
		s.cfg.Log.InfoContext(ctx, "the syslog receiver can be reached again", "receiver", s.cfg.Address)
	}
	return c.(*tls.Conn), nil
}

var errGone = errors.New("the receiver ended the connection")

// send writes lines until there have been none for a while, or enough for one session.
func (s *Sender) send(ctx context.Context, conn net.Conn, src *sources, ln *line, gone chan error) error {
	for n, idle := 0, time.Duration(0); n < sessionMost; {
		if ln != nil {
			m, err := message(s.cfg.Host, ln.chain, ln.Line, time.Now())
			if err != nil {
				return err
			}
			_ = conn.SetWriteDeadline(time.Now().Add(patience)) // fails when conn is closed, as Write does
			if _, err := conn.Write(m); err != nil {
				return err
			}
			n, idle = n+1, 0
		} else if idle >= idleAfter {
			return nil
		} else {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-gone:
				return errors.Join(errGone, err)
			case <-s.cfg.After(pollEvery):
				idle += pollEvery
			}
		}
		var err error
		if ln, err = src.next(); err != nil {
			return err
		}
	}
	return nil
}

// finish ends the connection in order.
func (s *Sender) finish(ctx context.Context, conn *tls.Conn, gone chan error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-gone:
		return errors.Join(errGone, err)
	case <-s.cfg.After(settle):
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if t, ok := conn.NetConn().(*net.TCPConn); ok {
		_ = t.CloseWrite() // for receivers that do not look at what TLS says
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	err := <-gone
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // one that says nothing in TLS but closes has read all, too
		return fmt.Errorf("the receiver did not end the connection in order: %w", err)
	}
	return nil
}

// confirm keeps the positions that were reached.
func (s *Sender) confirm(src *sources) error {
	for _, c := range src.list {
		p := c.sent
		if p == (audit.Position{}) {
			continue
		}
		b, err := json.Marshal(p)
		if err == nil {
			err = durable.WriteFile(positionFile(c.chain), append(b, '\n'), 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep the position in %s: %w", c.chain, err)
		}
		s.mu.Lock()
		s.done[c.chain] = p
		s.mu.Unlock()
	}
	return nil
}
