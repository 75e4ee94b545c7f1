package audit

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// Entry is one event before it is chained. Append writes it in the shape of Azure Monitor's AuditEvent
// (docs/formats/audit.md section 2). Times are UTC. No field ever holds a secret, a token or key material.
type Entry struct {
	ID         string // unique; a Log drops an entry whose id it has just written
	Time       time.Time
	Operation  string
	Version    string  // api-version the caller asked for
	Result     string  // "Success", "Denied", "Failed"
	Reason     string  // why not, without secrets
	Status     int     // HTTP status of the answer; 0 for what the HSM did by itself
	DurationMS float64 // milliseconds
	Principal  string  // object id
	AppID      string
	UPN        string
	CallerIP   string
	ClientInfo string // User-Agent
	RequestID  string
	RequestURI string // without anything secret
	Target     string // scope or name the operation was about
	DomainID   string // security domain the HSM was under
	Details    map[string]string
	Resource   *Resource // the HSM; may be nil
}

// Resource is the HSM that a log belongs to, as the control plane knows it.
type Resource struct {
	ID        string // of ARM, in upper case
	Name      string
	Group     string // resource group
	Tenant    string
	SKUFamily string
	SKUName   string
	Type      string // of the resource; empty: managedHSMs
}

// Append adds the entry's JSON to b. It is written by hand because it stands behind every request: the order
// of the members is part of the format.
func (e *Entry) Append(b []byte) []byte {
	r := e.Resource
	if r == nil {
		r = new(Resource)
	}
	b = append(b, '{')
	b = member(b, "TenantId", r.Tenant)
	b = name(b, "time")
	b = append(b, '"')
	b = e.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = member(b, "resourceId", r.ID)
	b = name(b, "operationName")
	b = appendString(b, e.Operation)
	b = member(b, "operationVersion", e.Version)
	b = append(b, `,"category":"AuditEvent"`...)
	b = name(b, "resultType")
	b = appendString(b, e.Result)
	b = member(b, "resultSignature", signatures[e.Status])
	b = member(b, "resultDescription", e.Reason)
	b = append(b, `,"properties":{`...)
	if r.Type == "" {
		b = append(b, `"PoolType":"M-HSM"`...)
	}
	b = member(b, "sku_Family", r.SKUFamily)
	b = member(b, "sku_Name", r.SKUName)
	b = append(b, `},"durationMs":`...)
	b = strconv.AppendFloat(b, e.DurationMS, 'f', -1, 64)
	b = member(b, "callerIpAddress", e.CallerIP)
	b = e.appendIdentity(b)
	b = member(b, "clientInfo", e.ClientInfo)
	b = member(b, "correlationId", e.RequestID)
	b = append(b, `,"subnetId":"(unknown)"`...)
	if e.Status != 0 {
		b = append(b, `,"httpStatusCode":`...)
		b = strconv.AppendInt(b, int64(e.Status), 10)
	}
	if r.Type == "" {
		b = member(b, "PoolName", r.Name)
	}
	b = member(b, "requestUri", e.RequestURI)
	b = member(b, "resourceGroup", r.Group)
	b = append(b, `,"resourceProvider":"MICROSOFT.KEYVAULT"`...)
	b = member(b, "resource", r.Name)
	b = name(b, "resourceType")
	b = appendString(b, cmp.Or(r.Type, hsmType))
	return append(e.appendOwn(b), '}')
}

// MarshalJSON is Append for encoding/json.
func (e *Entry) MarshalJSON() ([]byte, error) { return e.Append(nil), nil }

// appendIdentity adds the claims of the caller: a JSON text inside a string, as the service has it.
func (e *Entry) appendIdentity(b []byte) []byte {
	if e.Principal == "" && e.AppID == "" && e.UPN == "" {
		return b
	}
	var room [512]byte
	in := append(room[:0], `{"claim":{`...)
	in = member(in, "appid", e.AppID)
	if e.Principal != "" {
		in = append(name(in, "http_schemas_microsoft_com_identity"), `{"claims":{`...)
		in = append(member(in, "objectidentifier", e.Principal), `}}`...)
	}
	if e.UPN != "" {
		in = append(name(in, "http_schemas_xmlsoap_org_ws_2005_05_identity"), `{"claims":{`...)
		in = append(member(in, "upn", e.UPN), `}}`...)
	}
	in = append(in, `}}`...)
	return appendString(name(b, "identity"), in)
}

