package hsm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"redoubt/internal/blob"
	"redoubt/internal/key"
	"redoubt/internal/rbac"
	"redoubt/internal/seal"
	"redoubt/internal/store"
)

// Backup and restore run as jobs. The device record names the one job that runs, so there is never a
// second; the job's document, sealed to this HSM, says what became of it. Both change in one transaction
// with the audit entry, and for a restore with the content as well. A job that a crash ended is settled as
// failed at the next start; until its last transaction it has changed nothing that anybody sees.

// Kinds of job.
const (
	KindBackup           = "backup"
	KindRestore          = "restore"
	KindSelectiveRestore = "selective restore"
	KindPreBackup        = "check before a backup"
	KindPreRestore       = "check before a restore"
)

// Words of Job.Status, as on the wire.
const (
	JobInProgress = "InProgress"
	JobSucceeded  = "Succeeded"
	JobFailed     = "Failed"
)

// Job is a backup or restore as clients see it.
type Job struct {
	ID           string `json:"id"`
	Kind         string `json:"kind"`
	Status       string `json:"status"`
	Details      string `json:"details,omitempty"`
	Start        int64  `json:"start"`         // Unix seconds
	End          int64  `json:"end,omitempty"` // 0 while it runs
	ErrorCode    string `json:"error_code,omitempty"`
	ErrorMessage string `json:"error_message,omitempty"`
	FolderURL    string `json:"folder_url,omitempty"` // backup that succeeded: container URL, "/", folder
}

// Target is the storage a job works with: a container's address and a shared access signature (a function,
// so that it is not printed with the struct), or the identity attached to the HSM.
type Target struct {
	URI         string
	SAS         func() string
	UseIdentity bool
}

// jobTimeout ends a job that hangs in spite of the storage driver's own time-outs.
const jobTimeout = 6 * time.Hour

// errInterrupted is the failure of a job that the end of the process cut short.
var errInterrupted = errors.New("interrupted by a stop of the server; nothing was changed; start it again")

// jobDocument is what is kept of a job.
type jobDocument struct {
	Job
	StartedBy string   `json:"started_by"` // object id
	URI       string   `json:"uri"`        // of the container, without credential
	Identity  bool     `json:"identity,omitempty"`
	Folder    string   `json:"folder"`
	Key       key.Name `json:"key,omitempty"` // selective restore
}

// runningJob is a job of this process.
type runningJob struct {
	h       *HSM
	doc     jobDocument           // as committed at the start
	storage blob.Container        // nil in a check for which none was named
	openErr error                 // why storage could not be opened; the job reports it
	hide    []string              // credentials, cut from every message
	v       view                  // the device since the start of the job
	undo    func(context.Context) // removes what the work staged; may be called again
	done    chan struct{}         // closed when nothing of the job runs any more
	began   time.Time

	mu  sync.Mutex
	now Job // guarded by mu: what a poll shows
}

// outcome is what a job that succeeded wants committed with its end.
type outcome struct {
	details   string
	folderURL string
	device    func(device) device // nil: only the job ends
	ifs       []store.Cond
	ops       []store.Op
	lost      error // the failure when ifs did not hold
	audit     map[string]string
	after     func(context.Context) // tidies up behind the commit
}

func (h *HSM) jobRef(id string, version uint64) seal.Ref {
	return seal.Ref{Kind: seal.KindJob, Name: id, Version: version, Local: h.cfg.ID}
}

// Versions of a job document: written at the start, and over it at the end.
const (
	jobStarted = 1
	jobEnded   = 2
)

func (h *HSM) putJob(r *seal.Root, d jobDocument, version uint64) store.Op {
	b, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("hsm: job document does not encode: %v", err)) // a plain struct
	}
	return store.Put(h.jobKey(d.ID), r.Seal(h.jobRef(d.ID, version), b))
}

