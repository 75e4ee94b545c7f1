package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"redoubt/internal/audit"
)

func (a *app) audit() *cobra.Command {
	return group("audit", "Audit files", a.auditVerify(), a.auditQuery(), a.auditTail())
}

// auditReport is what an audit file was found to be.
type auditReport struct {
	Entries     uint64   `json:"entries"`
	Head        string   `json:"head"`
	Checkpoints int      `json:"checkpoints"`
	Since       uint64   `json:"linesAfterLastCheckpoint"`
	Signers     []string `json:"signers"`
}

func (a *app) auditVerify() *cobra.Command {
	var file, head string
	c := a.verb("verify", "Check the chain of an HSM's audit file", `Reads the whole file and checks that no line was changed, removed or moved. Offline.

Lines cut off at the end are noticed only against a head that was kept elsewhere, such as the one in a backup's manifest
(backup verify shows it): --expect-head SEQ:HASH. Exit code 4 means that the chain is broken.`, func(context.Context) error {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read the audit file: %w", err)
		}
		defer func() { _ = f.Close() }()
		p := a.progress("audit")
		var n int64
		rep, err := audit.Verify(f, head, func(audit.Entry) error {
			n++
			if n%1000 == 0 {
				p.say(fmt.Sprintf("%d entries", n))
			}
			return nil
		})
		p.end()
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if head == "" {
			a.note("Without --expect-head, lines cut off at the end are not noticed.")
		}
		out := auditReport{Entries: uint64(n), Head: rep.Head.String(), Checkpoints: rep.Checkpoints, Since: rep.SinceCheck, Signers: []string{}}
		for _, s := range rep.Signers {
			out.Signers = append(out.Signers, hex.EncodeToString(s))
		}
		return a.print(out, "entries", "head", "checkpoints", "linesAfterLastCheckpoint")
	})
	c.Flags().StringVar(&file, "file", "", "audit file")
	c.Flags().StringVar(&head, "expect-head", "", "head that must occur in the chain")
	return require(c, "file")
}
