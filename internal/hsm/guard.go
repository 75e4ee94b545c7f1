package hsm

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// call is one admitted operation. begin makes it, end closes it; between them v is the state of the
// device the operation works on.
type call struct {
	h        *HSM
	op       Operation
	who      Caller
	scope    rbac.Scope
	owner    string // object id that is admitted whatever its roles (who started a job), or empty
	repeated bool   // asks for a reply that was given already: the state is not looked at
	system   string // audit name of what the device does by itself, which needs no role; or empty
	arm      bool   // asked for by the control plane, for somebody it has permitted it (armkeys.go)
	setting  stamp  // for arm: of the setting that allows it
	started  time.Time
	v        view
	admitted bool              // the guard let it pass: before that anybody may have made it
	audited  bool              // the audit entry was committed with the change
	details  map[string]string // for the audit entry; never secrets
}

// view is the device at one revision, with the root that opens its content.
type view struct {
	h    *HSM
	dev  device
	rev  store.Rev
	root *seal.Root
	due  int64 // earliest time at which a head put for this attempt needs the caretaker; 0 for none
}

// begin is the guard: the first line of every exported operation. It admits the call if the device's
// state and the caller's roles allow the operation at scope, and otherwise audits the refusal.
func (h *HSM) begin(ctx context.Context, who Caller, op Operation, scope rbac.Scope) (*call, error) {
	return h.beginOwned(ctx, who, op, scope, "")
}

// beginOwned is begin for the status of a job: owner, who started it, may ask whatever roles a restore
// left them with.
func (h *HSM) beginOwned(ctx context.Context, who Caller, op Operation, scope rbac.Scope, owner string) (*call, error) {
	return h.pass(ctx, &call{h: h, op: op, who: who, scope: scope, owner: owner, started: h.cfg.Clock()})
}

// pass admits c, or audits that it was refused.
func (h *HSM) pass(ctx context.Context, c *call) (*call, error) {
	if c.who.Seen != nil {
		*c.who.Seen = true
	}
	err := c.who.Barred
	if err == nil {
		err = c.admit(ctx)
	}
	for n := 1; err != nil && n < attempts && c.v.rev != 0 && c.changed(ctx); n++ {
		err = c.admit(ctx) // roles may have been read while a restore replaced them
	}
	if err != nil {
		c.end(&err)
		return nil, err
	}
	c.admitted = true
	return c, nil
}

// TurnAway records that somebody who is barred (Caller.Barred) asked for op, and returns why. It does nothing else,
// also for a caller who is not barred.
func (h *HSM) TurnAway(ctx context.Context, who Caller, op Operation) (err error) {
	c, err := h.begin(ctx, who, op, "")
	if err != nil {
		return err
	}
	defer c.end(&err)
	return nil
}

// beginRepeated is begin for a request that the guard has let pass a moment ago and that comes again, for the same reply. The
// first one may have left a state that would not allow it; and restore and upload put other roles in the place of those that did.
func (h *HSM) beginRepeated(ctx context.Context, who Caller, op Operation) (*call, error) {
	c := &call{h: h, op: op, who: who, scope: rbac.ScopeRoot, repeated: true, started: h.cfg.Clock()}
	if op == OpRestore || op == OpDomainUpload {
		c.owner = who.ID
	}
	return h.pass(ctx, c)
}

// Repeated records that who asked for the very same again and is to get the same reply: nothing is done a second time. op is
// a long-running operation, all of which ask at the root scope. The reply must not be given if it fails.
func (h *HSM) Repeated(ctx context.Context, who Caller, op Operation) (err error) {
	c, err := h.beginRepeated(ctx, who, op)
	if err != nil {
		return err
	}
	defer c.end(&err)
	c.details = map[string]string{"repeated": "true"}
	return nil
}

// beginSystem begins what the device does by itself. No role is asked for, but the state must allow op. What is
// not admitted is not audited: nobody has asked.
func (h *HSM) beginSystem(ctx context.Context, op Operation, name string, scope rbac.Scope) (*call, error) {
	c := &call{h: h, op: op, system: name, scope: scope, started: h.cfg.Clock()}
	if err := c.admit(ctx); err != nil {
		return nil, err
	}
	c.admitted = true
	return c, nil
}

// name is what the audit log calls the operation.
func (c *call) name() string {
	if c.system != "" {
		return c.system
	}
	return c.op.String()
}

// admit reads the device and checks state and permission.
func (c *call) admit(ctx context.Context) error {
	d, rev, root, err := c.h.current(ctx)
	if errors.Is(err, ErrSealed) {
		return fmt.Errorf("%w: %w", c.h.notAllowed(Sealed, c.op), err)
	}
	if err != nil {
		return err
	}
	c.v = view{h: c.h, dev: d, rev: rev, root: root}
	if err := c.permit(ctx); err != nil {
		return err
	}
	return c.recordable()
}

