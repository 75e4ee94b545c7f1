package rbac

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	tablePeople = []string{"p1", "p2", "p3", "g1"}
	tableScopes = []Scope{"/", "/keys", "/keys/a", "/keys/A", "/keys/ab", "/keys/b"}
)

// tableActions are some that built-in roles have and some that they do not have.
var tableActions = []Action{KeysSign, KeysRead, RoleAssignmentsWrite, BackupStart}

// says is everything that a table of these people, scopes, actions and roles says.
func (t *Table) says(roles []DefinitionID) []int {
	out := []int{t.Len(), t.Administrators()}
	note := func(b bool) {
		if b {
			out = append(out, 1)
		} else {
			out = append(out, 0)
		}
	}
	for _, s := range tableScopes {
		out = append(out, t.CountAt(s))
		for _, who := range tablePeople {
			for _, p := range []Principal{{ID: who}, {ID: "nobody", Groups: []string{who, "p1"}}} {
				note(t.Knows(p))
				for _, a := range tableActions {
					note(t.Allow(p, a, s))
				}
			}
			for _, r := range roles {
				_, ok := t.Find(who, r, s)
				note(ok)
			}
		}
	}
	return out
}

// TestChangedTableIsACompiledOne: whatever changes led to a table, it says what one says that is compiled of what there
// is then, and the tables before stay as they were.
func TestChangedTableIsACompiledOne(t *testing.T) {
	t.Parallel()
	roles := []DefinitionID{Administrator, CryptoUser, CryptoAuditor, "custom1", "custom2"}
	rapid.Check(t, func(rt *rapid.T) {
		var as []Assignment
		custom := map[DefinitionID]Definition{}
		list := func() (out []Definition) {
			for _, d := range custom {
				out = append(out, d)
			}
			return out
		}
		draw := func(i int) Assignment {
			return Assignment{ID: fmt.Sprint("id", i), Scope: rapid.SampledFrom(tableScopes).Draw(rt, "scope"), Principal: rapid.SampledFrom(tablePeople).Draw(rt, "principal"), Definition: rapid.SampledFrom(roles).Draw(rt, "role")}
		}
		next := 0
		for range rapid.IntRange(0, 40).Draw(rt, "at first") {
			as, next = append(as, draw(next)), next+1
		}
		table, err := Compile(as, nil)
		if err != nil {
			rt.Fatal(err)
		}
		first, said := table, table.says(roles)
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			switch id := rapid.SampledFrom(roles[3:]).Draw(rt, "custom"); rapid.IntRange(0, 3).Draw(rt, "change") {
			case 0:
				a := draw(next)
				as, next, table = append(as, a), next+1, table.With(a)
			case 1:
				if len(as) > 0 {
					i := rapid.IntRange(0, len(as)-1).Draw(rt, "which")
					table = table.Without(as[i])
					as = slices.Delete(as, i, i+1)
				}
			case 2:
				d := Definition{ID: id, DataActions: SetOf(rapid.SliceOfN(rapid.SampledFrom(tableActions), 0, 3).Draw(rt, "actions")...).Names()}
				custom[id] = d
				if table, err = table.WithDefinition(d); err != nil {
					rt.Fatal(err)
				}
			case 3:
				delete(custom, id)
				table = table.WithoutDefinition(id)
			}
			fresh, err := Compile(as, list())
			if err != nil {
				rt.Fatal(err)
			}
			if got, want := table.says(roles), fresh.says(roles); !slices.Equal(got, want) {
				rt.Fatalf("the changed table says\n%v\nwant\n%v", got, want)
			}
		}
		if !slices.Equal(first.says(roles), said) {
			rt.Fatal("a change of a table changed the one before")
		}
	})
}

func TestTableRefusesBadDefinition(t *testing.T) {
	t.Parallel()
	table, err := Compile(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.WithDefinition(Definition{ID: "x", DataActions: []string{"fly"}}); err == nil {
		t.Error("a role of unknown actions")
	}
	// A stored role does not take the place of a built-in one.
	table, err = table.With(Assignment{ID: "a", Scope: "/", Principal: "p", Definition: CryptoAuditor}).WithDefinition(Definition{ID: CryptoAuditor, DataActions: SetOf(KeysSign).Names()})
	if p := (Principal{ID: "p"}); err != nil || table.Allow(p, KeysSign, "/") || !table.Allow(p, KeysRead, "/") || !table.WithoutDefinition(CryptoAuditor).Allow(p, KeysRead, "/") {
		t.Errorf("a built-in role was redefined: %v", err)
	}
}

// manyAssignments are n, one principal having ten of them on keys, as many as one key can have for each key.
func manyAssignments(n int) []Assignment {
	out := make([]Assignment, n)
	for i := range out {
		out[i] = Assignment{ID: fmt.Sprintf("%08x-0000-4000-8000-000000000000", i), Principal: fmt.Sprintf("00000000-0000-4000-8000-%012x", i/10), Definition: CryptoUser,
			Scope: Scope(fmt.Sprintf("/keys/key-%d", i%max(1, n/10)))}
	}
	return out
}

// BenchmarkTable: with 10, 1,000 and 100,000 assignments, what a check costs, a change, compiling the table, and how many bytes an
// assignment keeps in memory.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		as := manyAssignments(n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		table, err := Compile(as, nil)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		perAssignment := float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
		p := Principal{ID: as[n/2].Principal}
		b.Run(fmt.Sprintf("check/allowed/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !table.Allow(p, KeysSign, as[n/2].Scope) {
					b.Fatal("refused")
				}
			}
			b.ReportMetric(perAssignment, "B/assignment")
		})
		b.Run(fmt.Sprintf("check/refused/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if table.Allow(p, KeysSign, "/keys/none") {
					b.Fatal("allowed")
				}
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Without(as[n/2])
			}
		})
		b.Run(fmt.Sprintf("compile/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(as, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
