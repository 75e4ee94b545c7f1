package hsm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"redoubt/internal/blob"
	"redoubt/internal/blob/blobtest"
	"redoubt/internal/secret"
	"redoubt/internal/securitydomain"
	"redoubt/internal/store"
	"redoubt/internal/store/mem"
	"redoubt/internal/store/storetest"
)

// What the tests of the ceremonies, of backup and of restore have in common.

const (
	backupURI = "https://contosobackup.blob.core.windows.net/mhsmbackupcontainer"
	otherURI  = "https://contosobackup.blob.core.windows.net/othercontainer"
	testSAS   = "sv=2022-11-02&sr=c&sp=crdw&se=2026-01-03T00:00:00Z&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"
)

func sasTarget(uri string) Target {
	return Target{URI: uri, SAS: func() string { return testSAS }}
}

// holders are three key holders, made once: RSA keys take their time.
var holders = sync.OnceValue(func() []securitydomain.WrappingKey { return makeHolders(3, 1, 1<<40) })

func makeHolders(n int, notBefore, notAfter int64) []securitydomain.WrappingKey {
	out := make([]securitydomain.WrappingKey, n)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			name := fmt.Sprintf("holder %d", i)
			certPEM, keyPEM, err := securitydomain.NewWrappingKeyPair(name, 2048, notBefore, min(notAfter, 253402300799))
			if err != nil {
				panic(err)
			}
			if out[i], err = securitydomain.ParseWrappingKey(name, certPEM, keyPEM.Expose(), secret.Bytes{}); err != nil {
				panic(err)
			}
		})
	}
	wg.Wait()
	return out
}

// sharedExchangeKey is what recoveringHSM puts into every device, so that not every test makes an RSA key.
var sharedExchangeKey = sync.OnceValue(func() *securitydomain.ExchangeKey {
	xk, err := securitydomain.NewExchangeKey("test", 1, 1<<33)
	if err != nil {
		panic(err)
	}
	return xk
})

