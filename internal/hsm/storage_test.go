package hsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/backup"
	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/key"
)

// blocked is a container whose calls wait until the test lets them go on.
type blocked struct {
	blob.Container
	entered chan struct{} // gets a value for every call that waits
	release chan struct{} // closed to let all go
}

func newBlocked(c blob.Container) *blocked {
	return &blocked{c, make(chan struct{}, 100), make(chan struct{})}
}

func (b *blocked) hold(ctx context.Context) error {
	b.entered <- struct{}{}
	select {
	case <-b.release:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", blob.ErrUnreachable, ctx.Err())
	}
}

func (b *blocked) Put(ctx context.Context, name string, data []byte) error {
	if err := b.hold(ctx); err != nil {
		return err
	}
	return b.Container.Put(ctx, name, data)
}

func (b *blocked) Get(ctx context.Context, name string) (io.ReadCloser, blob.Info, error) {
	if err := b.hold(ctx); err != nil {
		return nil, blob.Info{}, err
	}
	return b.Container.Get(ctx, name)
}

const blockedURI = "https://contosobackup.blob.core.windows.net/blocked"

// withBlocked serves the container at blockedURI through b, which keeps what it holds at backupURI.
func withBlocked(b **blocked) func(*testHSM) {
	return func(r *testHSM) {
		*b = newBlocked(addressed{r.container(backupURI), blockedURI})
		open := r.cfg.OpenContainer
		r.cfg.OpenContainer = func(ctx context.Context, q ContainerRequest) (blob.Container, error) {
			if q.URI == blockedURI {
				return *b, nil
			}
			return open(ctx, q)
		}
	}
}

func TestOneJobAtATime(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	var b *blocked
	r := s.recovered(t, true, withBlocked(&b))
	ctx := t.Context()
	first := must[Job](t)(r.StartBackup(ctx, admin, sasTarget(blockedURI)))
	<-b.entered
	busy := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", what, err)
		}
		mustSay(t, err, "backup "+first.ID, "wait for it")
	}
	_, err := r.StartBackup(ctx, admin, sasTarget(otherURI))
	busy("backup", err)
	_, err = r.StartRestore(ctx, admin, sasTarget(backupURI), s.folder)
	busy("restore", err)
	_, err = r.StartSelectiveRestore(ctx, admin, "src-wrap-oct", sasTarget(backupURI), s.folder)
	busy("selective restore", err)
	// The HSM works on meanwhile, and what happens now is not in the backup.
	must[Bundle](t)(r.CreateKey(ctx, user, "meanwhile", key.CreateParams{Spec: key.Spec{Type: key.Oct}}))
	if j := must[Job](t)(r.BackupStatus(ctx, operator, first.ID)); j.Status != JobInProgress || j.End != 0 {
		t.Errorf("job: %+v", j)
	}
	close(b.release)
	doc := r.succeed(first, nil)
	c := r.container(backupURI)
	_, _, root, _ := r.current(ctx)
	m := must[backup.Manifest](t)(backup.ReadManifest(ctx, c, doc.Folder, backup.ByKey(archiveScheme, root.PublicKey())))
	var names []string
	if err := backup.Verify(ctx, c, m, func(rec backup.Record) error { names = append(names, rec.Name); return nil }); err != nil {
		t.Error(err)
	}
	if slices.Contains(names, "h/meanwhile") || !slices.Contains(names, "h/dst-wrap-oct") {
		t.Errorf("the backup holds %v", names)
	}
	r.sound()
}

// TestWhileRestoring: nothing but the job can be asked for, and a stop of the server ends it as interrupted.
func TestWhileRestoring(t *testing.T) {
	t.Parallel()
	s := getSite(t)
	var b *blocked
	r := s.recovered(t, true, withBlocked(&b))
	ctx := t.Context()
	before := r.inventory()
	j := must[Job](t)(r.StartRestore(ctx, operator, sasTarget(blockedURI), s.folder))
	<-b.entered
	if d := r.dev(); d.State != Restoring || d.Job != j.ID {
		t.Errorf("device: %+v", d)
	}
	_, err := r.CreateKey(ctx, user, "meanwhile", key.CreateParams{Spec: key.Spec{Type: key.Oct}})
	if !errors.Is(err, ErrRestoring) {
		t.Errorf("create: %v", err)
	}
	if _, err = r.StartBackup(ctx, admin, sasTarget(otherURI)); !errors.Is(err, ErrRestoring) {
		t.Errorf("backup: %v", err)
	}
	if _, err = r.DownloadDomain(ctx, admin, downloadRequest(t, holders(), 2)); !errors.Is(err, ErrRestoring) {
		t.Errorf("download: %v", err)
	}
	if st := must[Job](t)(r.RestoreStatus(ctx, operator, j.ID)); st.Status != JobInProgress || st.Details == "" {
		t.Errorf("job: %+v", st)
	}
	done := r.running(j.ID)
	r.stop() // the job ends as interrupted before Close returns
	<-done
	r.restart()
	r.fail(j, nil, "OperationInterrupted", "nothing was changed", "start it again")
	sameInventory(t, r.inventory(), before)
	r.sound()
	if st := must[Job](t)(r.RestoreStatus(ctx, operator, j.ID)); st.Status != JobFailed {
		t.Errorf("job: %+v", st)
	}
}

