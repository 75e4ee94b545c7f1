package dataplane_test

import (
	"net/http"
	"path"
	"strings"
	"testing"

	"redoubt/internal/hsm"
	"redoubt/internal/hsmtest"
	"redoubt/internal/rbac"
)

// repeat sends a request with an x-ms-client-request-id.
func (c client) repeat(id, target string, body any) hsmtest.Answer {
	c.T.Helper()
	method, at, _ := strings.Cut(target, " ")
	h := http.Header{}
	if id != "" {
		h.Set("x-ms-client-request-id", id)
	}
	return c.Do(hsmtest.Ask{Method: method, Host: host, Path: at + "?" + version, Body: body, Token: c.Token(c.who, hsmtest.Devices), Header: h})
}

// TestRepeatedDownload: the very same request again gets the same file, and any other a new one. The file
// of an older request is never served again: its root is gone.
func TestRepeatedDownload(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	s.Provisioned(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	body := hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)
	download := func(id string, body []byte) string {
		a := c.repeat(id, "POST /securitydomain/download", body).Want(202)
		lro(t, a, "https://ContosoMHSM.managedhsm.azure.net/securitydomain/download/pending")
		var v struct{ Value string }
		a.JSON(&v)
		return v.Value
	}
	first := download("one", body)
	if download("one", body) != first {
		t.Error("a repetition got another file")
	}
	second := download("two", body)
	if second == first {
		t.Error("a new request got the old file")
	}
	third := download("one", body)
	if third == first || third == second {
		t.Error("an older request's file was served again")
	}
	if download("one", hsmtest.DownloadRequest(t, hsmtest.Holders(3), 3)) == third {
		t.Error("another body got the same file")
	}
	last := download("", body)
	if download("", body) == last {
		t.Error("a request without an id was taken for a repetition")
	}
	// Only the newest file counts; polling for an older one does not activate.
	c.do("GET /securitydomain/download/pending?domain="+hsm.DomainIDOf([]byte(first)), nil)
	if st, err := s.HSM(hsmName).Status(t.Context()); err != nil || st.State != hsm.Provisioned {
		t.Errorf("a poll for an abandoned file: %+v, %v", st, err)
	}
}

// TestRepetitionsAreAudited: the log says of every reply that it was given again, however often.
func TestRepetitionsAreAudited(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	body := hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)
	const times = 100
	for range 1 + times {
		c.repeat("one", "POST /securitydomain/download", body).Want(202)
	}
	firsts, again := 0, 0
	_, entries := audited(t, s, d.ID())
	for _, e := range entries {
		switch {
		case e.Operation != hsm.OpDomainDownload.String() || e.Principal != hsmtest.Admin || e.Status != 202:
		case e.Details["repeated"] == "":
			firsts++
		case e.Result == "Success" && e.DomainID != "" && e.RequestURI != "":
			again++
		default:
			t.Errorf("%+v", e)
		}
	}
	if firsts != 1 || again != times {
		t.Errorf("%d entries of a first request and %d of repetitions", firsts, again)
	}
}

// TestRepeatAfterRemoval: whoever has lost their role gets no reply again.
func TestRepeatAfterRemoval(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	admin, name := hsmtest.Caller(hsmtest.Admin), hsmtest.NewGUID()
	if _, err := d.PutAssignment(t.Context(), admin, rbac.ScopeRoot, name, hsmtest.Officer, rbac.Administrator); err != nil {
		t.Fatal(err)
	}
	c := as(s.Serve(), hsmtest.Officer)
	body := hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)
	c.repeat("id", "POST /securitydomain/download", body).Want(202)
	if _, err := d.DeleteAssignment(t.Context(), admin, rbac.ScopeRoot, name); err != nil {
		t.Fatal(err)
	}
	c.repeat("id", "POST /securitydomain/download", body).WantError(403, "AccessDenied", "")
}

