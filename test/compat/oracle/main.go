// Command oracle validates the recording of the compat run against Microsoft's OpenAPI documents: every request and
// every answer against the document of its api-version. It fails when
//
//   - a request has no operation in that document, or has a query parameter or body that the document does not allow;
//   - an answer has another status, or a body with a wrong type, a missing or an unknown member;
//   - an answer of the control plane about managed HSMs is not what the document of its api-version has, or, in a complete
//     run, an operation of those documents was not asked for;
//   - an operation of the newest keys document has no row in the device's operation table, or, in a complete run, was not
//     exercised by any program; or one of the api-versions was not used;
//   - the committed list of who exercises what is not what the recording shows, or the committed list of operations is
//     not that of the documents.
//
// It is a module of its own, so that the validator never enters the product's go.sum.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// options are the flags.
type options struct {
	documents, control, recording, table, lists string
	complete, update                            bool
}

func main() {
	var o options
	flag.StringVar(&o.documents, "documents", "", "folder with the OpenAPI documents, a folder for each api-version")
	flag.StringVar(&o.control, "control", "", "folder with the OpenAPI documents of the control plane, likewise")
	flag.StringVar(&o.recording, "recording", "", "folder with the recording, *.jsonl")
	flag.StringVar(&o.table, "table", "", "file with the device's operation table, JSON")
	flag.StringVar(&o.lists, "lists", "", "folder with exercised.txt and operations.txt")
	flag.BoolVar(&o.complete, "complete", false, "all programs ran: every operation of the newest keys document must have been exercised")
	flag.BoolVar(&o.update, "update", false, "write the lists")
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// operation is one row of the device's table.
type operation struct {
	Name  string
	Route string // method and path as in the documents
	Since string // first api-version
}

func run(o options, out io.Writer) error {
	docs, err := loadDocuments(o.documents)
	if err != nil {
		return err
	}
	var table []operation
	b, err := os.ReadFile(o.table)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &table); err != nil {
		return fmt.Errorf("%s: %w", o.table, err)
	}
	j := newJudge(docs, table)
	if j.control, err = loadControl(o.control); err != nil {
		return err
	}
	if err := readRecording(o.recording, j.exchange); err != nil {
		return err
	}
	if j.count == 0 {
		return errors.New("the recording is empty")
	}
	j.compareTable(o.complete)
	if o.complete {
		j.compareVersions()
		j.compareControl()
	}
	errs := []error{j.report(out), compare(filepath.Join(o.lists, "operations.txt"), docs.list(), o.update)}
	if o.complete {
		errs = append(errs, compare(filepath.Join(o.lists, "exercised.txt"), j.list(), o.update))
	}
	return errors.Join(errs...)
}
