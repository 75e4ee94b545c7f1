// Package drill rehearses the disaster-recovery procedure from end to end and proves what came back.
//
// A drill starts a cloud of its own in a temporary folder and then behaves like the people of the
// procedure: it speaks HTTPS to the control plane, the identity service, the storage account and the HSMs,
// holds the wrapping keys in files, and does the offline step with files alone. It never looks into the
// server, with two exceptions that no client could see: that a purge left nothing of the source HSM in the
// store, and the audit files.
//
// Order: fill a source HSM with keys of every type and use them; back it up; write down everything it
// shows (the inventory) and all that was made with its keys (the evidence); lose it; rebuild it in another
// region from the security domain, a quorum and the backup; prove.
//
// A proof counts what it checked. It holds only if it checked something and nothing was amiss.
package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"redoubt/internal/client"
)

// Options configure a drill. Keys, Report, Out and Start are required.
type Options struct {
	Keys   int    // how many keys to make: MinKeys to MaxKeys
	Mix    string // MixAll (also when empty) or MixEC
	Report string // file that the report is written to, in a folder that exists
	Keep   bool   // leave the folder behind
	Out    io.Writer
	// Start starts a cloud whose state is in dir and returns once it answers. Its HSMs must have room for
	// Keys and ExtraKeys.
	Start func(ctx context.Context, dir string) (Cloud, error)
	// Tool is the path of the operator's tool for the offline step; without it the step is done by the same
	// code in this process.
	Tool string
	// TempDir is where the drill makes its folder; empty: where the system keeps temporary files.
	TempDir string

	// TestOnlyTamper, when set, changes the rebuilt HSM before it is looked at: a test shows with it that the
	// proofs notice.
	TestOnlyTamper func(ctx context.Context, rebuilt *client.HSM) error
}

// Cloud is a running dev cloud.
type Cloud struct {
	Env   func(name string) string // the variables of env.sh, those of the identity endpoint included
	Close func() error             // stops it; afterwards its files are complete
	// Device finds what the server keeps of an HSM, by the HSM's name.
	Device func(name string) (Device, error)
}

// Device is what the server keeps of one HSM. The functions work after the HSM was purged, too.
type Device struct {
	ID      string
	Audit   string                                 // path of the audit file
	Roots   func() (int, error)                    // how many sealed roots are on disk
	Records func(ctx context.Context) (int, error) // how many records are in the store
}

// Names of the HSMs and where they are.
const (
	sourceName, sourceRegion   = "drill-source", "westus3"
	rebuiltName, rebuiltRegion = "drill-rebuilt", "northeurope"
	resourceGroup              = "DrillResourceGroup"
	storageAccount, container  = "drillbackups", "fullbackups"
)

// drill is one run.
type drill struct {
	o      Options
	plan   []keyPlan
	dir    string // everything of this run
	out    *printer
	report Report
	proofs *proofs

	cloud       Cloud
	http        *http.Client
	person      principal // Administrator
	application principal // a service principal that may use one key
	signer      principal // a managed identity with a custom role
	stranger    principal // a managed identity without any role
	backupID    client.ManagedIdentityResource

	source, rebuilt       *client.HSM
	sourceDev, rebuiltDev Device
	domain                string      // path of the security domain file
	holders               []holder    // of the wrapping keys
	lost                  []lostWrite // what was written after the backup
	backupAt, disasterAt  time.Time
	lostAt                time.Time // when the source was gone for good
}

// Run runs a drill. It is nil only if every step succeeded and every proof held. The report is written in
// any case, as far as the drill came.
func Run(ctx context.Context, o Options) error {
	if o.Mix == "" {
		o.Mix = MixAll
	}
	plan, err := newPlan(o.Keys, o.Mix)
	if err != nil {
		return err
	}
	if err := checkReportPath(o.Report); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.TempDir, "redoubt-drill-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	d := &drill{o: o, plan: plan, dir: dir, proofs: newProofs(), report: newReport(o, plan), out: newPrinter(o.Out)}
	d.out.line("Redoubt drill: %d keys with %d versions (mix %s), in %s", len(plan), d.report.Keys.Versions, o.Mix, dir)
	err = d.run(ctx)
	if rerr := d.finish(ctx, err); rerr != nil {
		err = rerr
	}
	if o.Keep {
		d.out.line("Kept in %s. To look at it:  redoubtd dev --data %s  and, in another shell,  . %s", dir, d.cloudDir(), filepath.Join(d.cloudDir(), "env.sh"))
		return err
	}
	if rerr := os.RemoveAll(dir); rerr != nil {
		err = errors.Join(err, fmt.Errorf("remove the drill's folder: %w", rerr))
	}
	return err
}

// checkReportPath fails before the work, not after it, when the report cannot be written.
func checkReportPath(path string) error {
	dir := filepath.Dir(path)
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return fmt.Errorf("--report %s: %s is not a folder", path, dir)
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return fmt.Errorf("--report %s is a folder; name a file", path)
	}
	return nil
}

func (d *drill) cloudDir() string { return filepath.Join(d.dir, "cloud") }

// file is a file of the people: what they hold is apart from the cloud's folder.
func (d *drill) file(name string) string { return filepath.Join(d.dir, "operator", name) }

// run goes through the whole procedure and closes the cloud, whatever happened.
func (d *drill) run(ctx context.Context) (err error) {
	if err := os.Mkdir(d.file(""), 0o700); err != nil {
		return err
	}
	defer func() {
		if d.cloud.Close != nil { // not closed yet: something failed before
			err = errors.Join(err, d.stop())
		}
	}()
	for _, part := range []func(context.Context) error{d.prepare, d.fill, d.lose, d.rebuild, d.prove} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop closes the cloud once.
func (d *drill) stop() error {
	if d.http != nil {
		d.http.CloseIdleConnections()
	}
	stop := d.cloud.Close
	d.cloud.Close = nil
	return stop()
}

// finish judges the run, prints the summary and writes the report.
func (d *drill) finish(ctx context.Context, err error) error {
	d.report.Proofs = d.proofs.results()
	if err == nil {
		err = d.proofs.failure()
	}
	d.report.PeakOwnBytes = d.out.own.Load()
	d.report.end(ctx, err, d.out.since())
	d.out.summary(&d.report)
	if werr := d.report.write(d.o.Report); werr != nil {
		err = errors.Join(err, fmt.Errorf("write the report: %w", werr))
	} else {
		d.out.line("Report: %s", d.o.Report)
	}
	return err
}

// randomOrder is a random permutation of 0 to n-1.
func randomOrder(n int) []int {
	out := make([]int, n)
	for i := range out {
		j := randomBelow(i + 1)
		out[i], out[j] = out[j], i
	}
	return out
}

// randomBelow is a random number from 0 to n-1, for a small n.
func randomBelow(n int) int {
	var b [4]byte
	rand.Read(b[:])
	return int((uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])) * uint64(n) >> 32)
}

// randomBytes is test data for the keys to work on.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
