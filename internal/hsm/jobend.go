package hsm

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/audit"
	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/key"
	"redoubt/internal/store"
)

// endAttempt bounds one attempt to commit the end of a job; retryEnd is the pause after a failed one.
const (
	endAttempt = 10 * time.Second
	retryEnd   = 250 * time.Millisecond
)

// end commits what became of the job and tidies up. It does not give up while the process lives: a job
// that cannot be ended would block the device. When the store has no room even for that, polls are told
// of the failure from memory meanwhile.
func (j *runningJob) end(out outcome, err error) {
	base := context.WithoutCancel(j.h.life)
	undo := func() {
		if j.undo != nil {
			j.undo(j.h.life) // cut short by Close: the next start goes on
		}
	}
	for {
		ctx, cancel := context.WithTimeout(base, endAttempt)
		failed := j.commitEnd(ctx, out, err)
		if failed == nil {
			j.h.jobbed[j.doc.Kind].end(err, time.Since(j.began))
			if err != nil {
				undo()
			} else if out.after != nil {
				out.after(j.h.life)
			}
			cancel()
			break
		}
		j.h.log.ErrorContext(ctx, "the end of a job could not be committed yet", "job", j.doc.ID, "error", failed)
		if errors.Is(failed, store.ErrFull) || isConflict(failed) {
			if err == nil {
				out, err = outcome{}, failed // nothing of the success was stored
			}
			undo() // may make room
			j.show(j.ended(out, err).Job)
		}
		cancel()
		select {
		case <-time.After(retryEnd):
		case <-j.h.life.Done():
			return // the next start settles it
		}
	}
	j.h.mu.Lock()
	delete(j.h.jobs, j.doc.ID)
	j.h.mu.Unlock()
	j.h.kickSequencer()
}

// commitEnd makes one attempt. It is nil as well when an earlier attempt of unknown outcome turns out to
// have been stored.
func (j *runningJob) commitEnd(ctx context.Context, out outcome, err error) error {
	for {
		d, rev, rerr := j.h.readDevice(ctx)
		if rerr != nil {
			return rerr
		}
		if d.Job != j.doc.ID {
			return nil
		}
		next := d.jobEnded()
		if err == nil && out.device != nil {
			next = out.device(d)
		}
		doc := j.ended(out, err)
		ops := append([]store.Op{j.h.putJob(j.v.root, doc, jobEnded), store.Put(j.h.deviceKey(), next.encode()),
			j.h.outboxEntry(j.h.jobEntry(doc, next.DomainID, out.audit))}, out.ops...)
		fence := store.Unchanged(j.h.deviceKey(), rev)
		_, terr := j.h.store.Txn(ctx, append([]store.Cond{fence}, out.ifs...), ops)
		var conflict *store.Conflict
		if errors.As(terr, &conflict) && len(conflict.Failed) > 0 && conflict.Failed[0] == fence {
			continue
		}
		if conflict != nil && out.lost != nil {
			return &lostError{out.lost, conflict}
		}
		if terr != nil {
			return fmt.Errorf("commit the end of the job: %w", terr)
		}
		j.show(doc.Job)
		return nil
	}
}

// lostError is the failure of a job whose conditions no longer held at its end.
type lostError struct {
	cause    error
	conflict *store.Conflict
}

func (e *lostError) Error() string   { return e.cause.Error() }
func (e *lostError) Unwrap() []error { return []error{e.cause, e.conflict} }

// ended is the document of the job with its outcome.
func (j *runningJob) ended(out outcome, err error) jobDocument {
	doc := j.doc
	doc.End = j.h.now()
	if err != nil {
		doc.Status = JobFailed
		doc.ErrorCode, doc.ErrorMessage = j.explain(err)
		return doc
	}
	doc.Status, doc.Details, doc.FolderURL = JobSucceeded, out.details, out.folderURL
	return doc
}

// jobEntry is the audit entry of a job's end; that of its start is the call's.
func (h *HSM) jobEntry(doc jobDocument, domainID string, details map[string]string) audit.Entry {
	all := map[string]string{"job": doc.ID, "folder": doc.Folder, "storage": doc.URI}
	for k, v := range details {
		all[k] = v
	}
	var err error
	if doc.Status == JobFailed {
		err = errors.New(doc.ErrorMessage)
	}
	e := h.systemEntry(strings.TrimSuffix(doc.operation().String(), "Create")+"Ended", domainID, err, all)
	e.Principal = doc.StartedBy
	e.DurationMS = float64(doc.End-doc.Start) * 1000
	return e
}

// jobFailure maps an error to the code in a job's document. The codes are those of Azure Storage and Key
// Vault where these have one (docs/job-errors.md lists them); next says what to do when the error
// does not, with the container, the permissions and the HSM's name filled in.
type jobFailure struct {
	is   error
	code string
	next func(j *runningJob) string
}

