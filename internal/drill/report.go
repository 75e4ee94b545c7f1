package drill

import (
	"context"
	"encoding/json"
	"runtime"
	"time"

	"redoubt/internal/durable"
)

// ReportVersion is the version of the report's format. Members are only added within a version.
const ReportVersion = 1

// Outcomes of a drill.
const (
	outcomePassed      = "passed"
	outcomeFailed      = "failed"
	outcomeInterrupted = "interrupted"
)

// Report is the content of drill-report.json; docs/drill.md explains every member. All durations are seconds.
type Report struct {
	Version  int       `json:"version"`
	Outcome  string    `json:"outcome"`
	Error    string    `json:"error,omitempty"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Platform Platform  `json:"platform"`
	Keys     Keys      `json:"keys"`

	Source             HSM    `json:"source"`
	Rebuilt            HSM    `json:"rebuilt"`
	DomainID           string `json:"domain_id,omitempty"`
	BackupFolder       string `json:"backup_folder,omitempty"`
	RestorePointFolder string `json:"restore_point_folder,omitempty"`
	OfflineStep        string `json:"offline_step,omitempty"`

	Measured        Measured `json:"measured"`
	PeakMemoryBytes int64    `json:"peak_memory_bytes"`               // mapped pages of the store included
	PeakOwnBytes    int64    `json:"peak_own_memory_bytes,omitempty"` // without pages of files; sampled
	Steps           []Step   `json:"steps"`
	Proofs          []Proof  `json:"proofs"`
}

// Platform is what the drill ran on.
type Platform struct {
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
}

// Keys says what was made.
type Keys struct {
	Requested int            `json:"requested"`
	Names     int            `json:"names"`
	Versions  int            `json:"versions"` // each with material of its own
	Mix       string         `json:"mix"`
	Kinds     map[string]int `json:"kinds"` // versions by kind of key
}

// HSM is one of the two HSMs.
type HSM struct {
	Name   string `json:"name"`
	Region string `json:"region"`
	ID     string `json:"id,omitempty"`
}

// Measured holds the figures that a drill is run for.
type Measured struct {
	RecoverySeconds      float64 `json:"recovery_seconds"`       // from the loss of the source to the last proof
	RebuildSeconds       float64 `json:"rebuild_seconds"`        // from the new HSM's creation to its restored state
	RecoveryPointSeconds float64 `json:"recovery_point_seconds"` // age of the backup when the disaster began
	WritesAfterBackup    int     `json:"writes_after_backup"`
	InventoryEntries     int     `json:"inventory_entries"`
}

// Step is one step of the procedure.
type Step struct {
	Name         string  `json:"name"`
	Title        string  `json:"title"`
	StartSeconds float64 `json:"start_seconds"`
	Seconds      float64 `json:"seconds"`
	Detail       string  `json:"detail,omitempty"`
	Error        string  `json:"error,omitempty"`
}

func newReport(o Options, plan []keyPlan) Report {
	r := Report{Version: ReportVersion, Started: time.Now().UTC(),
		Platform: Platform{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()},
		Keys:     Keys{Requested: o.Keys, Names: len(plan), Versions: versionsOf(plan), Mix: o.Mix, Kinds: map[string]int{}},
		Source:   HSM{Name: sourceName, Region: sourceRegion}, Rebuilt: HSM{Name: rebuiltName, Region: rebuiltRegion}, Steps: []Step{}}
	for _, p := range plan {
		r.Keys.Kinds[p.spec.String()] += p.versions
	}
	return r
}

// end enters how the drill came out.
func (r *Report) end(ctx context.Context, err error, took time.Duration) {
	r.Outcome, r.Seconds, r.PeakMemoryBytes = outcomePassed, seconds(took), peakMemory()
	if err != nil {
		r.Outcome, r.Error = outcomeFailed, err.Error()
	}
	if err != nil && ctx.Err() != nil {
		r.Outcome, r.Error = outcomeInterrupted, "interrupted: "+context.Cause(ctx).Error()
	}
}

func (r *Report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(b, '\n'), 0o644)
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
