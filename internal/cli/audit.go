package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"redoubt/internal/audit"
)

func (a *app) audit() *cobra.Command {
	return group("audit", "Audit files", a.auditVerify(), a.auditQuery(), a.auditTail())
}

// auditReport is what a chain of audit files was found to be.
type auditReport struct {
	Chain       string   `json:"chain,omitempty"`
	Entries     uint64   `json:"entries"`
	Head        string   `json:"head"`
	Checkpoints int      `json:"checkpoints"`
	Since       uint64   `json:"linesAfterLastCheckpoint"`
	Signers     []string `json:"signers"`
	From        string   `json:"from,omitempty"` // head that removed files ended with
	BackSteps   uint64   `json:"timeGoesBack,omitempty"`
	Files       []string `json:"files,omitempty"`
}

// auditVerify's flags and arguments.
type auditVerify struct {
	*app
	file string
	want audit.Expect
}

func (a *app) auditVerify() *cobra.Command {
	v := auditVerify{app: a}
	var args []string
	c := a.verb("verify [FOLDER | FILE ...]", "Check the chain of an HSM's audit files", `Reads whole files and checks that no line was changed, removed, added or moved, and that no file is missing between
two others. Offline. With --file, all files of the chain that FILE belongs to; with FILEs, just those; with a FOLDER, every chain in it.

Lines cut off at the end are noticed only against a head that was kept elsewhere, such as the one in a backup's manifest
(backup verify shows it): --expect-head SEQ:HASH. Where retention has removed the oldest files, the chain itself says so, and
"from" is the head they ended with; when you have moved them elsewhere yourself, say it: --from SEQ:HASH. Exit code 4 means that
the chain is broken.`, func(context.Context) error {
		return v.run(args)
	})
	c.Args = func(_ *cobra.Command, given []string) error {
		args = given
		if (len(given) > 0) == (v.file != "") {
			return errors.New("name a folder, files, or --file")
		}
		return nil
	}
	c.Flags().StringVar(&v.file, "file", "", "audit file; the whole chain it belongs to is read")
	c.Flags().StringVar(&v.want.Head, "expect-head", "", "head that must occur in the chain")
	c.Flags().StringVar(&v.want.From, "from", "", "head that the files before those given ended with")
	return c
}

func (v *auditVerify) run(args []string) error {
	columns := []string{"entries", "head", "checkpoints", "linesAfterLastCheckpoint"}
	if len(args) == 1 && isFolder(args[0]) {
		list, err := v.folder(args[0])
		if len(list) > 0 {
			v.limits()
		}
		if perr := v.print(list, append([]string{"chain"}, columns...)...); err == nil {
			err = perr
		}
		return err
	}
	files := args
	if v.file != "" {
		var err error
		if files, err = chainFiles(v.file); err != nil {
			return err
		}
	}
	out, err := v.chain(files)
	if err != nil {
		return err
	}
	v.limits()
	return v.print(out, columns...)
}

// limits says what was not looked at.
func (v *auditVerify) limits() {
	if v.want.Head == "" {
		v.note("Without --expect-head, lines cut off at the end are not noticed.")
	}
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// folder verifies every chain in dir. One that is broken does not keep the others from being looked at.
func (v *auditVerify) folder(dir string) ([]auditReport, error) {
	chains, err := audit.Chains(dir)
	if err != nil {
		return nil, fmt.Errorf("list audit files: %w", err)
	}
	if len(chains) == 0 {
		return nil, fmt.Errorf("%s has no audit files (*.jsonl)", dir)
	}
	if len(chains) > 1 && v.want != (audit.Expect{}) {
		return nil, fmt.Errorf("%s has %d chains; --expect-head and --from are about one: use --file", dir, len(chains))
	}
	list, bad := []auditReport{}, []error(nil)
	for _, c := range chains {
		files, err := chainFiles(c)
		var r auditReport
		if err == nil {
			r, err = v.chain(files)
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		r.Chain = filepath.Base(c)
		list = append(list, r)
	}
	return list, errors.Join(bad...)
}

// chainFiles are the files of the chain that path names, or is a file of.
func chainFiles(path string) ([]string, error) {
	segments, err := audit.Segments(path)
	var out []string
	for _, s := range segments {
		out = append(out, s.Path)
	}
	if err == nil && len(out) == 0 {
		err = &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	if err != nil {
		return nil, fmt.Errorf("read the audit file: %w", err)
	}
	return out, nil
}

func (v *auditVerify) chain(files []string) (auditReport, error) {
	p := v.progress("audit")
	var n uint64
	rep, err := audit.VerifyFiles(files, v.want, func(audit.Entry) error {
		n++
		if n%1000 == 0 {
			p.say(fmt.Sprintf("%d entries", n))
		}
		return nil
	})
	p.end()
	if err != nil {
		return auditReport{}, err
	}
	out := auditReport{Entries: n, Head: rep.Head.String(), Checkpoints: rep.Checkpoints, Since: rep.SinceCheck, Signers: []string{}, BackSteps: rep.BackSteps}
	if rep.From.Seq > 0 {
		out.From = rep.From.String()
		v.note(fmt.Sprintf("The lines up to %d are in files that are no longer here; line %d is a signed checkpoint of what they ended with.", rep.From.Seq, rep.From.Seq+1))
	}
	if rep.BackSteps > 0 {
		v.note(fmt.Sprintf("The time goes back by more than a minute at %d lines, first at line %d: the clock was set back, or entries waited for their file. Their order is that of the numbers.", rep.BackSteps, rep.FirstBack))
	}
	for _, s := range rep.Signers {
		out.Signers = append(out.Signers, hex.EncodeToString(s))
	}
	if len(rep.Files) > 1 {
		for _, f := range rep.Files {
			out.Files = append(out.Files, filepath.Base(f.Path))
		}
	}
	return out, nil
}
