package hsm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"redoubt/internal/audit"
	"redoubt/internal/store"
)

// The store remembers a head of the audit log, which is durable in the file by then: with every change, with every
// checkpoint and when the device closes. A file without that head, put there while the device was closed, is an older
// copy or was cut short. Then the device does not open: whoever could exchange the file is not to be rid of what it said
// by that. An operator puts the right file back, or accepts the loss, which becomes an entry (AcceptAuditLoss).

// Entries of what happens to the log itself.
const (
	opAuditLossAccepted = "AuditLossAccepted"
	detailRemembered    = "remembered"
	detailPresent       = "present"
)

// auditHeld compares the file with the remembered head, which it returns.
func (h *HSM) auditHeld(ctx context.Context) (audit.Head, error) {
	kv, _, err := h.store.Get(ctx, h.auditHeadKey())
	if errors.Is(err, store.ErrNotFound) {
		return audit.Head{}, nil // before its first change, or written by an older server
	}
	if err != nil {
		return audit.Head{}, storeError("read the head of the audit log", err)
	}
	head, err := audit.ParseHead(string(kv.Val))
	if err != nil {
		return audit.Head{}, fmt.Errorf("%w: the head of the audit log: %v", ErrCorrupt, err)
	}
	held, err := h.cfg.Audit.Holds(head)
	if err == nil && !held {
		err = fmt.Errorf("%w: line %d with hash %s was written, and the file, which ends with %s, does not have it: it is an older copy, or was cut short. "+
			"Put the right file back; or, when it is lost, accept that with redoubtd audit accept-loss --hsm %s", ErrAuditLost, head.Seq, head.Hash, h.cfg.Audit.Head(), h.cfg.Name)
	}
	return head, err
}

// AcceptAuditLoss lets a device open again that does not because of ErrAuditLost, or because its file was damaged and has been
// cut (audit.OpenCut). It says so in the log: who, why, both heads, and what was cut off. The device must not be open. Without
// a loss it changes nothing and is ErrBadRequest.
func AcceptAuditLoss(ctx context.Context, cfg Config, by, reason string) error {
	h := &HSM{cfg: cfg, store: cfg.Store}
	lost, err := h.auditHeld(ctx)
	cut := cfg.Audit.Cut()
	if err == nil && cut == nil {
		return fmt.Errorf("%w: the audit log of %s has lost nothing", ErrBadRequest, cfg.Name)
	}
	if err != nil && !errors.Is(err, ErrAuditLost) {
		return err
	}
	now := cfg.Audit.Head()
	details := map[string]string{detailRemembered: lost.String(), detailPresent: now.String(), "by": by, "reason": reason}
	maps.Copy(details, cut.Details())
	e := h.systemEntry(opAuditLossAccepted, "", nil, details)
	if err := cfg.Audit.Append([]audit.Entry{e}, true); err != nil {
		return fmt.Errorf("record the loss: %w", err)
	}
	if _, err := h.store.Txn(ctx, nil, []store.Op{store.Put(h.auditHeadKey(), []byte(cfg.Audit.Head().String()))}); err != nil {
		return storeError("accept the loss", err)
	}
	return nil
}

// keepHead commits ops and with them the head of the file, all of which is durable.
func (s *sequencer) keepHead(ctx context.Context, ops []store.Op) error {
	head := s.cfg.Audit.Head()
	if _, err := s.store.Txn(ctx, nil, append(ops, store.Put(s.auditHeadKey(), []byte(head.String())))); err != nil {
		return err
	}
	s.kept = head
	return nil
}

// remember makes the file durable and keeps its head, if it is a new one.
func (s *sequencer) remember(ctx context.Context) {
	if head := s.cfg.Audit.Head(); head == s.kept || head.Seq == 0 || s.mute.Load() {
		return
	}
	err := s.cfg.Audit.Sync() // a sealed device has no checkpoint, which would have done it
	if err == nil {
		err = s.keepHead(ctx, nil)
	}
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "the head of the audit log could not be remembered; the next change does it", "error", err)
	}
}

// second is done every second.
func (s *sequencer) second() {
	s.stuck = max(0, s.stuck-1)
	s.maybeRotate()
	if s.cfg.SyncAudit { // all of the file is durable
		s.remember(s.life)
	}
}

// maybeRotate goes on in a new file when the present one is full, and lets retention remove old ones. It needs the root,
// which signs: a sealed device goes on in the old file.
func (s *sequencer) maybeRotate() {
	l := s.root.Load()
	if l == nil || s.stuck > 0 || s.mute.Load() || !s.cfg.Audit.Due() {
		return
	}
	if err := s.cfg.Audit.Rotate(l.root.LocalSigner(s.cfg.ID)); err != nil {
		s.stuck = 60 // each try writes a checkpoint
		s.log.ErrorContext(s.life, "the audit log could not be rotated; it goes on in the old file", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), closing) // also while the device closes
	defer cancel()
	err := s.keepHead(ctx, nil) // one in the new file: full ones may go, by retention or by an operator's hand
	if err == nil {
		err = s.retain()
	}
	if err != nil {
		s.log.ErrorContext(s.life, "old audit files could not be removed; the next rotation tries again", "error", err)
	}
}

// retain removes the files beyond those that are kept, once the log says so.
func (s *sequencer) retain() error {
	r, ok, err := s.cfg.Audit.Excess()
	if err != nil || !ok {
		return err
	}
	if err := s.cfg.Audit.Append([]audit.Entry{s.systemEntry(audit.FilesRemoved, "", nil, r.Details())}, true); err != nil {
		return err
	}
	if err := s.cfg.Audit.Remove(r); err != nil {
		return err
	}
	s.log.InfoContext(s.life, "old audit files were removed", "through", strconv.FormatUint(r.Through.Seq, 10))
	return nil
}
