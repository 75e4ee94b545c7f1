package hsm

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/store"
)

// settle puts right what the end of the process before this one left half done: a job that ran is failed,
// and what nothing refers to any more is removed. It runs once, before anything is admitted.
func (h *HSM) settle(ctx context.Context) error {
	h.ceremony.Lock()
	defer h.ceremony.Unlock()
	if h.settled.Load() {
		return nil
	}
	d, err := h.settleJob(ctx)
	if err != nil {
		return err
	}
	if err := h.tidy(ctx, d); err != nil { // a device opens with leftovers; the next backup tries again
		h.log.ErrorContext(ctx, "versions of purged keys are left to be swept", "error", err)
	}
	h.settled.Store(true)
	return nil
}

// settleJob ends a job that the process before did not end, and returns the device after that.
func (h *HSM) settleJob(ctx context.Context) (device, error) {
	for {
		d, rev, err := h.readDevice(ctx)
		if err != nil || d.Job == "" {
			return d, err
		}
		next := d.jobEnded()
		ops, err := h.interruptedJob(ctx, d)
		if err != nil {
			return device{}, err
		}
		ops = append(ops, store.Put(h.deviceKey(), next.encode()))
		_, err = h.store.Txn(ctx, []store.Cond{store.Unchanged(h.deviceKey(), rev)}, ops)
		if err == nil || isConflict(err) {
			continue // read again: by now the device has no job
		}
		return device{}, storeError("settle an interrupted job", err)
	}
}

// interruptedJob is the end of the device's job with its audit entry. A document that cannot be read must
// not keep the device from working: then only the entry is written.
func (h *HSM) interruptedJob(ctx context.Context, d device) ([]store.Op, error) {
	root, err := h.rootFor(ctx, d.Root)
	if err != nil {
		return nil, err
	}
	doc, err := h.loadJob(ctx, root, d.Job)
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrJobNotFound) {
		h.log.ErrorContext(ctx, "the document of an interrupted job cannot be read", "job", d.Job, "error", err)
		entry := h.systemEntry("JobEnded", d.DomainID, fmt.Errorf("%w; its document cannot be read", errInterrupted), map[string]string{"job": d.Job})
		return []store.Op{h.outboxEntry(entry)}, nil
	}
	if err != nil {
		return nil, err
	}
	doc.Status, doc.End = JobFailed, h.now()
	doc.ErrorCode, doc.ErrorMessage = "OperationInterrupted", errInterrupted.Error()
	entry := h.jobEntry(doc, d.DomainID, nil)
	return []store.Op{h.putJob(root, doc, jobEnded), h.outboxEntry(entry)}, nil
}

// startedBy are the operations that start jobs, by kind of job.
var startedBy = map[string]Operation{
	KindBackup: OpBackup, KindRestore: OpRestore, KindSelectiveRestore: OpSelectiveRestore, KindPreBackup: OpPreBackup, KindPreRestore: OpPreRestore,
}

// operation is the one that started the job.
func (d jobDocument) operation() Operation { return startedBy[d.Kind] }