// permit checks permission and state. A stranger learns nothing, not even whether the HSM is activated; but
// whoever has any role on it learns of the state first, because before activation no role can be assigned
// that would help.
func (c *call) permit(ctx context.Context) error {
	if c.system != "" {
		if !c.op.row().allowedIn(c.v.dev.State) {
			return c.h.notAllowed(c.v.dev.State, c.op)
		}
		return nil
	}
	if c.arm {
		return c.permitARM(ctx)
	}
	t, err := c.v.rolesTable(ctx)
	if err != nil {
		return err
	}
	row, owner := c.op.row(), c.owner != "" && c.owner == c.who.ID
	switch allowed := c.repeated || row.allowedIn(c.v.dev.State); {
	case !allowed && (owner || t.Knows(c.who.Principal)):
		return c.h.notAllowed(c.v.dev.State, c.op)
	case !owner && !t.Allow(c.who.Principal, row.Action, c.scope):
		return &rbac.Denied{Action: row.Action, Scope: c.scope, GroupsLost: c.who.GroupsLost}
	}
	return nil
}

// recordable refuses what needs an entry while the audit log takes none: changes, whose entries would pile up in the
// outbox, and everything where all entries must be durable before the answer.
func (c *call) recordable() error {
	if c.h.mute.Load() && (c.op.row().Mutates || c.h.cfg.SyncAudit) {
		return ErrAudit
	}
	return nil
}

// end closes the call: unless its entry was committed with a change, the outcome is queued for the audit
// log. Use it deferred, on the named error. What could not be recorded as it must be has failed, whatever it did; and so has
// what a fault of this program ends, which goes on to the caller of the operation.
func (c *call) end(err *error) { c.close(err, recover()) }

// close is end; p is what recover has found, which only the deferred function itself can ask.
func (c *call) close(err *error, p any) {
	if p != nil {
		c.h.log.Error("an operation was ended by a fault of this program; please report it", "operation", c.name(), "request", c.who.RequestID, "fault", p, "stack", string(debug.Stack()))
		_ = c.h.enqueue(c.entry(errFault), c.admitted)
		panic(p)
	}
	if c.audited && *err == nil {
		return
	}
	if lost := c.h.enqueue(c.entry(*err), c.admitted); lost != nil && *err == nil {
		*err = lost
	}
}

var errFault = errors.New("a fault of this program ended the operation; the server's log has it")

// change is what a mutation wants written. dev, when set, replaces the device record.
type change struct {
	ifs   []store.Cond
	ops   []store.Op
	dev   *device
	roles roleDelta // what it does to the table of roles; dev then counts one change of roles more
}

// attempts bounds how often update starts over when others commit in between.
const attempts = 32

// update commits the change that build proposes, with the audit entry, if the device is still as build
// saw it. When it is not, the call is admitted anew and build runs again: it must have no other effect.
// That goes for a build that failed, too: what it missed may have gone with a replaced generation.
func (c *call) update(ctx context.Context, build func() (change, error)) error {
	for range attempts {
		ch, err := build()
		if err == nil {
			err = c.commit(ctx, ch)
			var conflict *store.Conflict
			if !errors.As(err, &conflict) {
				return err
			}
		} else if !c.changed(ctx) {
			return err
		}
		if err := c.admit(ctx); err != nil {
			return err
		}
	}
	return ErrConflict
}

func (c *call) commit(ctx context.Context, ch change) error {
	for _, op := range ch.ops {
		if len(op.Val) > largestRecord { // no backup that has it could be restored
			return answerf(ErrLimit, "what %s would store is larger than the %d bytes that a record can have", c.op, largestRecord)
		}
	}
	ifs := append(ch.ifs, store.Unchanged(c.h.deviceKey(), c.v.rev))
	if c.arm {
		ifs = append(ifs, c.v.cond(settingName(SettingARMKeys), c.setting))
	}
	ops := append(ch.ops, c.outboxOp())
	if ch.dev != nil {
		ops = append(ops, store.Put(c.h.deviceKey(), ch.dev.encode()))
	}
	_, err := c.h.store.Txn(ctx, ifs, ops)
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return err
	}
	c.h.agenda.note(c.v.due) // also when the outcome is unknown: looking in vain does no harm
	if err != nil {
		return storeError("commit "+c.op.String(), err)
	}
	if ch.roles != nil {
		c.h.roles.changed(c.v.dev, ch.roles)
	}
	c.audited = true
	c.h.kickSequencer()
	return nil
}

// longestNote bounds what stands in one place of an audit entry, bytes: entries wait in memory, and callers choose some of
// the texts. It is that of the address of a container.
const longestNote = 2048

// note adds a detail to the call's audit entry.
func (c *call) note(k, v string) {
	if c.details == nil {
		c.details = make(map[string]string)
	}
	c.details[k] = shortened(v)
}

func shortened(s string) string {
	if len(s) <= longestNote {
		return s
	}
	return strings.Clone(s[:longestNote]) // which does not hold the rest
}
