package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/drill"
	"redoubt/internal/key"
	"redoubt/internal/store"
)

func drillCommand() *cobra.Command {
	var o drill.Options
	var verbose bool
	c := &cobra.Command{Use: "drill", Short: "Rehearse the whole disaster-recovery procedure on throwaway HSMs and prove what came back",
		Long: `Rehearse the whole disaster-recovery procedure: make an HSM with keys of every type, back it up,
destroy and purge it, rebuild it in another region from its security domain, a quorum of wrapping keys
and its last backup, and prove that every key, version, attribute, tag and role assignment is back.

Everything happens in a temporary folder on loopback. The exit code is 0 only if every proof held.`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			o.Out, o.Tool = c.OutOrStdout(), siblingTool()
			o.Start = startDrillCloud(o.Keys, logger(c.ErrOrStderr(), verbose))
			return drill.Run(c.Context(), o)
		}}
	f := c.Flags()
	f.IntVar(&o.Keys, "keys", 100, fmt.Sprintf("number of keys to make, %d to %d", drill.MinKeys, drill.MaxKeys))
	f.StringVar(&o.Mix, "mix", drill.MixAll, "all: keys of every type; ec: one of each type, elliptic curves for the rest (for large numbers)")
	f.StringVar(&o.Report, "report", "drill-report.json", "where to write the report")
	f.BoolVar(&o.Keep, "keep", false, "leave the drill's folder for inspection")
	f.BoolVarP(&verbose, "verbose", "v", false, "log the dev cloud's refusals")
	return c
}

// siblingTool is the operator's tool in the folder of this program, or "": with it the offline step runs in
// a process that does not contain the server. Under "go run" there is none.
func siblingTool() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	tool := filepath.Join(filepath.Dir(self), "redoubt")
	if fi, err := os.Stat(tool); err != nil || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
		return ""
	}
	return tool
}

// startDrillCloud gives the drill a dev cloud of its own in a folder, with room for its keys.
func startDrillCloud(keys int, log *slog.Logger) func(ctx context.Context, dir string) (drill.Cloud, error) {
	return func(ctx context.Context, dir string) (drill.Cloud, error) {
		d, err := StartDev(ctx, DevConfig{Dir: dir, RestorePointMaxAge: 30 * time.Minute, IdentityEndpoint: true,
			MaxKeys: max(key.MaxKeys, keys+drill.ExtraKeys), Log: log})
		if err != nil {
			return drill.Cloud{}, errors.Join(errors.New("start the dev cloud"), err)
		}
		return drill.Cloud{Env: d.Get, Close: d.Close, Device: d.drillDevice}, nil
	}
}

// drillDevice shows what the server keeps of an HSM, so that the drill can prove that a purge leaves none.
func (d *Dev) drillDevice(name string) (drill.Device, error) {
	r, err := d.fleet.Get(name)
	if err != nil {
		return drill.Device{}, err
	}
	return drill.Device{ID: r.ID, Audit: d.path("data", "audit", r.ID+".jsonl"),
		Roots:   func() (int, error) { return countRoots(d.path("data", "roots", r.ID)) },
		Records: func(ctx context.Context) (int, error) { return d.countRecords(ctx, "/hsm/"+r.ID+"/") }}, nil
}

// countRoots counts the sealed roots below a folder, which may be gone.
func countRoots(dir string) (n int, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(e.Name(), ".root") {
			n++
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return n, err
}

// countRecords counts what the store has under a prefix.
func (d *Dev) countRecords(ctx context.Context, prefix string) (n int, err error) {
	q := store.Query{Prefix: prefix, KeysOnly: true}
	for {
		page, err := d.store.Range(ctx, q)
		if err != nil {
			return 0, err
		}
		n += len(page.KVs)
		if !page.More || len(page.KVs) == 0 {
			return n, nil
		}
		q.After = page.KVs[len(page.KVs)-1].Key
	}
}
