package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Storage names the container of a backup or restore, and with what right the HSM may use it: exactly one of
// SAS and ManagedIdentity.
type Storage struct {
	URI             string        // https://ACCOUNT.blob.SUFFIX/CONTAINER
	SAS             func() string // the shared access signature, behind a function so that it cannot be printed
	ManagedIdentity bool          // the identity attached to the HSM
}

type storageBody struct {
	URI             string `json:"storageResourceUri"`
	Token           string `json:"token,omitempty"`
	ManagedIdentity bool   `json:"useManagedIdentity,omitempty"`
}

func (s Storage) body() storageBody {
	b := storageBody{URI: s.URI, ManagedIdentity: s.ManagedIdentity}
	if s.SAS != nil {
		b.Token = s.SAS()
	}
	return b
}

// Job is the status document of a backup or restore.
type Job struct {
	ID        string    `json:"jobId"`
	Status    string    `json:"status"` // InProgress, Succeeded, Failed
	Details   string    `json:"statusDetails"`
	Start     int64     `json:"startTime"` // Unix seconds
	End       int64     `json:"endTime"`   // Unix seconds, 0 while it runs
	FolderURL string    `json:"azureStorageBlobContainerUri"`
	Error     *JobError `json:"error"`

	pending string // path of this document
	after   time.Duration
	hsm     *HSM
}

// JobError is why a job failed.
type JobError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Done tells whether the job has ended, in either way.
func (j Job) Done() bool { return j.Status == "Succeeded" || j.Status == "Failed" }

// Err is nil unless the job has failed.
func (j Job) Err() error {
	if j.Status != "Failed" {
		return nil
	}
	e := &Error{Status: http.StatusOK, Code: "Failed", Message: j.Details}
	if j.Error != nil {
		e.Code, e.Message = j.Error.Code, j.Error.Message
	}
	return e
}

// StartBackup starts a full backup.
func (h *HSM) StartBackup(ctx context.Context, s Storage) (Job, error) {
	return h.start(ctx, call{method: http.MethodPost, path: "/backup", body: s.body()}, "backup")
}

// StartRestore starts a full restore of a folder of the container.
func (h *HSM) StartRestore(ctx context.Context, s Storage, folder string) (Job, error) {
	return h.start(ctx, call{method: http.MethodPut, path: "/restore", body: struct {
		Storage storageBody `json:"sasTokenParameters"`
		Folder  string      `json:"folderToRestore"`
	}{s.body(), folder}}, "restore")
}

// StartSelectiveRestore starts a restore of one key, with all its versions.
func (h *HSM) StartSelectiveRestore(ctx context.Context, key string, s Storage, folder string) (Job, error) {
	return h.start(ctx, call{method: http.MethodPut, path: "/keys/" + url.PathEscape(key) + "/restore", body: struct {
		Storage storageBody `json:"sasTokenParameters"`
		Folder  string      `json:"folder"`
	}{s.body(), folder}}, "restore")
}

func (h *HSM) start(ctx context.Context, c call, kind string) (Job, error) {
	j := Job{hsm: h}
	c.version, c.out = version, &j
	r, err := h.ep.do(ctx, c)
	if err != nil {
		return Job{}, err
	}
	j.after = h.ep.pollDelay(r.header)
	j.pending = r.header.Get("Azure-AsyncOperation")
	if j.pending == "" {
		if j.ID == "" {
			return Job{}, fmt.Errorf("the HSM at %s accepted the %s without naming its job", h.URL(), kind)
		}
		j.pending = "/" + kind + "/" + url.PathEscape(j.ID) + "/pending"
	}
	return j, nil
}

// BackupStatus returns the status document of a backup that another call started.
func (h *HSM) BackupStatus(ctx context.Context, id string) (Job, error) {
	return h.look(ctx, "backup", id)
}

// RestoreStatus returns the status document of a restore, full or selective.
func (h *HSM) RestoreStatus(ctx context.Context, id string) (Job, error) {
	return h.look(ctx, "restore", id)
}

func (h *HSM) look(ctx context.Context, kind, id string) (Job, error) {
	return Job{hsm: h, pending: "/" + kind + "/" + url.PathEscape(id) + "/pending"}.Look(ctx)
}

// Look fetches the document anew.
func (j Job) Look(ctx context.Context) (Job, error) {
	next := Job{hsm: j.hsm, pending: j.pending}
	r, err := j.hsm.ep.do(ctx, call{method: http.MethodGet, path: j.pending, version: version, out: &next})
	if err != nil {
		return j, err
	}
	next.after = j.hsm.ep.pollDelay(r.header)
	return next, nil
}

// Wait looks at the job until it has ended, and returns its last document; the error is the job's. progress,
// which may be nil, sees every look.
func (j Job) Wait(ctx context.Context, progress func(Job)) (Job, error) {
	for {
		if progress != nil {
			progress(j)
		}
		if j.Done() {
			return j, j.Err()
		}
		if err := pause(ctx, j.after); err != nil {
			return j, err
		}
		next, err := j.Look(ctx)
		if err != nil {
			return j, err
		}
		j = next
	}
}
