package drill

import (
	"reflect"
	"strings"
	"testing"

	"redoubt/internal/key"
)

func TestPlanCoversEverything(t *testing.T) {
	t.Parallel()
	for _, mix := range []string{MixAll, MixEC} {
		for _, n := range []int{MinKeys, 100, 1000} {
			plan, err := newPlan(n, mix)
			if err != nil || len(plan) != n {
				t.Fatalf("%d keys, %s: %d, %v", n, mix, len(plan), err)
			}
			specs, fates, names, algs := map[key.Spec]bool{}, map[fate]bool{}, map[string]bool{}, map[string]bool{}
			several, released := false, 0
			for _, p := range plan {
				specs[p.spec], fates[p.fate], names[p.name] = true, true, true
				several = several || p.versions > 1
				if p.released && p.versions > 1 {
					released++
				}
				if _, err := key.ParseName(p.name); err != nil {
					t.Error(err)
				}
				for v := range p.versions {
					for _, u := range p.plannedUses(v) {
						algs[p.spec.String()+" "+u.Op+" "+u.Alg] = true
					}
				}
			}
			if released == 0 {
				t.Errorf("%d keys, %s: no exportable key has several versions", n, mix)
			}
			if rotationsOf(plan) == 0 {
				t.Errorf("%d keys, %s: nothing is rotated", n, mix)
			}
			if len(specs) != len(kinds) || len(fates) != 4 || len(names) != n || !several {
				t.Errorf("%d keys, %s: %d specs, fates %v, %d names, several versions %v", n, mix, len(specs), fates, len(names), several)
			}
			for _, s := range kinds {
				for op, use := range map[string]key.Use{opSign: key.UseSign, opEncrypt: key.UseEncrypt, opWrap: key.UseWrap} {
					for _, alg := range key.Allowed(s, use) {
						if !algs[s.String()+" "+op+" "+string(alg)] {
							t.Errorf("%d keys, %s: nothing is done with %s, %s %s", n, mix, s, op, alg)
						}
					}
				}
			}
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keys      int
		mix, says string
	}{{MinKeys - 1, MixAll, "choose 13 to"}, {-1, MixAll, "choose"}, {MaxKeys + 1, MixEC, "choose"}, {100, "rsa", "all or ec"}} {
		if _, err := newPlan(c.keys, c.mix); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d keys, mix %q: %v", c.keys, c.mix, err)
		}
	}
}

// A key is asked for nothing that its key_ops leave out.
func TestPlannedUsesKeepToOps(t *testing.T) {
	t.Parallel()
	plan, err := newPlan(500, MixAll)
	if err != nil {
		t.Fatal(err)
	}
	wire := map[string]string{opSign: "sign", opEncrypt: "encrypt", opWrap: "wrapKey"}
	for _, p := range plan {
		ops, err := key.ParseOps(p.spec.Type, p.ops())
		if err != nil {
			t.Fatal(err)
		}
		may := map[string]bool{}
		for _, o := range ops {
			may[string(o)] = true
		}
		for v := range p.versions {
			uses := p.plannedUses(v)
			if len(uses) == 0 {
				t.Errorf("%s, version %d is not used", p.name, v)
			}
			for _, u := range uses {
				if !may[wire[u.Op]] {
					t.Errorf("%s may %v and is used to %s", p.name, ops, u.Op)
				}
				if err := key.Algorithm(u.Alg).Check(p.spec, map[string]key.Use{opSign: key.UseSign, opEncrypt: key.UseEncrypt, opWrap: key.UseWrap}[u.Op], len(u.Input)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestExpensiveKeysComeFirst(t *testing.T) {
	t.Parallel()
	plan, err := newPlan(200, MixAll)
	if err != nil {
		t.Fatal(err)
	}
	sorted := byCost(plan)
	for i := range sorted[1:] {
		if sorted[i].cost() < sorted[i+1].cost() {
			t.Fatalf("%s before %s", sorted[i].name, sorted[i+1].name)
		}
	}
	if again, _ := newPlan(200, MixAll); !reflect.DeepEqual(plan, again) {
		t.Error("the plan is not always the same")
	}
	if versionsOf(plan) <= len(plan) {
		t.Error("no key has several versions")
	}
}
