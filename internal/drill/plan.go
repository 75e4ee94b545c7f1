package drill

import (
	"fmt"
	"slices"

	"redoubt/internal/key"
)

// Mixes of key types.
const (
	MixAll = "all" // every type, RSA in a share that keeps a hundred keys quick
	MixEC  = "ec"  // one key of each type, elliptic curves for the rest: for large numbers
)

// Limits of Options.Keys. Fewer keys cannot show everything; more would not be a rehearsal. ExtraKeys is
// how many keys the drill makes besides; an HSM must have room for them.
const (
	MinKeys   = 13
	MaxKeys   = 200_000
	ExtraKeys = 1
)

// fate is what happens to a key before the backup.
type fate string

const (
	fateNone     fate = ""
	fateDisabled fate = "disabled" // attributes.enabled false
	fateExpired  fate = "expired"  // attributes.exp in the past: verify and decrypt still work
	fateDeleted  fate = "deleted"  // soft-deleted
)

// keyPlan is one key name and what is made under it.
type keyPlan struct {
	index    int
	name     string
	spec     key.Spec
	versions int
	fate     fate
	sample   bool // shows every algorithm of its type
	narrow   bool // may do less than its type can
	dated    bool // has nbf and exp
	tagged   bool
	changed  bool // attributes and tags are changed after creation
	ruled    bool // has a rotation policy, which makes its later versions
	released bool // is exportable, with a release policy
}

// kinds is one of each kind of key, in the order in which a plan begins.
var kinds = []key.Spec{
	{Type: key.RSA, Bits: 2048}, {Type: key.RSA, Bits: 3072}, {Type: key.RSA, Bits: 4096},
	{Type: key.EC, Curve: key.P256}, {Type: key.EC, Curve: key.P384}, {Type: key.EC, Curve: key.P521},
	{Type: key.Oct, Bits: 128}, {Type: key.Oct, Bits: 192}, {Type: key.Oct, Bits: 256},
	{Type: key.EC, Curve: key.P256K},
}

// cycles are what follows, as indices into kinds. An RSA-4096 key costs a second or more to make, and is
// therefore rare.
var cycles = map[string][]int{
	MixAll: {3, 0, 8, 4, 3, 6, 0, 5, 3, 8, 1, 3, 0, 7, 4, 9, 8, 5, 0, 0, 3, 0, 8, 4, 3, 6, 0, 5, 3, 8, 1, 3, 0, 7, 4, 3, 8, 5, 0, 2},
	MixEC:  {3, 3, 4, 3, 9, 5, 3, 4, 3, 3},
}

// newPlan is the keys of a drill, the same for the same arguments.
func newPlan(keys int, mix string) ([]keyPlan, error) {
	cycle := cycles[mix]
	if cycle == nil {
		return nil, fmt.Errorf("--mix %q: choose %s or %s", mix, MixAll, MixEC)
	}
	if keys < MinKeys || keys > MaxKeys {
		return nil, fmt.Errorf("--keys %d: choose %d to %d", keys, MinKeys, MaxKeys)
	}
	out := make([]keyPlan, keys)
	for i := range out {
		k := i
		if i >= len(kinds) {
			k = cycle[(i-len(kinds))%len(cycle)]
		}
		out[i] = plannedKey(i, kinds[k])
	}
	return out, nil
}

func plannedKey(i int, s key.Spec) keyPlan {
	p := keyPlan{index: i, name: fmt.Sprintf("drill-%s-%05d", short(s), i), spec: s, versions: 1,
		sample: i < len(kinds), dated: i%5 == 1, tagged: i%3 != 0, changed: i%9 == 4, ruled: i%4 == 0, released: i%5 == 3}
	cheap := s.Type != key.RSA
	switch {
	case i%6 == 2 && cheap:
		p.versions = 3
	case i%6 == 2 && s.Bits == 2048 || i == 10:
		p.versions = 2
	}
	if !p.sample {
		p.narrow = i%8 == 6
		p.fate = map[int]fate{10: fateDeleted, 11: fateDisabled, 12: fateExpired}[i%25]
	}
	return p
}

func short(s key.Spec) string {
	switch s.Type {
	case key.RSA:
		return fmt.Sprintf("rsa%d", s.Bits)
	case key.Oct:
		return fmt.Sprintf("oct%d", s.Bits)
	default:
		return "p" + string(s.Curve[2:])
	}
}

// ops is the key_ops that a key is made with; nil leaves them to the HSM.
func (p keyPlan) ops() []string {
	switch {
	case p.spec.Type == key.RSA && p.narrow:
		return []string{"sign", "verify"}
	case p.spec.Type == key.Oct && !p.narrow:
		return []string{"decrypt", "encrypt", "unwrapKey", "sign", "verify", "wrapKey"}
	}
	return nil
}

// may tells whether the key can serve a use.
func (p keyPlan) may(use key.Use) bool {
	if p.narrow && (p.spec.Type == key.RSA && use != key.UseSign || p.spec.Type == key.Oct && use == key.UseSign) {
		return false
	}
	return len(key.Allowed(p.spec, use)) > 0
}

// cost orders keys for making: the expensive ones go first, so that they do not end up alone at the end.
func (p keyPlan) cost() int {
	if p.spec.Type == key.RSA {
		return p.spec.Bits
	}
	return 0
}

// byCost is the plan in the order in which keys are made.
func byCost(plan []keyPlan) []keyPlan {
	out := slices.Clone(plan)
	slices.SortStableFunc(out, func(a, b keyPlan) int { return b.cost() - a.cost() })
	return out
}

// versionsOf counts all versions of a plan.
func versionsOf(plan []keyPlan) (n int) {
	for _, p := range plan {
		n += p.versions
	}
	return n
}

// rotationsOf counts the versions that are made by rotating.
func rotationsOf(plan []keyPlan) (n int) {
	for _, p := range plan {
		if p.ruled {
			n += p.versions - 1
		}
	}
	return n
}
