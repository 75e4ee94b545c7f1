package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"redoubt/internal/client"
)

// job is what a scenario of main's jobs remembers between its parts.
type job struct {
	mu      sync.Mutex
	id      string // of the job that runs, once its start was acknowledged
	success bool   // its end was acknowledged

	folder   string            // backup that is restored
	archived map[string]string // inventory of that backup
	there    map[string]string // inventory before the step
}

func (j *job) note(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

// inventory is every key of an HSM with its current version.
func inventory(ctx context.Context, h *client.HSM) (map[string]string, error) {
	keys, err := h.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(keys))
	for _, k := range keys {
		names = append(names, k.Name())
	}
	out := make(map[string]string, len(keys))
	var mu sync.Mutex
	err = parallel(4, len(names), func(i int) error {
		k, err := h.GetKey(ctx, names[i], "")
		mu.Lock()
		defer mu.Unlock()
		out[names[i]] = k.Version()
		return err
	})
	return out, err
}

func folderOf(url string) string { return url[strings.LastIndex(url, "/")+1:] }

// interruptedWell judges the document of a job whose start was acknowledged.
func interruptedWell(j client.Job, succeeded bool) error {
	switch {
	case j.Status == "Succeeded":
		return nil
	case succeeded:
		return fmt.Errorf("the success of job %s was acknowledged, but its document says %s", j.ID, j.Status)
	case j.Status == "Failed" && j.Error != nil && j.Error.Code == "OperationInterrupted" && strings.Contains(j.Error.Message, "nothing was changed"):
		return nil
	}
	return fmt.Errorf("the document of the interrupted job %s says %s (%+v)", j.ID, j.Status, j.Error)
}

// backups is a full backup of main.
func backups() scenario {
	j := &job{}
	return scenario{
		name: "backup",
		prepare: func(context.Context, *world, int) error {
			j.id, j.success = "", false
			return nil
		},
		step: func(ctx context.Context, w *world) error {
			h, err := w.arm.HSMNamed(w.main)
			if err != nil {
				return err
			}
			started, err := h.StartBackup(ctx, w.storage)
			if err != nil {
				return err
			}
			j.note(func() { j.id = started.ID })
			_, err = started.Wait(ctx, nil)
			if err == nil {
				j.note(func() { j.success = true })
			}
			return err
		},
		verify: func(ctx context.Context, w *world) (outcome, error) {
			h, err := w.arm.HSMNamed(w.main)
			if err != nil {
				return "", err
			}
			if j.id != "" {
				doc, err := h.BackupStatus(ctx, j.id)
				if err != nil {
					return "", err
				}
				if err := interruptedWell(doc, j.success); err != nil {
					return "", err
				}
				if doc.Status == "Succeeded" {
					return after, nil
				}
			}
			again, err := h.StartBackup(ctx, w.storage) // nothing blocks the next one
			if err == nil {
				_, err = again.Wait(ctx, nil)
			}
			return before, err
		},
	}
}

// restores is a full restore of main. What is there before has a key more than the backup.
func restores() scenario {
	j := &job{}
	return scenario{
		name: "restore",
		prepare: func(ctx context.Context, w *world, n int) error {
			j.id, j.success = "", false
			return j.prepare(ctx, w, n)
		},
		step: func(ctx context.Context, w *world) error {
			h, err := w.arm.HSMNamed(w.main)
			if err != nil {
				return err
			}
			started, err := h.StartRestore(ctx, w.storage, j.folder)
			if err != nil {
				return err
			}
			j.note(func() { j.id = started.ID })
			_, err = started.Wait(ctx, nil)
			if err == nil {
				j.note(func() { j.success = true })
			}
			return err
		},
		verify: j.restored,
	}
}

// prepare makes the backup to restore (once), a key that is not in it, and the restore point.
func (j *job) prepare(ctx context.Context, w *world, n int) error {
	h, err := w.arm.HSMNamed(w.main)
	if err != nil {
		return err
	}
	backUp := func() (string, error) {
		b, err := h.StartBackup(ctx, w.storage)
		if err == nil {
			b, err = b.Wait(ctx, nil)
		}
		return folderOf(b.FolderURL), err
	}
	if j.folder == "" {
		if j.folder, err = backUp(); err != nil {
			return err
		}
		if j.archived, err = inventory(ctx, h); err != nil {
			return err
		}
	}
	if _, err := h.CreateKey(ctx, fmt.Sprintf("extra-%d", n), client.CreateKey{Kty: "EC-HSM", Crv: "P-256"}); err != nil {
		return err
	}
	if _, err := backUp(); err != nil {
		return err
	}
	j.there, err = inventory(ctx, h)
	return err
}

func (j *job) restored(ctx context.Context, w *world) (outcome, error) {
	h, err := w.arm.HSMNamed(w.main)
	if err != nil {
		return "", err
	}
	now, err := inventory(ctx, h)
	if err != nil {
		return "", fmt.Errorf("the HSM after the restart: %w", err)
	}
	got := outcome("")
	switch {
	case maps.Equal(now, j.there):
		got = before
	case maps.Equal(now, j.archived):
		got = after
	default:
		return "", fmt.Errorf("%d keys are there; before there were %d, and the backup has %d; %v", len(now), len(j.there), len(j.archived), slices.Sorted(maps.Keys(now)))
	}
	if j.id == "" {
		if got == after {
			return "", errors.New("a restore whose start was not acknowledged was carried out")
		}
		return got, nil
	}
	doc, err := h.RestoreStatus(ctx, j.id)
	if err != nil {
		return "", err
	}
	if err := interruptedWell(doc, j.success); err != nil {
		return "", err
	}
	if (doc.Status == "Succeeded") != (got == after) {
		return "", fmt.Errorf("the document says %s, the content is the one %s", doc.Status, got)
	}
	return got, nil
}
