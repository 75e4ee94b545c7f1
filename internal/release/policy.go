package release

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"redoubt/internal/key"
)

// Limits of a policy. The service's own are not published.
const (
	MaxPolicy     = 16 << 10 // bytes of JSON
	MaxConditions = 128      // claim conditions in all
	maxDepth      = 8        // anyOf and allOf inside each other, authorities included
	maxClaim      = 256      // characters of a claim's name
	maxValue      = 1024     // characters of a string to compare with
	maxAuthority  = 512
)

// policyVersion is the only version of the grammar there is.
const policyVersion = "1.0.0"

// DefaultContentType is what a policy has whose owner did not say.
const DefaultContentType = "application/json; charset=utf-8"

// Policy is a parsed release policy.
type Policy struct{ authorities []authority }

// authority is one maker of tokens, with what its tokens must say.
type authority struct {
	url string
	node
}

// node is a claim condition, or a list of which all or any one must be met.
type node struct {
	all, any []node
	claim    string // name with dots, as written
	op       operator
	want     any // string, bool or json.Number
}

// operator compares a claim with a value.
type operator string

const (
	equals          operator = "equals"
	notEquals       operator = "notEquals"
	less            operator = "less"
	lessOrEquals    operator = "lessOrEquals"
	greater         operator = "greater"
	greaterOrEquals operator = "greaterOrEquals"
	exists          operator = "exists"
)

var operators = []operator{equals, notEquals, less, lessOrEquals, greater, greaterOrEquals, exists}

// Normalise checks a policy and returns it in the form in which it is stored and shown, as the service does: version 1.0
// becomes 1.0.0, pairs of condition and value become the operator's own member, names are sorted, the
// content type is filled in.
func Normalise(p key.ReleasePolicy) (key.ReleasePolicy, error) {
	if p.ContentType == "" {
		p.ContentType = DefaultContentType
	}
	if len(p.ContentType) > 128 {
		return key.ReleasePolicy{}, badPolicy("contentType is longer than 128 characters")
	}
	kind, params, err := mime.ParseMediaType(p.ContentType)
	if charset := params["charset"]; err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return key.ReleasePolicy{}, badPolicy("contentType must be " + DefaultContentType)
	}
	parsed, err := Parse(p.Data)
	if err != nil {
		return key.ReleasePolicy{}, err
	}
	p.Data = parsed.Encode()
	return p, nil
}

// Parse reads a policy. It is strict: what the grammar does not have is refused.
func Parse(data []byte) (Policy, error) {
	if len(data) == 0 {
		return Policy{}, badPolicy("missing 'data' property; it is the policy's JSON text in base64url")
	}
	if len(data) > MaxPolicy {
		return Policy{}, badPolicy(fmt.Sprintf("it has %d bytes; at most %d are accepted", len(data), MaxPolicy))
	}
	v, err := parseJSON(data, 2*maxDepth+2)
	if err != nil {
		return Policy{}, badPolicy(err.Error())
	}
	top, ok := v.(map[string]any)
	if !ok {
		return Policy{}, badPolicy("it is not a JSON object")
	}
	if err := only(top, "version", "anyOf"); err != nil {
		return Policy{}, err
	}
	switch version, has := top["version"]; {
	case !has:
		return Policy{}, badPolicy("missing 'version' property; write \"1.0.0\"")
	case version != policyVersion && version != "1.0":
		return Policy{}, badPolicy("unsupported version; write \"1.0.0\"")
	}
	list, err := conditions(top, "anyOf")
	if err != nil {
		return Policy{}, err
	}
	return parseAuthorities(list)
}

func parseAuthorities(list []any) (Policy, error) {
	var p Policy
	left := MaxConditions
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return Policy{}, badPolicy("an authority is not a JSON object")
		}
		a, err := parseAuthority(m, &left)
		if err != nil {
			return Policy{}, err
		}
		p.authorities = append(p.authorities, a)
	}
	return p, nil
}

func parseAuthority(m map[string]any, left *int) (authority, error) {
	if err := only(m, "authority", "anyOf", "allOf"); err != nil {
		return authority{}, err
	}
	s, ok := m["authority"].(string)
	if !ok {
		return authority{}, badPolicy("an entry of the outer anyOf has no 'authority' property")
	}
	if err := CheckAuthority(s); err != nil {
		return authority{}, badPolicy(err.Error())
	}
	delete(m, "authority")
	n, err := parseNode(m, maxDepth-1, left)
	if err != nil {
		return authority{}, err
	}
	if n.claim != "" {
		return authority{}, badPolicy("an authority needs anyOf or allOf")
	}
	return authority{url: s, node: n}, nil
}

// CheckAuthority tells whether s can be the URL of an authority: https, a host, no user, query or fragment.
func CheckAuthority(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxAuthority || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(s, "#\\ ") {
		return fmt.Errorf("authority %s is not an https URL", quote(s))
	}
	return nil
}