func downloadRequest(t testing.TB, keys []securitydomain.WrappingKey, required int) []byte {
	t.Helper()
	var certs []securitydomain.Certificate
	for _, k := range keys {
		certs = append(certs, k.Certificate)
	}
	body, err := securitydomain.EncodeDownloadRequest(certs, required)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// quietSequencer keeps the audit sequencer's writes (nothing but deletions from the outbox and the log's head) out of the
// count of Faults, so that the n-th write is the same one in every run.
type quietSequencer struct {
	*storetest.Faults
	below store.Store
}

func (q quietSequencer) Txn(ctx context.Context, ifs []store.Cond, then []store.Op) (store.Rev, error) {
	sequencer := len(then) > 0
	for _, op := range then {
		sequencer = sequencer && (op.Delete && strings.Contains(op.Key, "/l/out/") || strings.HasSuffix(op.Key, "/l/audit"))
	}
	if !sequencer {
		return q.Faults.Txn(ctx, ifs, then)
	}
	if q.Dead() {
		return 0, store.ErrUnavailable
	}
	return q.below.Txn(ctx, ifs, then)
}

// addressed is a container in memory with an address of its own.
type addressed struct {
	*blobtest.Mem
	uri string
}

func (c addressed) URL() string { return c.uri }

// newDR is a provisioned device whose containers have addresses and whose store counts writes exactly.
// The options change its configuration before it is opened with it.
func newDR(t testing.TB, options ...func(*testHSM)) *testHSM {
	t.Helper()
	return newDROn(t, mem.New(), options...)
}

func newDROn(t testing.TB, below store.Store, options ...func(*testHSM)) *testHSM {
	t.Helper()
	r := newTestHSMOn(t, below)
	r.cfg.Store = quietSequencer{r.faults, r.below}
	r.cfg.OpenContainer = func(_ context.Context, q ContainerRequest) (blob.Container, error) {
		return addressed{r.container(q.URI), q.URI}, nil
	}
	r.cfg.Identities = func() []string { return []string{"/subscriptions/s/identities/one"} }
	for _, o := range options {
		o(r)
	}
	r.restart()
	return r
}

// newActiveDR is newDR, activated by download and poll. It returns the security domain file too.
func newActiveDR(t testing.TB, options ...func(*testHSM)) (*testHSM, []byte) {
	t.Helper()
	r := newDR(t, options...)
	file := r.activateByDownload()
	return r, file
}

func (r *testHSM) activateByDownload() []byte {
	r.t.Helper()
	file, err := r.DownloadDomain(r.t.Context(), admin, downloadRequest(r.t, holders(), 2))
	if err != nil {
		r.t.Fatal(err)
	}
	if s, err := r.DownloadStatus(r.t.Context(), admin); err != nil || s.Status != statusSuccess {
		r.t.Fatalf("poll after download: %+v, %v", s, err)
	}
	return file
}

// recoveringHSM is newDR in recovery with the shared exchange key.
func recoveringHSM(t testing.TB, options ...func(*testHSM)) *testHSM {
	t.Helper()
	r := newDR(t, options...)
	r.giveExchangeKey(sharedExchangeKey())
	return r
}

// giveExchangeKey does what ExchangeKey does, with a key made before.
func (r *testHSM) giveExchangeKey(xk *securitydomain.ExchangeKey) {
	r.t.Helper()
	d, rev, root, err := r.current(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	c := &call{h: r.HSM}
	next := d.recovering(xk.Fingerprint())
	_, err = r.below.Txn(r.t.Context(), []store.Cond{store.Unchanged(r.deviceKey(), rev)}, []store.Op{
		store.Put(r.deviceKey(), next.encode()), store.Put(r.exchangeKeyKey(), root.SealSecret(c.exchangeKeyRef(), xk.Export()))})
	if err != nil {
		r.t.Fatal(err)
	}
}

// restoreBlob is the offline step: two holders open the file and encrypt it to the exchange key.
func restoreBlob(t testing.TB, file []byte, exchange securitydomain.Certificate) []byte {
	t.Helper()
	data, err := securitydomain.Open(file, holders()[1:])
	if err != nil {
		t.Fatal(err)
	}
	b, err := securitydomain.Reencrypt(data, exchange)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wait lets a job come to its end, everything behind it included, and returns its document.
func (r *testHSM) wait(j Job, err error) jobDocument {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	if done := r.running(j.ID); done != nil {
		<-done
	}
	return r.document(j.ID)
}

// running is closed when the job's work is over; nil when that has happened.
func (r *testHSM) running(id string) <-chan struct{} {
	r.HSM.mu.Lock()
	defer r.HSM.mu.Unlock()
	if run := r.jobs[id]; run != nil {
		return run.done
	}
	return nil
}

func (r *testHSM) document(id string) jobDocument {
	r.t.Helper()
	_, _, root, err := r.current(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := r.loadJob(r.t.Context(), root, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *testHSM) succeed(j Job, err error) jobDocument {
	r.t.Helper()
	d := r.wait(j, err)
	if d.Status != JobSucceeded {
		r.t.Fatalf("%s: %s: %s: %s", d.Kind, d.Status, d.ErrorCode, d.ErrorMessage)
	}
	return d
}

// fail waits for a job that must end with this code and all of these words in its message, and changes nothing.
func (r *testHSM) fail(j Job, err error, code string, words ...string) {
	r.t.Helper()
	d := r.wait(j, err)
	if d.Status != JobFailed || d.ErrorCode != code {
		r.t.Errorf("%s: status %s, code %q, message %q; want Failed, %q", d.Kind, d.Status, d.ErrorCode, d.ErrorMessage, code)
	}
	mustSay(r.t, errors.New(d.ErrorMessage), words...)
	if d.FolderURL != "" || d.End == 0 {
		r.t.Errorf("failed job has folder %q and end %d", d.FolderURL, d.End)
	}
}

// mustSay wants all the words in an error's text, and no part of the SAS.
func mustSay(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one that says %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("error %q shows the signature of the SAS", err)
	}
}

// dev is the device record as it stands.
func (r *testHSM) dev() device {
	r.t.Helper()
	d, _, err := r.readDevice(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// inventory is the whole content, opened: logical name to plain bytes (of material, a digest).
func (r *testHSM) inventory() map[string]string {
	r.t.Helper()
	d, rev, root, err := r.current(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	v := &view{h: r.HSM, dev: d, rev: rev, root: root}
	out := make(map[string]string)
	err = v.scan(r.t.Context(), "", func(logical string, kv store.KV) (bool, error) {
		s, plain, err := v.unseal(logical, kv)
		if strings.HasPrefix(logical, "m/") {
			sum := sha256.Sum256(plain)
			plain = []byte(hex.EncodeToString(sum[:]))
		}
		out[logical] = fmt.Sprintf("%d %s", s.version, plain)
		return true, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func sameInventory(t testing.TB, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s is %q, want %q", name, got[name], want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s should not be there: %q", name, got[name])
		}
	}
}

// raw is every record of the device but the audit outbox and the head of the log, as stored.
func (r *testHSM) raw() map[string]string {
	r.t.Helper()
	prefix := "/hsm/" + r.cfg.ID + "/" // also of a device that is stopped
	page, err := r.below.Range(r.t.Context(), store.Query{Prefix: prefix, Limit: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	out := make(map[string]string)
	for _, kv := range page.KVs {
		if !strings.HasPrefix(kv.Key, prefix+"l/out/") && kv.Key != prefix+"l/audit" {
			out[kv.Key] = string(kv.Val)
		}
	}
	return out
}

// sound runs the auditor and compares the root files with what the device refers to.
func (r *testHSM) sound() {
	r.t.Helper()
	r.check()
	d := r.dev()
	want := []string{d.Root}
	if d.Pending != nil {
		want = append(want, d.Pending.Root)
	}
	slices.Sort(want)
	got, err := r.cfg.Roots.List(r.t.Context(), r.cfg.ID)
	if err != nil || !slices.Equal(got, want) {
		r.t.Errorf("root files are %v (%v), the device refers to %v", got, err, want)
	}
	if d.Job != "" {
		r.t.Errorf("job %s still runs", d.Job)
	}
	r.noTemporaries()
}

func (r *testHSM) noTemporaries() {
	r.t.Helper()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(r.auditPath), "roots", "*", ".tmp-*"))
	if err != nil || len(left) > 0 {
		r.t.Errorf("left in the folder of the roots: %v, %v", left, err)
	}
}

// rootFile is where a root lies.
func (r *testHSM) rootFile(id string) string {
	return filepath.Join(filepath.Dir(r.auditPath), "roots", r.cfg.ID, id+".root")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// must fails the test on an error and passes the value on.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
