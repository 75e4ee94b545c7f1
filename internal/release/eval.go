package release

import (
	"fmt"
	"strings"
)

// Check tells whether the assertion satisfies the policy: one of the authorities must be its issuer, and the
// conditions of that authority must hold. The error is ErrNotMet and names the first claim that fails, never a
// value: what a token says is its owner's business, and what a policy wants is the key owner's.
func (p Policy) Check(a Assertion) error {
	unmet, known := "", false
	for _, au := range p.authorities {
		if !SameAuthority(au.url, a.Issuer) {
			continue
		}
		claim, ok := au.met(a.Claims)
		if ok {
			return nil
		}
		if !known {
			unmet, known = claim, true
		}
	}
	if !known {
		return refuse(ErrNotMet, "Key Release Policy requirements are not met: no authority of the policy is the issuer of the attestation token")
	}
	return refuse(ErrNotMet, fmt.Sprintf("Key Release Policy requirements are not met: the attestation token does not satisfy the condition on claim %s", quote(unmet)))
}

// SameAuthority compares the URL in a policy with an issuer, letter for letter, but for one slash at the end: both
// forms are in use for one service.
func SameAuthority(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// met evaluates a condition. If it is not met, claim is the first one that is to blame.
func (n node) met(claims map[string]any) (claim string, ok bool) {
	switch {
	case n.all != nil:
		for _, c := range n.all {
			if claim, ok := c.met(claims); !ok {
				return claim, false
			}
		}
		return "", true
	case n.any != nil:
		first := ""
		for _, c := range n.any {
			claim, ok := c.met(claims)
			if ok {
				return "", true
			}
			if first == "" {
				first = claim
			}
		}
		return first, false
	}
	return n.claim, n.holds(claims)
}

func (n node) holds(claims map[string]any) bool {
	got, there := find(claims, n.claim)
	if n.op == exists {
		want, _ := truth(n.want)
		return there == want
	}
	if !there {
		return false
	}
	switch n.op {
	case equals:
		return same(got, n.want)
	case notEquals:
		return comparable(got) && !same(got, n.want)
	case less, lessOrEquals, greater, greaterOrEquals:
		return n.orders(got)
	case exists: // above
	}
	return false
}

// orders compares numbers; anything else is not in order.
func (n node) orders(got any) bool {
	a, ok := number(got)
	b, ok2 := number(n.want)
	if !ok || !ok2 {
		return false
	}
	switch c := a.Cmp(b); n.op {
	case less:
		return c < 0
	case lessOrEquals:
		return c <= 0
	case greater:
		return c > 0
	case greaterOrEquals:
		return c >= 0
	case equals, notEquals, exists: // not orders
	}
	return false
}

// find follows a dotted name through objects. A null is as good as absent.
func find(claims map[string]any, name string) (any, bool) {
	var v any = claims
	for part := range strings.SplitSeq(name, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		v = m[part]
	}
	return v, v != nil
}

// comparable tells whether a claim has a value that a policy can speak of: not a list, not an object.
func comparable(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// same compares a claim with a policy's value: numbers by value, strings letter for letter, and booleans also with the
// strings "true" and "false" (the service takes one for the other).
func same(got, want any) bool {
	if a, ok := number(got); ok {
		b, ok := number(want)
		return ok && a.Cmp(b) == 0
	}
	if _, ok := got.(bool); ok {
		a, _ := truth(got)
		b, ok := truth(want)
		return ok && a == b
	}
	if _, ok := want.(bool); ok {
		a, ok := truth(got)
		b, _ := truth(want)
		return ok && a == b
	}
	s, ok := got.(string)
	w, ok2 := want.(string)
	return ok && ok2 && s == w
}
