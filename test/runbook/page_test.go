package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const pagePath = "../../docs/runbooks/disaster-recovery.md"

func openPage(t *testing.T) page {
	t.Helper()
	p, err := readPage(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// publishedCommands are the command lines of the published document, letter for letter, in its order.
func publishedCommands(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("published-commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// The numbered sections are the published commands: all of them, in their order, unmodified, and nothing else.
func TestPageHoldsPublishedCommands(t *testing.T) {
	t.Parallel()
	var got []string
	for _, b := range openPage(t).Blocks {
		if published(b.Section) {
			got = append(got, strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n")...)
		}
	}
	want := publishedCommands(t)
	if len(want) < 17 {
		t.Fatalf("published-commands.txt has %d lines; the document has 17", len(want))
	}
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("command %d of the page\n got %q\nwant %q", i+1, g, w)
		}
	}
}

// The table changes only what it must: placeholders, the folder, and the flag that the client demands.
func TestSubstitutionsAreFew(t *testing.T) {
	t.Parallel()
	p := openPage(t)
	all := strings.Join(publishedCommands(t), "\n")
	var printed []string
	for _, c := range p.Changes {
		printed = append(printed, c.Printed)
		if !strings.Contains(all, c.Printed) {
			t.Errorf("%q stands in no published command", c.Printed)
		}
	}
	want := []string{"subid", "mhsmrgname", "mhsm-ContosoMHSM-2020083120161860", "--administrators $oid"}
	if !slices.Equal(printed, want) {
		t.Errorf("the table changes %q, want %q: another change needs a reason", printed, want)
	}
}

// The runner goes through the page by these names; a section it does not know would not be executed.
func TestPageSections(t *testing.T) {
	t.Parallel()
	var plan []string
	plan = append(plan, beforeSections...)
	plan = append(plan, rebuildSections...)
	if got := openPage(t).sections(); !slices.Equal(got, plan) {
		t.Errorf("the page's sections are\n%q\nthe runner's plan is\n%q", got, plan)
	}
}

func TestParsePageRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"block of no language": "```\nls\n```\n",
		"unknown method":       "```sh floppy\nls\n```\n",
		"open block":           "## A\n```sh\nls\n",
		"table without marks":  "| Printed | Write | Why |\n| --- | --- | --- |\n| subid | `x` | y |\n",
		"table of two cells":   "| Printed | Write |\n| --- | --- |\n| `a` | `b` |\n",
	} {
		if _, err := parsePage(text); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestRewriteForOwnTool(t *testing.T) {
	t.Parallel()
	got := ownTool("a=$(az keyvault key create -n x)\naz keyvault key sign -n x\naz keyvault update-hsm -h y\naz storage account list\n")
	want := "a=$(redoubt key create -n x)\naz keyvault key sign -n x\nredoubt update-hsm -h y\naz storage account list\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
