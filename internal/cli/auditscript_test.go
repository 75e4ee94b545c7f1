package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"redoubt/internal/audit"
)

// mkAudit FILE ENTRIES [SIZE [KEEP]]: an audit chain with a checkpoint at its end, in files of SIZE bytes, of which KEEP are kept.
func mkAudit(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var o audit.Options
	if len(args) > 2 {
		if o.RotateSize, err = strconv.ParseInt(args[2], 10, 64); err != nil {
			return err
		}
	}
	if len(args) > 3 {
		if o.Keep, err = strconv.Atoi(args[3]); err != nil {
			return err
		}
	}
	l, err := audit.OpenWith(args[0], o)
	if err != nil {
		return err
	}
	signer := testRoot().LocalSigner("11111111-1111-4111-8111-111111111111")
	for i := range n {
		e := audit.Entry{ID: fmt.Sprintf("id-%d", i), Time: time.Unix(int64(i), 0).UTC(), Operation: "KeyCreate", Result: "Success"}
		if i%5 == 4 {
			if len(args) > 2 {
				e.CallerIP, e.RequestID = fmt.Sprintf("192.0.2.%d", i), fmt.Sprintf("request-%d", i)
			}
			e.Operation, e.Result, e.Status, e.Principal, e.UPN, e.Target = "KeySign", "Denied", 403, "11111111-1111-4111-8111-111111111111", "someone@contoso.com", "/keys/Rsa"
		}
		if err := l.Append([]audit.Entry{e}, false); err != nil {
			return err
		}
		if err := rotate(l, signer); err != nil {
			return err
		}
	}
	fmt.Println(l.Head())
	return errors.Join(l.Checkpoint(signer), l.Close())
}

// dropFile FOLDER N: removes the file of the Nth part of the one chain in it, from 0.
func dropFile(args []string) error {
	chains, err := audit.Chains(args[0])
	if err != nil {
		return err
	}
	parts, err := audit.Segments(chains[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return os.Remove(parts[n].Path)
}

// rotate does what the owner of a log does with one that is full.
func rotate(l *audit.Log, s audit.Signer) error {
	if !l.Due() {
		return nil
	}
	if err := l.Rotate(s); err != nil {
		return err
	}
	r, ok, err := l.Excess()
	if err != nil || !ok {
		return err
	}
	if err := l.Append([]audit.Entry{{ID: "removed-" + r.Through.String(), Operation: audit.FilesRemoved, Result: "Success", Time: time.Unix(9, 0).UTC(), Details: r.Details()}}, true); err != nil {
		return err
	}
	return l.Remove(r)
}
