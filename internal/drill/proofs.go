package drill

import (
	"fmt"
	"strings"
	"sync"
)

// Outcomes of a proof.
const (
	proofHeld       = "held"
	proofFailed     = "failed"
	proofNotReached = "not reached"
)

// maxDetails bounds what a failed proof prints.
const maxDetails = 10

// The proofs by name. The names are part of the report's format.
const (
	proofActivation   = "activation-required"
	proofDestroyed    = "source-destroyed"
	proofQuorum       = "quorum-enforced"
	proofDomain       = "domain-identical"
	proofRestorePoint = "restore-point-required"
	proofInventory    = "inventory-identical"
	proofOldSigs      = "old-signatures-verify"
	proofOldCiphers   = "old-ciphertexts-open"
	proofNewSigs      = "old-public-keys-hold"
	proofRoles        = "roles-enforced"
	proofDisabled     = "disabled-keys-refused"
	proofDeleted      = "deleted-keys-recovered"
	proofLost         = "recovery-point-exact"
	proofAudit        = "audit-chains-whole"
)

// proofTitles says what each proof shows, in the order of the report.
var proofTitles = []struct{ name, title string }{
	{proofActivation, "before its security domain is there, an HSM refuses every use"},
	{proofDestroyed, "of the source HSM nothing is left: name, sealed root, records"},
	{proofQuorum, "fewer holders than the quorum, or the same one twice, cannot open the security domain"},
	{proofDomain, "the rebuilt HSM has the security domain of the source"},
	{proofRestorePoint, "a full restore without a fresh backup of what it replaces is refused"},
	{proofInventory, "keys, versions, attributes, tags, deleted keys, roles and settings are identical"},
	{proofOldSigs, "signatures made before the disaster verify, on the HSM and outside"},
	{proofOldCiphers, "ciphertexts and wrapped keys made before the disaster open"},
	{proofNewSigs, "new signatures verify, and new ciphertexts open, under the public keys of before"},
	{proofRoles, "role assignments allow and refuse exactly what they did"},
	{proofDisabled, "disabled and expired keys refuse what they must"},
	{proofDeleted, "soft-deleted keys recover with all their versions"},
	{proofLost, "what was written after the backup is gone, and nothing else"},
	{proofAudit, "the audit chains of both HSMs are whole and tell of backup, recovery and restore"},
}

// Proof is the result of one proof.
type Proof struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Outcome string   `json:"outcome"`
	Checked int      `json:"checked"`
	Failed  int      `json:"failed"`
	Details []string `json:"details,omitempty"` // what was amiss, at most 10 lines
}

// tally collects the checks of one proof. Its methods may be called from any goroutine.
type tally struct {
	mu       sync.Mutex
	complete bool
	checked  int
	failed   int
	details  []string
}

// check counts one check; the text says what was amiss if it is not ok.
func (t *tally) check(ok bool, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checked++
	if ok {
		return
	}
	t.failed++
	if len(t.details) < maxDetails {
		t.details = append(t.details, clip(fmt.Sprintf(format, args...), 300))
	} else if len(t.details) == maxDetails {
		t.details = append(t.details, "... and more")
	}
}

// done says that all checks of the proof were made.
func (t *tally) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.complete = true
}

func (t *tally) result(name, title string) Proof {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Proof{Name: name, Title: title, Outcome: proofHeld, Checked: t.checked, Failed: t.failed, Details: t.details}
	switch {
	case t.failed > 0:
		p.Outcome = proofFailed
	case !t.complete:
		p.Outcome = proofNotReached
	case t.checked == 0:
		p.Outcome, p.Details = proofFailed, []string{"nothing was checked"}
	}
	return p
}

// proofs are the tallies of a drill.
type proofs struct{ byName map[string]*tally }

func newProofs() *proofs {
	p := &proofs{byName: map[string]*tally{}}
	for _, t := range proofTitles {
		p.byName[t.name] = &tally{}
	}
	return p
}

func (p *proofs) of(name string) *tally { return p.byName[name] }

func (p *proofs) results() []Proof {
	var out []Proof
	for _, t := range proofTitles {
		out = append(out, p.byName[t.name].result(t.name, t.title))
	}
	return out
}

// failure is nil if every proof held; else it names those that did not, with their first finding.
func (p *proofs) failure() error {
	var bad []string
	for _, r := range p.results() {
		if r.Outcome != proofHeld {
			text := r.Name
			if len(r.Details) > 0 {
				text += " (" + clip(r.Details[0], 160) + ")"
			}
			bad = append(bad, text)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d proofs failed: %s", len(bad), len(proofTitles), strings.Join(bad, "; "))
}

// clip shortens a text that came from elsewhere.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\n", " "), "?")
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "..."
	}
	return s
}
