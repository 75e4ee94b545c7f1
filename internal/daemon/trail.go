package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/audit"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
	"redoubt/internal/unlock"
)

const (
	trailName = "control"        // of the control plane's audit log, in the place of an HSM's id
	trailHead = "/control/audit" // record of the head that its file must have
	// The key that signs its checkpoints is that of a root of its own, sealed by the unlock driver like those of HSMs.
	trailRootOf = "00000000-0000-0000-0000-000000000000"
	trailRoot   = "a"
)

// openTrail opens the control plane's audit log. Its closers are put behind the store's, so that it outlives the fleet.
func (r *running) openTrail(ctx context.Context, open func(id string) (*audit.Log, error), st store.Store, roots *unlock.Roots, log *slog.Logger) (*audit.Trail, error) {
	file, err := open(trailName)
	if err != nil {
		return nil, fmt.Errorf("the control plane's audit log: %w", err)
	}
	if err := trailHeld(ctx, st, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	life := context.WithoutCancel(ctx)
	t := audit.NewTrail(audit.TrailConfig{Log: file, Clock: time.Now, Errors: log,
		Signer: onceMade(func() (audit.Signer, error) { return trailSigner(life, roots) }),
		Remember: func(h audit.Head) error {
			_, err := st.Txn(life, nil, []store.Op{store.Put(trailHead, []byte(h.String()))})
			return err
		}})
	r.closers = append(r.closers, t.Close)
	return t, nil
}

// trailHeld compares the file with the head that the store remembers. A server whose control plane has lost what was
// recorded does not start; see hsm.ErrAuditLost.
func trailHeld(ctx context.Context, st store.Store, file *audit.Log) error {
	kv, _, err := st.Get(ctx, trailHead)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	head, err := audit.ParseHead(string(kv.Val))
	if err != nil {
		return fmt.Errorf("the remembered head of the control plane's audit log: %w", err)
	}
	if held, err := file.Holds(head); err != nil || held {
		return err
	}
	return fmt.Errorf("%w: line %d with hash %s was written, and the file, which ends with %s, does not have it: it is an older copy, or was cut short. "+
		"Put the right file back; or, when it is lost, accept that with redoubtd audit accept-loss --control", errTrailLost, head.Seq, head.Hash, file.Head())
}

var errTrailLost = errors.New("the control plane's audit log has lost entries")

// acceptTrailLoss lets a server start in spite of errTrailLost; the loss becomes an entry.
func (p place) acceptTrailLoss(ctx context.Context, st store.Store, by, reason string) (err error) {
	file, err := openCut(p)(trailName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	held := trailHeld(ctx, st, file)
	if held == nil && file.Cut() == nil {
		return errors.New("the control plane's audit log has lost nothing")
	}
	if held != nil && !errors.Is(held, errTrailLost) {
		return held
	}
	kv, _, err := st.Get(ctx, trailHead)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	t := audit.NewTrail(audit.TrailConfig{Log: file, Clock: time.Now})
	e := audit.Entry{Operation: "AuditLossAccepted", Result: "Success", Details: map[string]string{"remembered": string(kv.Val), "present": file.Head().String(), "by": by, "reason": reason}}
	maps.Copy(e.Details, file.Cut().Details())
	if err := t.Record(e); err != nil {
		return err
	}
	_, err = st.Txn(ctx, nil, []store.Op{store.Put(trailHead, []byte(file.Head().String()))})
	return err
}

// onceMade remembers the signer that was made; a failure, such as an unlock driver that is away, is not remembered.
func onceMade(make func() (audit.Signer, error)) func() (audit.Signer, error) {
	var mu sync.Mutex
	var made audit.Signer
	return func() (audit.Signer, error) {
		mu.Lock()
		defer mu.Unlock()
		if made != nil {
			return made, nil
		}
		s, err := make()
		if err != nil {
			return nil, err
		}
		made = s
		return made, nil
	}
}

// trailSigner makes the signing key the first time.
func trailSigner(ctx context.Context, roots *unlock.Roots) (audit.Signer, error) {
	s, err := roots.Get(ctx, trailRootOf, trailRoot)
	if errors.Is(err, unlock.ErrNoRoot) {
		fresh := seal.NewRoot(0)
		if err := roots.Put(ctx, trailRootOf, trailRoot, fresh.Export()); err != nil {
			return nil, err
		}
		return fresh.LocalSigner(trailName), nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Wipe()
	root, err := seal.Import(s)
	if err != nil {
		return nil, err
	}
	return root.LocalSigner(trailName), nil
}

// misdirected answers requests for names that are not the server's, records them, and tells seen of them.
func misdirected(t *audit.Trail, seen azhttp.Observer, w http.ResponseWriter, r *http.Request, message string) {
	rq, err := azhttp.NewRequest(w, r)
	if err == nil {
		e := rq.AuditEntry("UnknownHost", rbac.Principal{}, http.StatusMisdirectedRequest, nil)
		e.Reason = "this server has no such host name"
		t.Note(e)
	}
	http.Error(w, message, http.StatusMisdirectedRequest)
	if seen != nil {
		seen.Answered(rq, azhttp.Outcome{Status: http.StatusMisdirectedRequest, Took: rq.Elapsed()})
	}
}
