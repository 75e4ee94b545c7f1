package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
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
		switch since := j.docs.since(r.id()); {
		case name == "":
			j.found(exchange{}, r.id(), "the device's operation table has no such row")
		case j.row(name).Since != since:
			j.found(exchange{}, r.id(), "is in the documents since %s, in the device's operation table since %s", since, j.row(name).Since)
		case complete && len(j.exercised[name]) == 0:
			j.found(exchange{}, r.id(), "no program exercised it")
		}
	}
}

// compareVersions asks a complete run for a request of every api-version.
func (j *judge) compareVersions() {
	for _, v := range claimed {
		if !j.used[v] {
			j.found(exchange{}, "api-version "+v, "no program used it")
		}
	}
}

// since is the first api-version that has an operation.
func (d documents) since(id string) string {
	for _, version := range claimed {
		if slices.ContainsFunc(d[version], func(r *route) bool { return r.id() == id }) {
			return version
		}
	}
	return ""
}

// row is the table's row with this name.
func (j *judge) row(name string) operation {
	return j.table[slices.IndexFunc(j.table, func(op operation) bool { return op.Name == name })]
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

// list is every operation of the documents with the first api-version that has it.
func (d documents) list() []byte {
	document := map[string]string{}
	for _, version := range claimed {
		for _, r := range d[version] {
			document[r.id()] = r.document // the newest one's; administration took the place of three others
		}
	}
	var b bytes.Buffer
	b.WriteString("# The operations of the data plane up to " + claimed[len(claimed)-1] + ": document, first api-version, method, path. Written by `make compat UPDATE=1`.\n")
	order := func(x, y string) int {
		xm, xp, _ := strings.Cut(x, " ")
		ym, yp, _ := strings.Cut(y, " ")
		return cmp.Or(rank(document[x])-rank(document[y]), strings.Compare(document[x], document[y]), strings.Compare(xp, yp), strings.Compare(xm, ym))
	}
	for _, id := range slices.SortedFunc(maps.Keys(document), order) {
		fmt.Fprintf(&b, "%s %s %s\n", document[id], d.since(id), id)
	}
	return b.Bytes()
}

// rank puts the keys document first.
func rank(document string) int {
	if document == "keys" {
		return 0
	}
	return 1
}

// compare compares a list with the committed one, or writes it.
func compare(path string, got []byte, update bool) error {
	if update {
		return os.WriteFile(path, got, 0o644)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is stale; make compat UPDATE=1 writes it. It should be\n%s", path, got)
	}
	return nil
}