// TestRepeatIsOnesOwn: another caller's request with the same id and body is another request.
func TestRepeatIsOnesOwn(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	if _, err := d.PutAssignment(t.Context(), hsmtest.Caller(hsmtest.Admin), rbac.ScopeRoot, hsmtest.NewGUID(), hsmtest.Officer, rbac.Administrator); err != nil {
		t.Fatal(err)
	}
	w := s.Serve()
	body := hsmtest.DownloadRequest(t, hsmtest.Holders(3), 2)
	a := as(w, hsmtest.Admin).repeat("id", "POST /securitydomain/download", body).Want(202)
	if b := as(w, hsmtest.Officer).repeat("id", "POST /securitydomain/download", body).Want(202); string(a.Body) == string(b.Body) {
		t.Error("two callers got the same file")
	}
	as(w, hsmtest.Stranger).repeat("id", "POST /securitydomain/download", body).WantError(403, "AccessDenied", "")
}

// TestRepeatedJob: a repetition of the request that began a backup names the same job, also when that has
// ended; a new request begins another.
func TestRepeatedJob(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Admin)
	start := func(id string) string {
		j, _ := c.repeat(id, "POST /backup", sas).Want(202).Map()["jobId"].(string)
		s.Wait(d.BackupStatus, j)
		return j
	}
	first := start("one")
	if start("one") != first {
		t.Error("a repetition began another job")
	}
	if start("two") == first {
		t.Error("a new request got the old job")
	}
	if start("one") == first {
		t.Error("an older request's job was named again")
	}
}

// TestRepeatedUpload: although the HSM is active by then, the repetition of the upload is told of its success.
func TestRepeatedUpload(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	file := s.Activate(s.Provisioned("source"))
	d := s.Provisioned(hsmName)
	xk, err := d.ExchangeKey(t.Context(), hsmtest.Caller(hsmtest.Admin))
	if err != nil {
		t.Fatal(err)
	}
	c := as(s.Serve(), hsmtest.Admin)
	body := map[string]string{"value": string(hsmtest.RestoreBlob(t, file, []byte(xk.Key)))}
	c.repeat("u", "POST /securitydomain/upload", body).Want(202)
	c.repeat("u", "POST /securitydomain/upload", body).Want(202)
	c.repeat("v", "POST /securitydomain/upload", body).WantError(409, "Conflict", "AlreadyActivated")
}

// TestRepeatedRestore: the repetition of a restore names its job, also to somebody whose role went with it.
func TestRepeatedRestore(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	w := s.Serve()
	j, _ := as(w, hsmtest.Admin).repeat("b", "POST /backup", sas).Want(202).Map()["jobId"].(string)
	folder := path.Base(s.Wait(d.BackupStatus, j).FolderURL)
	if _, err := d.PutAssignment(t.Context(), hsmtest.Caller(hsmtest.Admin), rbac.ScopeRoot, hsmtest.NewGUID(), hsmtest.Officer, rbac.Administrator); err != nil {
		t.Fatal(err)
	}
	c := as(w, hsmtest.Officer)
	body := `{"sasTokenParameters":` + sas + `,"folderToRestore":"` + folder + `"}`
	first := c.repeat("r", "PUT /restore", body).Want(202).Map()["jobId"].(string)
	s.Wait(d.RestoreStatus, first)
	c.do("GET /keys", nil).WantError(403, "AccessDenied", "")
	if again := c.repeat("r", "PUT /restore", body).Want(202).Map()["jobId"]; again != first {
		t.Errorf("%v, first %v", again, first)
	}
}

// TestFailuresAreNotKept: a request that was refused is tried anew.
func TestFailuresAreNotKept(t *testing.T) {
	t.Parallel()
	s := hsmtest.New(t)
	d := s.Active(hsmName)
	c := as(s.Serve(), hsmtest.Stranger)
	c.repeat("id", "POST /backup", sas).WantError(403, "AccessDenied", "")
	if _, err := d.PutAssignment(t.Context(), hsmtest.Caller(hsmtest.Admin), rbac.ScopeRoot, hsmtest.NewGUID(), hsmtest.Stranger, rbac.BackupOperator); err != nil {
		t.Fatal(err)
	}
	j, _ := c.repeat("id", "POST /backup", sas).Want(202).Map()["jobId"].(string)
	s.Wait(d.BackupStatus, j)
}