// TestStorageRefused: errors of the address are refused at once, those of the credential are the job's; no
// message shows the credential.
func TestStorageRefused(t *testing.T) {
	t.Parallel()
	var refusal error
	r, _ := newActiveDR(t, func(r *testHSM) {
		open := r.cfg.OpenContainer
		r.cfg.OpenContainer = func(ctx context.Context, q ContainerRequest) (blob.Container, error) {
			if refusal != nil {
				return nil, refusal
			}
			return open(ctx, q)
		}
	})
	ctx := t.Context()
	refusal = fmt.Errorf("%w: only https:// addresses are used (%s)", blob.ErrBadTarget, testSAS)
	before := r.raw()
	_, err := r.StartBackup(ctx, admin, sasTarget("http://x/y"))
	if !errors.Is(err, ErrBadTarget) {
		t.Errorf("hostile address: %v", err)
	}
	mustSay(t, err, "only https")
	refusal = nil
	if _, err = r.StartBackup(ctx, admin, Target{URI: backupURI}); !errors.Is(err, ErrBadTarget) {
		t.Errorf("no credential: %v", err)
	}
	mustSay(t, err, "generate-sas", "crdw", "managed identity")
	if !maps.Equal(r.raw(), before) {
		t.Error("something was written")
	}
	for _, tc := range []struct {
		err   error
		code  string
		words []string
	}{
		{blob.ErrExpired, "AuthenticationFailed", []string{"expired", "--permissions crdw"}},
		{blob.ErrBadCredential, "AuthenticationFailed", []string{"refused", "--permissions crdw"}},
		{blob.ErrDenied, "AuthorizationPermissionMismatch", []string{"az storage container generate-sas --name mhsmbackupcontainer --account-name contosobackup --permissions crdw"}},
	} {
		refusal = fmt.Errorf("%w: the token %s has a flaw", tc.err, testSAS)
		j, err := r.StartBackup(ctx, admin, sasTarget(backupURI))
		r.fail(j, err, tc.code, tc.words...)
	}
	refusal = nil
	c := r.container(backupURI)
	for _, tc := range []struct {
		err   error
		code  string
		words []string
	}{
		{blob.ErrFull, "StorageFull", []string{"no space", "make room"}},
		{blob.ErrDenied, "AuthorizationPermissionMismatch", []string{"--permissions crdw"}},
		{blob.ErrUnreachable, "StorageUnreachable", []string{"contosobackup", "start again"}},
		{blob.ErrNoContainer, "ContainerNotFound", []string{"az storage container create --name mhsmbackupcontainer"}},
	} {
		c.Deny(blobtest.OpPut, tc.err)
		r.clock.advance(time.Second)
		j, err := r.StartBackup(ctx, admin, sasTarget(backupURI))
		r.fail(j, err, tc.code, tc.words...)
		j, err = r.StartBackup(ctx, admin, Target{URI: backupURI, UseIdentity: true})
		d := r.wait(j, err)
		if errors.Is(tc.err, blob.ErrDenied) {
			mustSay(t, errors.New(d.ErrorMessage), "Storage Blob Data Contributor")
		}
	}
	if r.dev().Point != nil {
		t.Error("a failed backup counts as restore point")
	}
	r.sound()
	r.stop()
	for _, e := range r.auditLog() {
		mustSay(t, errors.New(fmt.Sprint(e)))
	}
}

// TestNoIdentity: without a managed identity a job says how to attach one; where there are none, what else to give. So does
// the demand for a restore point.
func TestNoIdentity(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		identities func() []string
		says, not  string
	}{
		{func() []string { return nil }, "az keyvault update-hsm --hsm-name ContosoMHSM --mi-user-assigned", "no managed identities"},
		{nil, "az storage container generate-sas", "update-hsm"},
	} {
		r, _ := newActiveDR(t, func(r *testHSM) { r.cfg.Identities = tc.identities })
		_, err := r.StartBackup(t.Context(), admin, Target{URI: backupURI, UseIdentity: true})
		if !errors.Is(err, ErrBadTarget) || strings.Contains(err.Error(), tc.not) {
			t.Error(err)
		}
		mustSay(t, err, tc.says)
		_, err = r.StartRestore(t.Context(), admin, sasTarget(backupURI), "mhsm-ContosoMHSM-2026010203040500")
		if !errors.Is(err, ErrNoRestorePoint) || strings.Contains(err.Error(), "--use-managed-identity") != (tc.identities != nil) {
			t.Error(err)
		}
		mustSay(t, err, "az keyvault backup start --hsm-name ContosoMHSM", "--storage-container-SAS-token SAS")
	}
}

// TestWide: content of several pages comes back whole, and the manifest counts it.
func TestWide(t *testing.T) {
	t.Parallel()
	s := wideSite.get(t)
	r := s.recovered(t, true)
	r.widen(200)
	d := r.succeed(r.StartRestore(t.Context(), admin, sasTarget(backupURI), s.folder))
	mustSay(t, errors.New(d.Details), fmt.Sprintf("%d records", len(s.inventory)), s.domainID)
	sameInventory(t, r.inventory(), s.inventory)
	r.sound()
}

// TestJobErrorsDocumented: docs/job-errors.md lists every code that a job can end with, and no other.
func TestJobErrorsDocumented(t *testing.T) {
	t.Parallel()
	page := string(must[[]byte](t)(os.ReadFile("../../docs/job-errors.md")))
	documented := make(map[string]bool)
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			code, _, _ := strings.Cut(rest, "`")
			documented[code] = true
		}
	}
	known := map[string]bool{"InternalServerError": true}
	for _, f := range jobFailures {
		known[f.code] = true
	}
	if !maps.Equal(documented, known) {
		t.Errorf("the page lists %v, the program has %v", documented, known)
	}
}
