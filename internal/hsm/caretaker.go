package hsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/store"
)

// The caretaker does what falls due on an Active device without anybody asking: it rotates keys as their
// policies say, and purges soft-deleted keys when their retention ends. It has no clock and no goroutine of its
// own: whoever runs the device calls Tend, about once a minute.
//
// What it does to a key is one transaction, conditional on the head that was found due, and what is due follows
// from the head alone. So a crash leaves the state before or after, a rotation that was missed for however long
// is made up by one new version, and two that tend at once cannot rotate twice.

// tendBatch is how many keys one call of Tend sees to: it bounds how long a device with much to do keeps others
// waiting. A larger number of what is due is found by looking again.
const (
	tendBatch = 16
	agendaMax = 4096
)

// lookEvery is how long what is not due yet is taken on trust, in seconds, and tryAgain how long a key that could
// not be seen to is left alone.
const (
	lookEvery = 3600
	tryAgain  = 3600
)

// entryRotateIfDue is the audit name of a rotation that the device makes (rest-api section 5).
const entryRotateIfDue = "KeyRotateIfDue"

// errNotDue: somebody else has seen to it, or changed the key so that there is nothing to do.
var errNotDue = errors.New("nothing is due")

// due is the Unix time at which the caretaker has something to do with the key, or key.Never.
func (hd *head) due() int64 {
	if hd.Deletion != nil {
		return hd.Deletion.PurgeAt
	}
	return hd.Rotation.Due(hd.Meta.Attributes)
}

// expect notes that a head being written falls due at that time.
func (v *view) expect(due int64) {
	if v.due == 0 || due < v.due {
		v.due = due
	}
}

// task is a key that was found due.
type task struct {
	name    key.Name
	deleted bool
}

// agenda is what the caretaker knows of coming tasks. It may expect something too early, never too late: every
// head that commits is noted, and a replaced generation or an hour gone by make it look again.
type agenda struct {
	tending sync.Mutex // held by whoever tends the device

	mu         sync.Mutex // guards what follows
	generation string
	next       int64          // before that time nothing is due
	tasks      []task         // found due
	later      map[task]int64 // could not be seen to: not before that time
	full       []key.Name     // due, and without room for a version
}

// note tells the agenda that a head was committed which falls due at that time; 0 for none.
func (a *agenda) note(due int64) {
	if due == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.full) > 0 {
		due = 0 // one of these may have been deleted, or lost its policy
	}
	a.next = min(a.next, due)
}

// idle tells whether there is nothing to do in that generation at that time.
func (a *agenda) idle(generation string, now int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.generation != generation { // also after a start
		a.tasks, a.later, a.full = nil, nil, nil
		return false
	}
	return len(a.tasks) == 0 && now < a.next && a.next <= now+lookEvery // else the clock was put back
}

// take removes up to n tasks.
func (a *agenda) take(n int) []task {
	a.mu.Lock()
	defer a.mu.Unlock()
	n = min(n, len(a.tasks))
	out := slices.Clone(a.tasks[:n])
	a.tasks = a.tasks[n:]
	return out
}

// putOff leaves a task alone until then. Its key is found again by looking.
func (a *agenda) putOff(t task, until int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.later == nil {
		a.later = make(map[task]int64)
	}
	a.later[t] = until
	a.next = min(a.next, until)
}

func (a *agenda) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tasks) > 0
}

// warnings tells of keys whose policy cannot be followed.
func (a *agenda) warnings() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.full) == 0 {
		return nil
	}
	const shown = 5
	names := make([]string, 0, shown)
	for _, n := range a.full[:min(shown, len(a.full))] {
		names = append(names, string(n))
	}
	more := ""
	if len(a.full) > shown {
		more = fmt.Sprintf(" and %d more", len(a.full)-shown)
	}
	return []string{fmt.Sprintf("Keys that are due for rotation have as many versions as a key can have: %s%s; create keys under other names and remove these policies.", strings.Join(names, ", "), more)}
}

// Tend sees to what is due, to a bounded amount of it: more tells that there is more to do at once. It needs an
// Active device and does nothing in any other state. A failure of one key is logged and tried again later; err is
// what kept it from going on.
func (h *HSM) Tend(ctx context.Context) (more bool, err error) {
	ctx, leave, ok := h.enter(ctx)
	if !ok || !h.agenda.tending.TryLock() {
		leave()
		return false, nil
	}
	defer leave()
	defer h.agenda.tending.Unlock()
	if h.root.Load() == nil {
		return false, nil // sealed: opening it is not the caretaker's
	}
	d, rev, root, err := h.current(ctx)
	if errors.Is(err, ErrSealed) {
		return false, nil
	}
	if err != nil || d.State != Active || h.agenda.idle(d.Generation, h.now()) {
		return false, err
	}
	if !h.agenda.busy() {
		if err := h.look(ctx, &view{h: h, dev: d, rev: rev, root: root}); err != nil {
			return false, err
		}
	}
	for _, t := range h.agenda.take(tendBatch) {
		if err := h.see(ctx, t); err != nil {
			return false, err
		}
	}
	return h.agenda.busy(), nil
}

