package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) backup() *cobra.Command {
	return group("backup", "Full backups", a.backupStart(), a.backupVerify())
}

func (a *app) restore() *cobra.Command {
	return group("restore", "Full and selective restores", a.restoreStart())
}

// follow waits for a job and shows how it goes.
func (a *app) follow(ctx context.Context, what string, j client.Job) (client.Job, error) {
	p := a.progress(what + " " + j.ID)
	defer p.end()
	j, err := j.Wait(ctx, func(j client.Job) {
		if j.Details != "" {
			p.say(j.Status + ", " + j.Details)
			return
		}
		p.say(j.Status)
	})
	if err != nil {
		return j, fmt.Errorf("%s %s: %w", what, j.ID, err)
	}
	return j, nil
}
