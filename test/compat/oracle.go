package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"redoubt/internal/hsm"
)

// askOracle validates the recording. A complete run must have exercised everything.
func (w *world) askOracle(ctx context.Context) error {
	type row struct{ Name, Route, Since string }
	var rows []row
	for _, r := range hsm.Table() {
		rows = append(rows, row{r.Name, r.Route, r.Since})
	}
	b, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	table := filepath.Join(w.work, "table.json")
	if err := os.WriteFile(table, b, 0o600); err != nil {
		return err
	}
	args := []string{"-documents", w.documents, "-control", filepath.Join(filepath.Dir(w.documents), "arm"), "-recording", filepath.Join(w.work, "recording"), "-table", table,
		"-lists", filepath.Join(w.root, "test", "compat")}
	if len(w.programs) == len(allPrograms) && len(w.modes) == len(modes) {
		args = append(args, "-complete")
	}
	if w.update {
		args = append(args, "-update")
	}
	out, err := exec.CommandContext(ctx, filepath.Join(w.bin, "compat-oracle"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the oracle: %w\n%s", err, out)
	}
	w.print("oracle: %s", out)
	return nil
}
