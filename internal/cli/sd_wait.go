package cli

import (
	"context"

	"github.com/spf13/cobra"

	"redoubt/internal/client"
)

func (a *app) sdWait() *cobra.Command {
	var at address
	var operation string
	c := a.verb("wait", "Wait until a download or an upload has ended", `After security-domain download --no-wait it is this look that activates the HSM.`, func(ctx context.Context) error {
		if operation != "download" && operation != "upload" {
			return wrongUse("--target-operation %s: use download or upload", operation)
		}
		_, h, err := at.open(a)
		if err != nil {
			return err
		}
		wait := h.WaitUpload
		if operation == "download" {
			wait = h.WaitDownload
		}
		p := a.progress(operation)
		s, err := wait(ctx, func(s client.DomainStatus) { p.say(s.Status) })
		p.end()
		if err != nil {
			return err
		}
		return a.printDomainStatus(s)
	})
	at.flags(c)
	c.Flags().StringVar(&operation, "target-operation", "upload", "download or upload")
	return c
}