// enter keeps the device open until leave is called, and ends ctx when the device closes.
func (h *HSM) enter(ctx context.Context) (_ context.Context, leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return ctx, func() {}, false
	}
	h.work.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.life, cancel)
	return ctx, func() { stop(); cancel(); h.work.Done() }, true
}

// look goes through all keys for what is due and for the next time that something will be.
func (h *HSM) look(ctx context.Context, v *view) error {
	a, now := &h.agenda, h.now()
	a.mu.Lock()
	a.generation, a.next, a.tasks = v.dev.Generation, key.Never, nil // from here on what commits is noted
	later, before := a.later, a.full
	a.mu.Unlock()
	f := finding{now: now, next: now + lookEvery, later: later}
	var err error
	for _, prefix := range []string{"h/", "d/"} {
		if err == nil {
			err = v.scan(ctx, prefix, func(logical string, kv store.KV) (bool, error) { return f.judge(ctx, v, logical, kv) })
		}
	}
	if err != nil || f.more {
		f.next = now
	}
	for _, n := range f.full {
		if !slices.Contains(before, n) {
			h.log.WarnContext(ctx, "a key is due for rotation and has no room for another version; create a key under another name", "key", string(n))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next, a.tasks, a.full, a.later = min(a.next, f.next), f.tasks, f.full, f.still
	return err
}

// finding is what a look finds.
type finding struct {
	now, next    int64
	later, still map[task]int64 // put off before, and still
	tasks        []task
	full         []key.Name
	more         bool // there are more tasks than an agenda holds
}

func (f *finding) judge(ctx context.Context, v *view, logical string, kv store.KV) (more bool, err error) {
	hd, _, err := open[head](v, logical, kv)
	if err != nil { // one damaged record must not keep the others from being seen to
		v.h.log.ErrorContext(ctx, "a key cannot be read; run redoubtd check", "error", err)
		return true, nil
	}
	t, at := task{hd.Meta.Name, hd.Deletion != nil}, hd.due()
	until, put := f.later[t]
	switch {
	case at > f.now:
		f.next = min(f.next, at)
	case !t.deleted && hd.Versions >= v.h.cfg.maxVersions():
		f.full = append(f.full, hd.Meta.Name)
	case put && until > f.now:
		if f.still == nil {
			f.still = make(map[task]int64)
		}
		f.still[t] = until
		f.next = min(f.next, until)
	case len(f.tasks) == agendaMax:
		f.more = true
		return false, nil
	default:
		f.tasks = append(f.tasks, t)
	}
	return true, nil
}

// see sees to one key. It fails only with what would fail the next one, too.
func (h *HSM) see(ctx context.Context, t task) error {
	do := h.rotateIfDue
	if t.deleted {
		do = h.purgeIfDue
	}
	err := do(ctx, t.name)
	switch {
	case err == nil, errors.Is(err, errNotDue), errors.Is(err, key.ErrNotFound), errors.Is(err, key.ErrDeletedNotFound), errors.Is(err, key.ErrNoRotationPolicy):
		return nil
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrRestoring), errors.Is(err, ErrNotActivated), ctx.Err() != nil:
		h.agenda.note(h.now()) // to be found again
		return err
	}
	h.log.WarnContext(ctx, "the caretaker could not see to a key; it tries again in an hour", "key", string(t.name), "error", err)
	h.agenda.putOff(t, h.now()+tryAgain)
	return nil
}

// rotateIfDue makes a new version of a key whose policy says so.
func (h *HSM) rotateIfDue(ctx context.Context, name key.Name) (err error) {
	c, err := h.beginSystem(ctx, OpKeyRotate, entryRotateIfDue, rbac.KeyScope(name))
	if err != nil {
		return err
	}
	defer c.endSystem(&err)
	_, err = c.rotate(ctx, name, func(hd *head) error { return isDue(hd, h.now()) })
	return err
}

// purgeIfDue purges a key whose retention has ended. Purge protection is about no other time than the one before.
func (h *HSM) purgeIfDue(ctx context.Context, name key.Name) (err error) {
	c, err := h.beginSystem(ctx, OpKeyPurge, OpKeyPurge.String(), rbac.KeyScope(name))
	if err != nil {
		return err
	}
	defer c.endSystem(&err)
	c.note("reason", "the retention has ended")
	return c.purge(ctx, name, func(hd *head) error { return isDue(hd, h.now()) })
}

func isDue(hd *head, now int64) error {
	if now < hd.due() {
		return errNotDue
	}
	return nil
}

// endSystem is end for what the device does by itself: that there was nothing to do is no event.
func (c *call) endSystem(err *error) {
	if p := recover(); p != nil || !errors.Is(*err, errNotDue) {
		c.close(err, p)
	}
}
