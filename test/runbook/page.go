package main

import (
	"fmt"
	"os"
	"strings"
)

// block is one fenced block of shell commands of the runbook page.
type block struct {
	Section string // the heading of second rank above it
	Method  string // "", methodIdentity or methodSAS
	Line    int    // of its first command
	Text    string
}

// The two methods of the document, as the page's fences name them after "sh".
const (
	methodIdentity = "managed-identity"
	methodSAS      = "sas"
)

// change is one row of the page's table of substitutions.
type change struct{ Printed, Write string }

// page is docs/runbooks/disaster-recovery.md, as far as it is executed.
type page struct {
	Blocks  []block
	Changes []change
}

// published tells whether a section holds the published procedure; all others are the page's additions.
func published(section string) bool {
	return section != "" && section[0] >= '0' && section[0] <= '9'
}

func readPage(path string) (page, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return page{}, err
	}
	p, err := parsePage(string(text))
	if err != nil {
		return page{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// parsePage finds the blocks that are marked as sh, and the table whose header begins with Printed.
func parsePage(text string) (page, error) {
	var p page
	var section string
	var open *block
	table := false
	for i, line := range strings.Split(text, "\n") {
		fence, fenced := strings.CutPrefix(line, "```")
		switch {
		case open != nil && fenced:
			p.Blocks = append(p.Blocks, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		case fenced:
			method, ok := methodOf(fence)
			if !ok {
				return page{}, fmt.Errorf("line %d: %q: a block is sh, sh %s or sh %s, so that every one is executed", i+1, line, methodIdentity, methodSAS)
			}
			open = &block{Section: section, Method: method, Line: i + 2}
		case strings.HasPrefix(line, "## "):
			section = line[3:]
		case strings.HasPrefix(line, "| Printed |"):
			table = true
		case table && !strings.HasPrefix(line, "|"):
			table = false
		case table && !strings.HasPrefix(line, "| ---"):
			c, err := parseChange(line)
			if err != nil {
				return page{}, fmt.Errorf("line %d: %w", i+1, err)
			}
			p.Changes = append(p.Changes, c)
		}
	}
	if open != nil {
		return page{}, fmt.Errorf("line %d: the block is never closed", open.Line)
	}
	return p, nil
}

func methodOf(fence string) (string, bool) {
	switch fence {
	case "sh":
		return "", true
	case "sh " + methodIdentity, "sh " + methodSAS:
		return fence[3:], true
	}
	return "", false
}

// parseChange reads a row: | `printed` | `write` | why |
func parseChange(row string) (change, error) {
	cells := strings.Split(row, "|")
	if len(cells) != 5 {
		return change{}, fmt.Errorf("%q: want three cells", row)
	}
	var c change
	for i, dst := range []*string{&c.Printed, &c.Write} {
		cell := strings.TrimSpace(cells[i+1])
		inner := strings.Trim(cell, "`")
		if len(inner) != len(cell)-2 || inner == "" {
			return change{}, fmt.Errorf("%q: want `text`", cell)
		}
		*dst = inner
	}
	return c, nil
}

// commands is a block as it is executed: the table's changes apply to the published sections only.
func (p page) commands(b block) string {
	text := b.Text
	if published(b.Section) {
		for _, c := range p.Changes {
			text = strings.ReplaceAll(text, c.Printed, c.Write)
		}
	}
	return text
}

// sections are the page's headings above blocks, in order.
func (p page) sections() []string {
	var out []string
	for _, b := range p.Blocks {
		if len(out) == 0 || out[len(out)-1] != b.Section {
			out = append(out, b.Section)
		}
	}
	return out
}
