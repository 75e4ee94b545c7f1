package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/fleet"
	"redoubt/internal/hsm"
)

const hsmType = "Microsoft.KeyVault/managedHSMs"

type hsmResource struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	SKU        sku               `json:"sku"`
	Tags       map[string]string `json:"tags"`
	Identity   *resourceIdentity `json:"identity,omitempty"`
	SystemData systemData        `json:"systemData"`
	Properties hsmProperties     `json:"properties"`
}

type sku struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

type resourceIdentity struct {
	Type         string                       `json:"type"`
	UserAssigned map[string]map[string]string `json:"userAssignedIdentities,omitempty"`
}

type systemData struct {
	CreatedBy string `json:"createdBy,omitempty"`
	CreatedAt string `json:"createdAt,omitempty"`
}

type hsmProperties struct {
	TenantID          string          `json:"tenantId"`
	Admins            []string        `json:"initialAdminObjectIds"`
	HSMURI            string          `json:"hsmUri"`
	SoftDelete        bool            `json:"enableSoftDelete"`
	RetentionDays     int             `json:"softDeleteRetentionInDays"`
	PurgeProtection   bool            `json:"enablePurgeProtection"`
	StatusMessage     string          `json:"statusMessage"`
	ProvisioningState string          `json:"provisioningState"`
	PublicAccess      string          `json:"publicNetworkAccess"`
	NetworkACLs       json.RawMessage `json:"networkAcls"`
	Regions           []any           `json:"regions"`
	SecurityDomain    securityDomain  `json:"securityDomainProperties"`
}

type securityDomain struct {
	Status  string `json:"activationStatus"`
	Message string `json:"activationStatusMessage"`
}

func hsmID(r fleet.Resource) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", r.Subscription, r.ResourceGroup, hsmType, r.Name)
}

func (q *request) wireHSM(r fleet.Resource) hsmResource {
	p := hsmProperties{TenantID: r.Tenant, Admins: r.Admins, HSMURI: "https://" + strings.ToLower(r.Name) + "." + q.endpoints().DeviceSuffix + "/", SoftDelete: true,
		RetentionDays: r.RetentionDays, PurgeProtection: r.PurgeProtection, PublicAccess: r.PublicAccess, NetworkACLs: shownACLs(r), Regions: []any{}}
	q.deviceState(r, &p)
	tags := r.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return hsmResource{ID: hsmID(r), Name: r.Name, Type: hsmType, Location: r.Location, SKU: sku{r.SKUFamily, r.SKUName}, Tags: tags, Identity: q.wireIdentity(r),
		SystemData: systemData{CreatedBy: r.CreatedBy, CreatedAt: rfc3339(r.Created)}, Properties: p}
}

// deviceState derives the control plane's words from the device's state.
func (q *request) deviceState(r fleet.Resource, p *hsmProperties) {
	p.ProvisioningState, p.SecurityDomain.Status = "Succeeded", "Unknown"
	d, _, err := q.h.cfg.Fleet.Device(r.Name)
	if errors.Is(err, hsm.ErrUnavailable) {
		p.ProvisioningState, p.StatusMessage = "Failed", "The HSM could not be opened; the log of the server says why."
	}
	if err != nil {
		return
	}
	s, err := d.Status(q.Context())
	if err != nil {
		p.StatusMessage = "The HSM cannot reach its store."
		return
	}
	switch s.State {
	case hsm.Provisioned:
		p.SecurityDomain = securityDomain{"NotActivated", "Your HSM has been provisioned, but cannot be used for cryptographic operations until it is activated. To activate the HSM, download its security domain, or recover another HSM's with init-recovery."}
	case hsm.Recovering:
		p.ProvisioningState = "SecurityDomainRestore"
		p.SecurityDomain = securityDomain{"NotActivated", "The HSM waits for a security domain. Exchange key (x5t#S256): " + s.ExchangeFingerprint}
	case hsm.Active:
		p.SecurityDomain = securityDomain{"Active", "Your HSM has been activated and can be used for cryptographic operations. Security domain: " + s.DomainID + ". Attestation root (SHA-256): " + s.AttestationRoot}
	case hsm.Restoring:
		p.ProvisioningState = "Restoring"
		p.SecurityDomain = securityDomain{"Active", "A full restore is running. Security domain: " + s.DomainID}
	case hsm.Sealed:
		p.SecurityDomain = securityDomain{"Unknown", "The HSM is sealed: the server needs its unlock passphrase."}
	case hsm.Degraded, hsm.Deleted: // not the state of a device that answers
	}
	p.StatusMessage = strings.Join(append([]string{"The Managed HSM is provisioned and ready to use."}, s.Warnings...), " ")
}

func (q *request) wireIdentity(r fleet.Resource) *resourceIdentity {
	if len(r.Identities) == 0 {
		return &resourceIdentity{Type: "None"}
	}
	out := &resourceIdentity{Type: "UserAssigned", UserAssigned: map[string]map[string]string{}}
	for _, id := range r.Identities {
		out.UserAssigned[id] = map[string]string{}
		if mi, err := q.h.cfg.Cloud.ManagedIdentity(q.Context(), id); err == nil {
			out.UserAssigned[id] = map[string]string{"principalId": mi.PrincipalID, "clientId": mi.ClientID}
		}
	}
	return out
}

func rfc3339(unix int64) string {
	if unix == 0 {
		return ""
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}
