package key

import (
	"fmt"
	"math"
	"strings"
)

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
	Action       string `json:"action"` // "Rotate"; "Notify" is for vaults
	AfterCreate  string `json:"after_create,omitempty"`
	BeforeExpiry string `json:"before_expiry,omitempty"`
}

// ActionRotate is the one action of Managed HSM.
const ActionRotate = "Rotate"

// The service's rules for lifetimes, in seconds: what expires lives at least 28 days, and no policy may ask for
// new versions more often than that. More than a hundred years is no lifetime.
const (
	minLifetime = 28 * day
	maxDuration = 100 * year
)

// Never is the time of what does not happen.
const Never = math.MaxInt64

// Blank tells whether the policy asks for nothing: setting one takes the policy away.
func (p RotationPolicy) Blank() bool { return len(p.Actions) == 0 && p.ExpiryTime == "" }

// Check enforces the rules of Managed HSM and returns the policy with its action spelled as it is stored. A
// blank policy is valid.
func (p RotationPolicy) Check() (RotationPolicy, error) {
	expiry := int64(0)
	if p.ExpiryTime != "" {
		var err error
		if expiry, err = ParseDuration(p.ExpiryTime); err != nil {
			return RotationPolicy{}, fmt.Errorf("attributes.expiryTime: %w", err)
		}
		if expiry < minLifetime {
			return RotationPolicy{}, fmt.Errorf("%w: attributes.expiryTime %s is too short; a new version lives at least 28 days (P28D)", ErrBadParameter, p.ExpiryTime)
		}
	}
	if len(p.Actions) > 1 {
		return RotationPolicy{}, fmt.Errorf("%w: lifetimeActions has %d entries; on Managed HSM a policy has one, of type Rotate", ErrBadParameter, len(p.Actions))
	}
	var actions []LifetimeAction
	for _, a := range p.Actions {
		if err := a.check(p.ExpiryTime, expiry); err != nil {
			return RotationPolicy{}, err
		}
		a.Action = ActionRotate
		actions = append(actions, a)
	}
	p.Actions = actions
	return p, nil
}

func (a LifetimeAction) check(expiryTime string, expiry int64) error {
	switch {
	case strings.EqualFold(a.Action, "Notify"):
		return fmt.Errorf("%w: action.type Notify is for vaults only: Managed HSM sends no Event Grid notifications; use Rotate", ErrBadParameter)
	case !strings.EqualFold(a.Action, ActionRotate):
		return fmt.Errorf("%w: action.type %.32q; use Rotate", ErrBadParameter, a.Action)
	case (a.AfterCreate == "") == (a.BeforeExpiry == ""):
		return fmt.Errorf("%w: a trigger has either timeAfterCreate or timeBeforeExpiry", ErrBadParameter)
	case a.AfterCreate != "":
		d, err := ParseDuration(a.AfterCreate)
		if err != nil {
			return fmt.Errorf("timeAfterCreate: %w", err)
		}
		if d < minLifetime {
			return fmt.Errorf("%w: timeAfterCreate %s is too short; new versions are made at most every 28 days (P28D)", ErrBadParameter, a.AfterCreate)
		}
		return nil
	}
	d, err := ParseDuration(a.BeforeExpiry)
	switch {
	case err != nil:
		return fmt.Errorf("timeBeforeExpiry: %w", err)
	case expiry == 0:
		return fmt.Errorf("%w: timeBeforeExpiry needs attributes.expiryTime, or the next version would never expire", ErrBadParameter)
	case expiry-d < minLifetime:
		return fmt.Errorf("%w: timeBeforeExpiry %s leaves less than 28 days of expiryTime %s; new versions are made at most every 28 days", ErrBadParameter, a.BeforeExpiry, expiryTime)
	}
	return nil
}

// Due is the Unix time from which the current version, with the attributes a, is to be replaced; Never when the
// policy does not say so. A version that does not expire has no time before its expiry. A disabled one is not
// replaced: whoever disabled it did not want the key in use, and enabling it makes the rotation due again.
func (p *RotationPolicy) Due(a Attributes) int64 {
	if p == nil || !a.Enabled {
		return Never
	}
	due := int64(Never)
	for _, act := range p.Actions {
		if d, err := ParseDuration(act.AfterCreate); err == nil {
			due = min(due, a.Created+d)
		}
		if d, err := ParseDuration(act.BeforeExpiry); err == nil && a.Expires != 0 {
			due = min(due, a.Expires-d)
		}
	}
	return due
}

// Expires is the expiry of a version made at now, Unix seconds; 0 for none.
func (p *RotationPolicy) Expires(now int64) int64 {
	if d, err := ParseDuration(p.ExpiryTime); err == nil {
		return now + d
	}
	return 0
}

// Seconds of the units of a duration. Years and months have a fixed length, so that every rule can be decided
// when a policy is set, whatever the date.
const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	month  = 30 * day
	year   = 365 * day
)

// durationUnits are the designators of a duration in their order (ISO 8601-1, 5.5.2.2), the date's and behind
// the T the time's.
var durationUnits = [2][]struct {
	designator byte
	seconds    int64
}{
	{{'Y', year}, {'M', month}, {'D', day}},
	{{'H', hour}, {'M', minute}, {'S', 1}},
}

// ParseDuration reads an ISO 8601 duration such as P90D, P18M, P1Y10D or PT48H and returns its length in
// seconds: a year is 365 days, a month 30. Units stand in their order, each at most once, with whole numbers.
// Nothing and more than a hundred years are refused.
func ParseDuration(s string) (int64, error) {
	bad := fmt.Errorf("%w: %.40q is not an ISO 8601 duration; write P90D for 90 days, P18M for 18 months, P2Y for two years", ErrBadParameter, s)
	rest, ok := strings.CutPrefix(s, "P")
	if !ok {
		return 0, bad
	}
	date, clock, timed := strings.Cut(rest, "T")
	if rest == "" || timed && clock == "" {
		return 0, bad
	}
	total := int64(0)
	for i, part := range []string{date, clock} {
		n, ok := sumUnits(part, i)
		if !ok {
			return 0, bad
		}
		total += n
	}
	if total == 0 || total > maxDuration {
		return 0, fmt.Errorf("%w: the duration %.40q; it is longer than nothing and at most a hundred years", ErrBadParameter, s)
	}
	return total, nil
}

// sumUnits adds up one side of a duration. Numbers have at most six digits, so that nothing overflows.
func sumUnits(s string, side int) (total int64, ok bool) {
	for _, u := range durationUnits[side] {
		n, digits := int64(0), 0
		for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
			n = n*10 + int64(s[digits]-'0')
			if digits++; digits > 6 {
				return 0, false
			}
		}
		if digits < len(s) && digits > 0 && s[digits] == u.designator {
			total += n * u.seconds
			s = s[digits+1:]
		}
	}
	return total, s == ""
}