// loadJob reads a job's document, or ErrJobNotFound.
func (h *HSM) loadJob(ctx context.Context, r *seal.Root, id string) (jobDocument, error) {
	notFound := fmt.Errorf("%w: %.64q; the answer to starting a job carries its id", ErrJobNotFound, id)
	if !isID(id) {
		return jobDocument{}, notFound
	}
	kv, _, err := h.store.Get(ctx, h.jobKey(id))
	if isAbsent(err) {
		return jobDocument{}, notFound
	}
	if err != nil {
		return jobDocument{}, storeError("read the job", err)
	}
	var d jobDocument
	hd, err := seal.Header(kv.Val)
	if err == nil {
		var plain []byte
		if plain, err = r.Open(h.jobRef(id, hd.Version), kv.Val); err == nil {
			err = json.Unmarshal(plain, &d)
		}
	}
	if err != nil {
		return jobDocument{}, fmt.Errorf("%w: job %s: %v", ErrCorrupt, id, err)
	}
	return d, nil
}

// isID tells whether s is an id as newID draws them: in a store key nothing else may stand.
func isID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// BackupStatus reports on a backup, or on a check before one.
func (h *HSM) BackupStatus(ctx context.Context, who Caller, id string) (Job, error) {
	return h.jobStatus(ctx, who, OpBackupStatus, id, KindBackup, KindPreBackup)
}

// RestoreStatus reports on a restore, full or selective, or on a check before a full one.
func (h *HSM) RestoreStatus(ctx context.Context, who Caller, id string) (Job, error) {
	return h.jobStatus(ctx, who, OpRestoreStatus, id, KindRestore, KindSelectiveRestore, KindPreRestore)
}

func (h *HSM) jobStatus(ctx context.Context, who Caller, op Operation, id string, kinds ...string) (j Job, err error) {
	// The owner is looked up before the guard, which learns from it whom to admit; what else the look-up
	// said counts only afterwards.
	var doc jobDocument
	var lookErr error
	if _, _, root, err := h.current(ctx); err == nil {
		doc, lookErr = h.loadJob(ctx, root, id)
	}
	c, err := h.beginOwned(ctx, who, op, rbac.ScopeRoot, doc.StartedBy)
	if err != nil {
		return Job{}, err
	}
	defer c.end(&err)
	if lookErr != nil {
		return Job{}, lookErr
	}
	for _, kind := range kinds {
		if doc.Kind == kind {
			return h.liveJob(doc.Job), nil
		}
	}
	return Job{}, fmt.Errorf("%w: %s is a %s", ErrJobNotFound, id, doc.Kind)
}