// appendOwn adds what the service's event has no place for.
func (e *Entry) appendOwn(b []byte) []byte {
	b = append(b, `,"redoubt":{`...)
	b = member(b, "id", e.ID)
	b = member(b, "domainId", e.DomainID)
	b = member(b, "target", e.Target)
	if len(e.Details) == 0 {
		return append(b, '}')
	}
	var room [8]string
	keys := room[:0]
	for k := range e.Details {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(name(b, "details"), '{')
	for _, k := range keys {
		b = separate(b)
		b = append(appendString(b, k), ':')
		b = appendString(b, e.Details[k])
	}
	return append(b, "}}"...)
}

// hsmType is the type of the resource that nearly every entry is about.
const hsmType = "managedHSMs"

// signatures are the names of the status codes that the error table and the operations have.
var signatures = map[int]string{
	200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
	408: "Request Timeout", 409: "Conflict", 413: "Request Entity Too Large", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}

// separate puts a comma where another member stands before.
func separate(b []byte) []byte {
	if b[len(b)-1] == '{' {
		return b
	}
	return append(b, ',')
}

func name(b []byte, name string) []byte {
	b = append(separate(b), '"')
	b = append(b, name...)
	return append(b, `":`...)
}

// member adds a string member, unless it is empty.
func member(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(name(b, key), value)
}

// appendString adds s as a JSON string, escaped as encoding/json does it.
func appendString[S string | []byte](b []byte, s S) []byte {
	start := len(b)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f || c == '<' || c == '>' || c == '&':
			q, _ := json.Marshal(string(s)) // a string: cannot fail
			return append(b[:start], q...)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// event is an entry in a file: the members of today, and behind them those that the first version had at the
// top in their place.
type event struct {
	TenantID   string `json:"TenantId"`
	Time       time.Time
	ResourceID string
	Operation  string `json:"operationName"`
	Version    string `json:"operationVersion"`
	Result     string `json:"resultType"`
	Reason     string `json:"resultDescription"`
	Properties *struct {
		Family string `json:"sku_Family"`
		Name   string `json:"sku_Name"`
	}
	DurationMS float64
	CallerIP   string `json:"callerIpAddress"`
	Identity   string
	ClientInfo string
	RequestID  string `json:"correlationId"`
	Status     int    `json:"httpStatusCode"`
	RequestURI string
	Group      string `json:"resourceGroup"`
	Resource   string
	Type       string `json:"resourceType"`
	Redoubt    own

	own
	Principal, AppID, UPN string
}

type own struct {
	ID       string
	DomainID string
	Target   string
	Details  map[string]string
}

type claims struct {
	Claim struct {
		AppID  string
		Object struct {
			Claims struct {
				ID string `json:"objectidentifier"`
			}
		} `json:"http_schemas_microsoft_com_identity"`
		Name struct{ Claims struct{ UPN string } } `json:"http_schemas_xmlsoap_org_ws_2005_05_identity"`
	}
}

// UnmarshalJSON reads entries of this and of the first version.
func (e *Entry) UnmarshalJSON(b []byte) error {
	var v event
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*e = Entry{ID: v.ID, Time: v.Time, Operation: v.Operation, Version: v.Version, Result: v.Result, Reason: v.Reason, Status: v.Status, DurationMS: v.DurationMS,
		Principal: v.Principal, AppID: v.AppID, UPN: v.UPN, CallerIP: v.CallerIP, ClientInfo: v.ClientInfo, RequestID: v.RequestID, RequestURI: v.RequestURI,
		Target: v.Target, DomainID: v.DomainID, Details: v.Details}
	if v.Properties == nil {
		return nil // of the first version
	}
	e.ID, e.DomainID, e.Target, e.Details = v.Redoubt.ID, v.Redoubt.DomainID, v.Redoubt.Target, v.Redoubt.Details
	if v.Type == hsmType {
		v.Type = ""
	}
	if r := (Resource{v.ResourceID, v.Resource, v.Group, v.TenantID, v.Properties.Family, v.Properties.Name, v.Type}); r != (Resource{}) {
		e.Resource = &r
	}
	if v.Identity == "" {
		return nil
	}
	var c claims
	err := json.Unmarshal([]byte(v.Identity), &c)
	e.AppID, e.Principal, e.UPN = c.Claim.AppID, c.Claim.Object.Claims.ID, c.Claim.Name.Claims.UPN
	return err
}

// markOf is the id of an entry of either version, "" when it has none, and its time.
func markOf(entry []byte) (id string, at time.Time) {
	var v struct {
		ID      string
		Time    time.Time
		Redoubt struct{ ID string }
	}
	if json.Unmarshal(entry, &v) != nil {
		return "", time.Time{}
	}
	if v.Redoubt.ID != "" {
		return v.Redoubt.ID, v.Time
	}
	return v.ID, v.Time
}
