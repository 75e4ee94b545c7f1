package hsm

import (
	"encoding/json"
	"fmt"

	"redoubt/internal/seal"
)

// State is the device's state. The zero value is invalid. The drawing is in docs/architecture.md.
type State string

// The states.
const (
	Provisioned State = "Provisioned" // created; no security domain taken
	Recovering  State = "Recovering"  // exchange key given out, waiting for a security domain
	Active      State = "Active"
	Restoring   State = "Restoring" // a full restore is replacing the content
	Sealed      State = "Sealed"    // restarted; root not back yet. Never stored
	Degraded    State = "Degraded"  // store without quorum. Never stored
	Deleted     State = "Deleted"   // the resource is soft-deleted. Kept by fleet, never stored here
)

// device is the one record that says what this HSM is now. Every change of state, root or generation is
// a change of this record, and every mutation of content is conditional on it being unchanged: so a
// restore or an activation that commits makes all mutations begun before it start again or fail.
type device struct {
	Format     int             `json:"format"`
	ID         string          `json:"id"`
	State      State           `json:"state"`
	Generation string          `json:"generation"` // content lives under g/<generation>/
	Root       string          `json:"root"`       // id of the sealed root in use
	Epoch      uint32          `json:"epoch"`
	DomainID   string          `json:"domain_id"`
	Lineage    string          `json:"lineage"` // changes whenever the content is replaced as a whole
	Admins     []string        `json:"admins"`  // initial administrators, object ids
	Backups    uint64          `json:"backups"` // sequence of full backups
	Roles      uint64          `json:"roles"`   // grows with every change of roles: compiled tables are tagged with it
	Job        string          `json:"job,omitempty"`
	Pending    *pendingDomain  `json:"pending,omitempty"`
	Domain     *domainProgress `json:"domain,omitempty"`
	Exchange   string          `json:"exchange,omitempty"` // fingerprint of the exchange key given out
	Warnings   []string        `json:"warnings,omitempty"`
	Point      *restorePoint   `json:"restore_point,omitempty"` // newest full backup
}

// restorePoint is where the newest successful full backup of this HSM is. It counts only while Lineage is
// the device's: a restore replaces the content it could bring back.
type restorePoint struct {
	Job      string `json:"job"`
	Lineage  string `json:"lineage"`
	URI      string `json:"uri"` // of the container, without credential
	Folder   string `json:"folder"`
	Identity bool   `json:"identity,omitempty"` // written with the HSM's managed identity
	Time     int64  `json:"time"`               // of the content, Unix seconds
}

// pendingDomain is a security domain handed out by a download whose poll has not come yet.
type pendingDomain struct {
	Root     string `json:"root"`
	DomainID string `json:"domain_id"`
	Required int    `json:"required"`
	Shares   int    `json:"shares"`
}

// domainProgress is the last security-domain operation, for the pending routes.
type domainProgress struct {
	Kind   string `json:"kind"` // "download" or "upload"
	Status string `json:"status"`
	Detail string `json:"detail"`
}

const deviceFormat = 1

func parseDevice(b []byte) (device, error) {
	var d device
	if err := json.Unmarshal(b, &d); err != nil {
		return device{}, fmt.Errorf("%w: device record: %v", ErrCorrupt, err)
	}
	if d.Format != deviceFormat {
		return device{}, fmt.Errorf("%w: device record has format %d, this program knows %d", ErrCorrupt, d.Format, deviceFormat)
	}
	return d, nil
}

func (d device) encode() []byte {
	b, _ := json.Marshal(d) // plain fields: cannot fail
	return b
}

// activated is d with the content of generation gen under root r: the one transition to Active that
// brings a security domain (by download or by upload).
func (d device) activated(gen, rootID string, r *seal.Root, how domainProgress) device {
	d.State, d.Generation, d.Root = Active, gen, rootID
	d.Epoch, d.DomainID, d.Lineage = r.Epoch(), r.DomainID(), newID()
	d.Pending, d.Exchange, d.Domain = nil, "", &how
	return d
}

// recovering is d after its exchange key was given out.
func (d device) recovering(fingerprint string) device {
	d.State, d.Exchange, d.Pending, d.Warnings = Recovering, fingerprint, nil, nil
	d.Domain = &domainProgress{Kind: "upload", Status: statusInProgress, Detail: "waiting for the security domain to be uploaded"}
	return d
}

// restoring is d while job replaces its content.
func (d device) restoring(job string) device {
	d.State, d.Job = Restoring, job
	return d
}

// restored is d after job replaced its content by generation gen.
func (d device) restored(gen string) device {
	d.State, d.Generation, d.Job, d.Lineage = Active, gen, "", newID()
	return d
}

// jobEnded is d after its job ended without replacing the content.
func (d device) jobEnded() device {
	if d.State == Restoring {
		d.State = Active
	}
	d.Job = ""
	return d
}

// The words of the security-domain status routes.
const (
	statusInProgress = "InProgress"
	statusSuccess    = "Success"
	statusFailed     = "Failed"
)
