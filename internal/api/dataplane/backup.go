package dataplane

import (
	"net/http"

	"redoubt/internal/api/azhttp"
	"redoubt/internal/hsm"
)

var backupRoutes = []route{
	{"POST", "backup", startBackup},
	{"GET", "backup/{job}/pending", backupStatus},
	{"PUT", "restore", startRestore},
	{"GET", "restore/{job}/pending", restoreStatus},
	{"PUT", "keys/{name}/restore", startSelectiveRestore},
	{"POST", "prebackup", startPreBackup},
	{"PUT", "prerestore", startPreRestore},
}

// sasTokenParameter names the storage of a backup or restore.
type sasTokenParameter struct {
	StorageResourceURI string `json:"storageResourceUri"`
	Token              string `json:"token"`
	UseManagedIdentity bool   `json:"useManagedIdentity"`
}

func (p sasTokenParameter) target() hsm.Target {
	t := hsm.Target{URI: p.StorageResourceURI, UseIdentity: p.UseManagedIdentity}
	if token := p.Token; token != "" {
		t.SAS = func() string { return token }
	}
	return t
}

// job is the status document of a restore. Absent values are explicit nulls, and members stand in
// alphabetical order, as in the service.
type job struct {
	EndTime   *int64    `json:"endTime"`
	Error     *jobError `json:"error"`
	JobID     string    `json:"jobId"`
	StartTime int64     `json:"startTime"`
	Status    string    `json:"status"`
	Details   *string   `json:"statusDetails"`
}

// backupJob is that of a backup, or of a check before one; Folder is null until a backup has succeeded.
type backupJob struct {
	Folder *string `json:"azureStorageBlobContainerUri"`
	job
}

type jobError struct {
	Code    string  `json:"code"`
	Inner   *string `json:"innererror"`
	Message string  `json:"message"`
}

func wireJob(j hsm.Job) any {
	out := job{JobID: j.ID, StartTime: j.Start, Status: j.Status}
	if j.End != 0 {
		out.EndTime = &j.End
	}
	if j.Details != "" {
		out.Details = &j.Details
	}
	if j.ErrorCode != "" {
		out.Error = &jobError{Code: j.ErrorCode, Message: j.ErrorMessage}
	}
	if j.Kind != hsm.KindBackup && j.Kind != hsm.KindPreBackup {
		return out
	}
	b := backupJob{job: out}
	if j.FolderURL != "" {
		b.Folder = &j.FolderURL
	}
	return b
}

// start decodes the body and begins a job; kind is the first segment of its polling address.
func (q *request) start(kind string, body any, begin func() (hsm.Job, error)) (azhttp.Reply, error) {
	raw, err := q.ReadBody()
	if err != nil {
		return azhttp.Reply{}, err
	}
	if err := decodeBody(raw, body); err != nil {
		return azhttp.Reply{}, err
	}
	return q.accept(kind, raw, begin)
}

// startCheck is start for a job whose body is optional, as is every member of it.
func (q *request) startCheck(kind string, body any, begin func() (hsm.Job, error)) (azhttp.Reply, error) {
	raw, err := q.ReadBody()
	if err == nil && len(raw) > 0 {
		err = decodeBody(raw, body)
	}
	if err != nil {
		return azhttp.Reply{}, err
	}
	return q.accept(kind, raw, begin)
}

func (q *request) accept(kind string, raw []byte, begin func() (hsm.Job, error)) (azhttp.Reply, error) {
	return q.once(raw, func() (azhttp.Reply, error) {
		j, err := begin()
		if err != nil {
			return azhttp.Reply{}, err
		}
		return azhttp.Reply{Status: http.StatusAccepted, Body: wireJob(j), Header: q.pending("/" + kind + "/" + j.ID + "/pending")}, nil
	})
}

func statusOf(j hsm.Job, err error) (azhttp.Reply, error) {
	if err != nil {
		return azhttp.Reply{}, err
	}
	return azhttp.Reply{Body: wireJob(j), Header: http.Header{"Retry-After": {"1"}}}, nil
}

func startBackup(q *request) (azhttp.Reply, error) {
	var body sasTokenParameter
	return q.start("backup", &body, func() (hsm.Job, error) { return q.hsm.StartBackup(q.Context(), q.who, body.target()) })
}

func backupStatus(q *request) (azhttp.Reply, error) {
	return statusOf(q.hsm.BackupStatus(q.Context(), q.who, q.Param("job")))
}

func startRestore(q *request) (azhttp.Reply, error) {
	var body struct {
		SAS    sasTokenParameter `json:"sasTokenParameters"`
		Folder string            `json:"folderToRestore"`
	}
	return q.start("restore", &body, func() (hsm.Job, error) { return q.hsm.StartRestore(q.Context(), q.who, body.SAS.target(), body.Folder) })
}

func restoreStatus(q *request) (azhttp.Reply, error) {
	return statusOf(q.hsm.RestoreStatus(q.Context(), q.who, q.Param("job")))
}

func startSelectiveRestore(q *request) (azhttp.Reply, error) {
	n, err := q.name()
	if err != nil {
		return azhttp.Reply{}, err
	}
	var body struct {
		SAS    sasTokenParameter `json:"sasTokenParameters"`
		Folder string            `json:"folder"`
	}
	return q.start("restore", &body, func() (hsm.Job, error) {
		return q.hsm.StartSelectiveRestore(q.Context(), q.who, n, body.SAS.target(), body.Folder)
	})
}

func startPreBackup(q *request) (azhttp.Reply, error) {
	var body sasTokenParameter
	return q.startCheck("backup", &body, func() (hsm.Job, error) { return q.hsm.StartPreBackup(q.Context(), q.who, body.target()) })
}

func startPreRestore(q *request) (azhttp.Reply, error) {
	var body struct {
		SAS    sasTokenParameter `json:"sasTokenParameters"`
		Folder string            `json:"folderToRestore"`
	}
	return q.startCheck("restore", &body, func() (hsm.Job, error) {
		return q.hsm.StartPreRestore(q.Context(), q.who, body.SAS.target(), body.Folder)
	})
}
