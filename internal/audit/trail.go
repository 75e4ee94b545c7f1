package audit

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Limit keeps what anybody can bring about from filling the disk: a burst, then so many a second.
type Limit struct {
	Burst, PerSecond float64

	mu         sync.Mutex
	tokens     float64
	last       time.Time
	suppressed int
}

// Allow tells whether one more may be written, and how many were not since the last that was.
func (l *Limit) Allow(now time.Time) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.tokens = l.Burst
	}
	l.tokens = min(l.Burst, l.tokens+l.PerSecond*max(0, now.Sub(l.last).Seconds()))
	l.last = now
	if l.tokens < 1 {
		l.suppressed++
		return 0, false
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}

// usualEntry is how long an entry may be that counts as one, bytes.
const usualEntry = 2 << 10

// Charge takes what e, which was allowed, costs beyond an entry of usual length: who makes theirs long may make fewer.
func (l *Limit) Charge(e *Entry) {
	more := len(e.Append(nil)) / usualEntry
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens -= float64(more)
}

// Suppress is the entry's reason with the number of those before it that were not recorded.
func Suppress(reason string, suppressed int) string {
	if suppressed == 0 {
		return reason
	}
	return fmt.Sprintf("%s (%d earlier refusals were not recorded)", reason, suppressed)
}

// TrailConfig is what a Trail needs. Log and Clock are required.
type TrailConfig struct {
	Log   *Log
	Clock func() time.Time
	// Signer signs checkpoints; while it fails, there are none, and the file is not rotated.
	Signer func() (Signer, error)
	// Remember keeps a head that is durable in the file where the file's owner cannot change it, for the next start.
	Remember func(Head) error
	Errors   *slog.Logger
}

// Trail is a chain that is written directly, without a device: what is done in the control plane, and requests that reach
// no HSM. Methods may be called from any goroutine; those of a nil Trail do nothing.
type Trail struct {
	cfg    TrailConfig
	denied Limit // callers with a token
	others Limit // callers without one: they must not keep the others' refusals out

	mu    sync.Mutex // one writer at a time, so that a rotation is between two entries
	lines int        // since the last checkpoint
	stuck time.Time  // the last rotation that failed
}

// NewTrail makes a Trail, which closes the log at its end.
func NewTrail(cfg TrailConfig) *Trail {
	if cfg.Errors == nil {
		cfg.Errors = slog.New(slog.DiscardHandler)
	}
	return &Trail{cfg: cfg, denied: Limit{Burst: 200, PerSecond: 20}, others: Limit{Burst: 100, PerSecond: 5}}
}

// Record writes e and returns when it is durable. Id and time are filled in.
func (t *Trail) Record(e Entry) error {
	if t == nil {
		return nil
	}
	return t.write(e, true)
}

// Note writes e, which is a refusal, within limits and without waiting for the disk. Without a principal it counts among
// the callers without a token.
func (t *Trail) Note(e Entry) {
	if t == nil {
		return
	}
	limit := &t.denied
	if e.Principal == "" {
		limit = &t.others
	}
	suppressed, ok := limit.Allow(t.cfg.Clock())
	if !ok {
		return
	}
	e.Reason = Suppress(e.Reason, suppressed)
	limit.Charge(&e)
	if err := t.write(e, false); err != nil {
		t.cfg.Errors.Error("a refusal could not be recorded in the control plane's audit log", "error", err)
	}
}

func (t *Trail) write(e Entry, sync bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := make([]byte, 16)
	rand.Read(id)
	e.ID, e.Time = hex.EncodeToString(id), t.cfg.Clock().UTC()
	if err := t.cfg.Log.Append([]Entry{e}, sync); err != nil {
		return err
	}
	if t.lines++; t.lines >= checkpointEvery {
		t.sign()
	}
	t.rotate()
	if sync {
		t.remember()
	}
	return nil
}

// checkpointEvery is how many entries there are between two checkpoints.
const checkpointEvery = 1000

func (t *Trail) signer() (Signer, error) {
	if t.cfg.Signer == nil {
		return nil, errors.New("there is no key that signs the control plane's audit log")
	}
	return t.cfg.Signer()
}

func (t *Trail) sign() {
	s, err := t.signer()
	if err == nil {
		err = t.cfg.Log.Checkpoint(s)
	}
	if err != nil {
		t.cfg.Errors.Error("the control plane's audit log has no checkpoint", "error", err)
		return
	}
	t.lines = 0
}

// rotate goes on in a new file when the present one is full. What fails is tried again a minute later.
func (t *Trail) rotate() {
	now := t.cfg.Clock()
	if !t.cfg.Log.Due() || !t.stuck.IsZero() && now.Sub(t.stuck) < time.Minute {
		return
	}
	s, err := t.signer()
	if err == nil {
		err = t.cfg.Log.Rotate(s)
	}
	if err == nil && t.cfg.Remember != nil {
		err = t.cfg.Remember(t.cfg.Log.Head()) // one in the new file: full ones may go, by retention or by an operator's hand
	}
	if err == nil {
		err = t.retain(now)
	}
	if t.stuck = (time.Time{}); err != nil {
		t.stuck = now
		t.cfg.Errors.Error("the control plane's audit log could not be rotated", "error", err)
	}
}

func (t *Trail) retain(now time.Time) error {
	r, ok, err := t.cfg.Log.Excess()
	if err != nil || !ok {
		return err
	}
	e := Entry{ID: "removed-" + r.Through.String(), Time: now.UTC(), Operation: FilesRemoved, Result: "Success", Details: r.Details()}
	if err := t.cfg.Log.Append([]Entry{e}, true); err != nil {
		return err
	}
	return t.cfg.Log.Remove(r)
}

func (t *Trail) remember() {
	if t.cfg.Remember == nil {
		return
	}
	if err := t.cfg.Remember(t.cfg.Log.Head()); err != nil {
		t.cfg.Errors.Warn("the head of the control plane's audit log could not be remembered", "error", err)
	}
}

// Close writes a checkpoint and closes the log.
func (t *Trail) Close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines > 0 {
		t.sign()
	}
	if err := t.cfg.Log.Sync(); err == nil {
		t.remember()
	}
	return t.cfg.Log.Close()
}
