package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// programs in the order in which they are listed.
var programs = []string{"go", "python", "node", "java", "az"}

// compareTable asks for a row of the device's table for every operation of the newest keys document, and in a
// complete run for a program that exercised it.
func (j *judge) compareTable(complete bool) {
	for _, r := range j.docs[newest] {
		if r.document != "keys" {
			continue
		}
		name := j.names[strings.ToLower(r.id())]
		switch {
		case name == "":
			j.found(exchange{}, r.id(), "the device's operation table has no such row")
		case complete && len(j.exercised[name]) == 0:
			j.found(exchange{}, r.id(), "no program exercised it")
		}
	}
}

// list is who exercised what, one operation of the table a line.
func (j *judge) list() []byte {
	var b bytes.Buffer
	b.WriteString("# Which program of the compat run exercises which operation, successfully. Written by `make compat UPDATE=1`.\n")
	for _, op := range j.table {
		by := slices.DeleteFunc(slices.Clone(programs), func(p string) bool { return !j.exercised[op.Name][p] })
		if len(by) > 0 {
			fmt.Fprintf(&b, "%s: %s\n", op.Name, strings.Join(by, " "))
		}
	}
	return b.Bytes()
}

// compareExercised compares the list with the committed one, or writes it.
func (j *judge) compareExercised(path string, update bool) error {
	got := j.list()
	if update {
		return os.WriteFile(path, got, 0o644)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is not what the recording shows; make compat UPDATE=1 writes it. It should be\n%s", path, got)
	}
	return nil
}