func (j *runningJob) nextSAS() string {
	if j.doc.Identity {
		container, account := containerAndAccount(j.doc.URI)
		return fmt.Sprintf("give the managed identity of the HSM the role Storage Blob Data Contributor on the container %s of the storage account %s", container, account)
	}
	return "make a new SAS token and start again: " + sasCommand(j.doc.URI, j.need())
}

func (j *runningJob) nextContainer() string {
	container, account := containerAndAccount(j.doc.URI)
	return fmt.Sprintf("check the names, or create the container: az storage container create --name %s --account-name %s", container, account)
}

func (j *runningJob) nextReach() string {
	return "check the name of the storage account and the way from this server to it, then start again"
}

func (j *runningJob) nextRoom() string { return "make room and start again" }

// jobFailures is looked through in order: the first error that matches counts.
var jobFailures = []jobFailure{
	{errInterrupted, "OperationInterrupted", nil},
	{ErrNoRestorePoint, "RestorePointRequired", nil},
	{key.ErrNotFound, "KeyNotFound", nil},
	{key.ErrExists, "Conflict", nil},
	{key.ErrDeleted, "Conflict", nil},
	{ErrLimit, "LimitReached", nil},
	{errBadArchive, "BackupNotUsable", nil},
	{backup.ErrOtherDomain, "SecurityDomainMismatch", nil},
	{backup.ErrTampered, "BackupCorrupted", nil},
	{backup.ErrMissingBlock, "BackupIncomplete", nil},
	{backup.ErrNoManifest, "BackupNotFound", nil},
	{backup.ErrWrongFolder, "BackupFolderMismatch", nil},
	{backup.ErrFolderInUse, "BlobAlreadyExists", func(*runningJob) string { return "start again; each backup gets a folder of its own" }},
	{blob.ErrExpired, "AuthenticationFailed", (*runningJob).nextSAS},
	{blob.ErrBadCredential, "AuthenticationFailed", (*runningJob).nextSAS},
	{blob.ErrDenied, "AuthorizationPermissionMismatch", (*runningJob).nextSAS},
	{blob.ErrNoContainer, "ContainerNotFound", (*runningJob).nextContainer},
	{blob.ErrNotFound, "BlobNotFound", nil},
	{blob.ErrBadTarget, "InvalidUri", nil},
	{blob.ErrFull, "StorageFull", (*runningJob).nextRoom},
	{store.ErrFull, "InsufficientStorage", (*runningJob).nextRoom},
	{blob.ErrUnreachable, "StorageUnreachable", (*runningJob).nextReach},
	{context.DeadlineExceeded, "OperationTimedOut", (*runningJob).nextReach},
	{ErrUnavailable, "ServiceUnavailable", func(*runningJob) string { return "try again later" }},
}

// explain turns an error into what the job's document says.
func (j *runningJob) explain(err error) (code, message string) {
	code, message = "InternalServerError", j.scrub(err.Error())
	for _, f := range jobFailures {
		if !errors.Is(err, f.is) {
			continue
		}
		code = f.code
		if f.next != nil {
			message += "; " + f.next(j)
		}
		break
	}
	if !strings.Contains(message, untouched) {
		message += "; " + untouched
	}
	return code, message
}

// untouched is what the message of every failed job promises.
const untouched = "nothing was changed"

// need is the permissions that the job's SAS must have.
func (j *runningJob) need() string {
	if j.doc.Kind == KindBackup || j.doc.Kind == KindPreBackup {
		return needBackup
	}
	return needRestore
}

// sasCommand is the command that makes a fit SAS.
func sasCommand(uri, permissions string) string {
	container, account := containerAndAccount(uri)
	return fmt.Sprintf("az storage container generate-sas --name %s --account-name %s --permissions %s --expiry TIME -o tsv", container, account, permissions)
}

// containerAndAccount takes the names out of a container's address, for messages.
func containerAndAccount(uri string) (container, account string) {
	container, account = "CONTAINER", "ACCOUNT"
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return container, account
	}
	if label, _, ok := strings.Cut(u.Hostname(), "."); ok && plainName(label) {
		account = label
	}
	if path := strings.Trim(u.Path, "/"); plainName(path) {
		container = path
	}
	return container, account
}

// plainName keeps what a caller wrote from appearing in a command to copy unless it is a mere name.
func plainName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// credentials lists the parts of a SAS that must not show in any message. Drivers do not print them
// either; this is the second lock on the same door.
func credentials(sas string) []string {
	out := []string{sas}
	for field := range strings.SplitSeq(strings.TrimPrefix(sas, "?"), "&") {
		if sig, ok := strings.CutPrefix(field, "sig="); ok {
			out = append(out, sig)
			if plain, err := url.QueryUnescape(sig); err == nil {
				out = append(out, plain)
			}
		}
	}
	return out
}

func (j *runningJob) scrub(text string) string {
	for _, c := range j.hide {
		if len(c) >= 8 {
			text = strings.ReplaceAll(text, c, "(credential)")
		}
	}
	return text
}