func parseNode(m map[string]any, depth int, left *int) (node, error) {
	_, all := m["allOf"]
	_, some := m["anyOf"]
	switch {
	case all && some:
		return node{}, badPolicy("anyOf and allOf stand in one condition; nest one in the other")
	case !all && !some:
		return parseClaim(m, left)
	case depth == 0:
		return node{}, badPolicy("conditions are nested too deeply")
	}
	name := "anyOf"
	if all {
		name = "allOf"
	}
	if err := only(m, name); err != nil {
		return node{}, err
	}
	list, err := conditions(m, name)
	if err != nil {
		return node{}, err
	}
	var nodes []node
	for _, v := range list {
		c, ok := v.(map[string]any)
		if !ok {
			return node{}, badPolicy("a condition is not a JSON object")
		}
		n, err := parseNode(c, depth-1, left)
		if err != nil {
			return node{}, err
		}
		nodes = append(nodes, n)
	}
	if all {
		return node{all: nodes}, nil
	}
	return node{any: nodes}, nil
}

func parseClaim(m map[string]any, left *int) (node, error) {
	if *left--; *left < 0 {
		return node{}, badPolicy(fmt.Sprintf("it has more than %d conditions", MaxConditions))
	}
	name, ok := m["claim"].(string)
	if !ok || name == "" || len(name) > maxClaim || slices.Contains(strings.Split(name, "."), "") {
		return node{}, badPolicy("a condition needs a 'claim' property: a name, with dots between the levels")
	}
	n := node{claim: name}
	rest := make(map[string]any, len(m))
	for k, v := range m {
		if k != "claim" {
			rest[k] = v
		}
	}
	if op, ok := rest["condition"].(string); ok { // the older spelling
		if v, has := rest["value"]; has && len(rest) == 2 {
			rest = map[string]any{op: v}
		}
	}
	if len(rest) != 1 {
		return node{}, badPolicy(fmt.Sprintf("the condition on claim %s needs exactly one operator; use equals", quote(name)))
	}
	for k, v := range rest {
		n.op, n.want = operator(k), v
	}
	if !slices.Contains(operators, n.op) {
		return node{}, badPolicy(fmt.Sprintf("unknown operator %s in the condition on claim %s; use equals", quote(string(n.op)), quote(name)))
	}
	return n, n.checkValue()
}

func (n node) checkValue() error {
	bad := func(want string) error {
		return badPolicy(fmt.Sprintf("%s in the condition on claim %s takes %s", n.op, quote(n.claim), want))
	}
	_, isNumber := number(n.want)
	s, isString := n.want.(string)
	_, isBool := truth(n.want)
	switch n.op {
	case equals, notEquals:
		if _, b := n.want.(bool); !isNumber && !b && (!isString || len(s) > maxValue) {
			return bad(fmt.Sprintf("a string of at most %d bytes, a number or a boolean", maxValue))
		}
	case exists:
		if !isBool {
			return bad("true or false")
		}
	case less, lessOrEquals, greater, greaterOrEquals:
		if !isNumber {
			return bad("a number")
		}
	}
	return nil
}

// plainNumber is a number that can be compared exactly: digits and a fraction, no exponent.
var plainNumber = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?$`)

func number(v any) (*big.Rat, bool) {
	n, ok := v.(json.Number)
	if !ok || !plainNumber.MatchString(string(n)) {
		return nil, false
	}
	return new(big.Rat).SetString(string(n))
}

// truth reads a boolean or the strings "true" and "false", which the grammar allows in its place.
func truth(v any) (b, ok bool) {
	switch v {
	case true, "true":
		return true, true
	case false, "false":
		return false, true
	}
	return false, false
}

func conditions(m map[string]any, name string) ([]any, error) {
	list, ok := m[name].([]any)
	if !ok || len(list) == 0 {
		return nil, badPolicy(fmt.Sprintf("'%s' must be a list with at least one entry", name))
	}
	return list, nil
}

func only(m map[string]any, names ...string) error {
	for _, k := range slices.Sorted(maps.Keys(m)) { // the same policy gets the same answer
		if !slices.Contains(names, k) {
			return badPolicy(fmt.Sprintf("unknown property %s beside %s", quote(k), strings.Join(names, ", ")))
		}
	}
	return nil
}

// Encode is the policy's normal form: compact JSON, names sorted.
func (p Policy) Encode() []byte {
	list := []any{}
	for _, a := range p.authorities {
		m := a.wire()
		m["authority"] = a.url
		list = append(list, m)
	}
	b, err := encode(map[string]any{"version": policyVersion, "anyOf": list})
	if err != nil {
		panic("release: a parsed policy does not encode: " + err.Error()) // strings, numbers and booleans
	}
	return b
}

func (n node) wire() map[string]any {
	switch {
	case n.all != nil:
		return map[string]any{"allOf": wireList(n.all)}
	case n.any != nil:
		return map[string]any{"anyOf": wireList(n.any)}
	}
	return map[string]any{"claim": n.claim, string(n.op): n.want}
}

func wireList(nodes []node) []any {
	out := []any{}
	for _, n := range nodes {
		out = append(out, n.wire())
	}
	return out
}
