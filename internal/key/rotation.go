package key

// RotationPolicy says when the server makes a new version of a key by itself, and how long versions live.
// It belongs to a key name, not to a version.
type RotationPolicy struct {
	Actions    []LifetimeAction `json:"actions"`
	ExpiryTime string           `json:"expiry_time,omitempty"` // ISO 8601 duration; empty: new versions do not expire
	Created    int64            `json:"created"`               // Unix seconds
	Updated    int64            `json:"updated"`
}

// LifetimeAction is one trigger and what it does. Exactly one of the two durations (ISO 8601) is set.
type LifetimeAction struct {
	Action       string `json:"action"` // "Rotate" or "Notify"
	AfterCreate  string `json:"after_create,omitempty"`
	BeforeExpiry string `json:"before_expiry,omitempty"`
}