// liveJob is kept as it stands now: of a job that runs in this process, memory knows more.
func (h *HSM) liveJob(kept Job) Job {
	h.mu.Lock()
	j := h.jobs[kept.ID]
	h.mu.Unlock()
	if j == nil || kept.Status != JobInProgress {
		return kept
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.now
}

// prepare makes a job and opens its storage. What is wrong with the address is refused here; what is wrong
// with the credential becomes the job's error, as it does when only the storage service notices.
func (c *call) prepare(kind string, t Target, need string) (*runningJob, error) {
	r := ContainerRequest{URI: t.URI, Need: need}
	var hide []string
	switch {
	case t.UseIdentity:
		if c.h.cfg.Identities == nil {
			return nil, fmt.Errorf("%w: this server has no managed identities; give a SAS token (%s)", ErrBadTarget, sasCommand(t.URI, need))
		}
		r.Identities = c.h.identities()
		if len(r.Identities) == 0 {
			return nil, fmt.Errorf("%w: no managed identity is attached to the HSM; attach one (az keyvault update-hsm --hsm-name %s --mi-user-assigned IDENTITY), or use a SAS token", ErrBadTarget, c.h.cfg.Name)
		}
	case t.SAS == nil:
		return nil, fmt.Errorf("%w: give a SAS token (%s) or ask for the managed identity", ErrBadTarget, sasCommand(t.URI, need))
	default:
		r.SAS = t.SAS
		hide = credentials(t.SAS())
	}
	j := &runningJob{h: c.h, hide: hide, done: make(chan struct{})}
	j.storage, j.openErr = c.h.cfg.OpenContainer(c.h.life, r)
	if errors.Is(j.openErr, blob.ErrBadTarget) {
		return nil, fmt.Errorf("%w: %s", ErrBadTarget, j.scrub(strings.TrimPrefix(j.openErr.Error(), blob.ErrBadTarget.Error()+": ")))
	}
	j.doc = jobDocument{Job: Job{ID: newID(), Kind: kind, Status: JobInProgress, Start: c.h.now()}, StartedBy: c.who.ID, URI: t.URI, Identity: t.UseIdentity}
	if j.storage != nil {
		j.doc.URI = j.storage.URL()
	}
	return j, nil
}

func (h *HSM) identities() []string {
	if h.cfg.Identities == nil {
		return nil
	}
	return h.cfg.Identities()
}

// start commits the job and runs work for it. check, which may be nil, sees the device before each attempt
// to commit; shape makes the device that has the job.
func (c *call) start(ctx context.Context, j *runningJob, check func() error, shape func(device) device, work func(context.Context, *runningJob) (outcome, error)) (Job, error) {
	ctx = context.WithoutCancel(ctx) // a client that goes away now must not leave it open whether the job runs
	c.note("job", j.doc.ID)
	c.note("storage", j.doc.URI)
	c.note("folder", j.doc.Folder)
	err := c.update(ctx, func() (change, error) {
		if busy := c.v.dev.Job; busy != "" {
			return change{}, c.busy(ctx, busy)
		}
		if check != nil {
			if err := check(); err != nil {
				return change{}, err
			}
		}
		d := shape(c.v.dev)
		d.Job = j.doc.ID
		j.v = c.v
		j.v.dev = d
		return change{ops: []store.Op{c.h.putJob(c.v.root, j.doc, jobStarted)}, dev: &d}, nil
	})
	switch {
	case errors.Is(err, store.ErrUnknown):
		// The job may have been committed. Whoever asked was told that it is unknown; then it must not run,
		// nor block others.
		c.h.launch(j, func(context.Context, *runningJob) (outcome, error) { return outcome{}, errInterrupted })
		return Job{}, err
	case err != nil:
		return Job{}, err
	}
	c.h.launch(j, work)
	return j.doc.Job, nil
}

func (c *call) busy(ctx context.Context, id string) error {
	kind := "job"
	if d, err := c.h.loadJob(ctx, c.v.root, id); err == nil {
		kind = d.Kind
	}
	return fmt.Errorf("%w: %s %s; wait for it to end", ErrBusy, kind, id)
}

// launch runs the job in the background. When the device is being closed it does not: the next start
// settles the job.
func (h *HSM) launch(j *runningJob, work func(context.Context, *runningJob) (outcome, error)) {
	j.now = j.doc.Job
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		close(j.done)
		return
	}
	h.jobs[j.doc.ID] = j
	h.jobbed[j.doc.Kind].started.Add(1)
	j.began = time.Now()
	h.work.Go(func() {
		defer close(j.done)
		ctx, cancel := context.WithTimeout(h.life, jobTimeout)
		defer cancel()
		out, err := j.run(ctx, work)
		j.end(out, err)
	})
}

// run does the work of a job and says why it ended if the reason is the clock or the server.
func (j *runningJob) run(ctx context.Context, work func(context.Context, *runningJob) (outcome, error)) (outcome, error) {
	if j.openErr != nil {
		return outcome{}, j.openErr
	}
	_, rev, err := j.h.readDevice(ctx)
	if err != nil {
		return outcome{}, err
	}
	j.v.rev = rev
	out, err := work(ctx, j)
	if err != nil && j.h.life.Err() != nil {
		return outcome{}, errInterrupted
	}
	return out, err
}

// progress says how far the job is; nothing is written.
func (j *runningJob) progress(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now.Details = fmt.Sprintf(format, args...)
}

func (j *runningJob) show(shown Job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now = shown
}
