package securitydomain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// object is one JSON object read strictly: names are matched letter for letter, no name stands twice, nothing
// follows the closing brace. The standard decoder alone forgives all three, and a parser of ceremony files must not.
type object struct {
	what    string // what the messages call it
	members map[string]json.RawMessage
}

func parseObject(raw []byte, what string) (object, error) {
	o := object{what: what, members: map[string]json.RawMessage{}}
	if len(bytes.TrimSpace(raw)) == 0 {
		return o, fmt.Errorf("%s is empty", what)
	}
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return o, fmt.Errorf("%s is not complete JSON text: truncated or altered", what)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return o, fmt.Errorf("%s is not a JSON object", what)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return o, fmt.Errorf("%s is not valid JSON: %w", what, err)
		}
		name, ok := t.(string)
		if !ok {
			return o, fmt.Errorf("%s is not a JSON object", what)
		}
		if _, twice := o.members[name]; twice {
			return o, fmt.Errorf("%s has %s twice", what, quote(name))
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return o, fmt.Errorf("%s is not valid JSON: %w", what, err)
		}
		o.members[name] = v
	}
	return o, nil
}

// only fails if a member has another name than those listed.
func (o object) only(names ...string) error {
	for name := range o.members {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s has an unknown member %s", o.what, quote(name))
		}
	}
	return nil
}

// has reports whether the member is there and not null.
func (o object) has(name string) bool {
	v, ok := o.members[name]
	return ok && string(v) != "null"
}

func (o object) text(name string) (string, error) {
	v, ok := o.members[name]
	if !ok {
		return "", o.missing(name)
	}
	var s *string
	if json.Unmarshal(v, &s) != nil || s == nil {
		return "", fmt.Errorf("%q of %s is not a string", name, o.what)
	}
	return *s, nil
}

// fixed fails unless the member is exactly the string want.
func (o object) fixed(name, want string) error {
	s, err := o.text(name)
	if err == nil && s != want {
		err = fmt.Errorf("%q of %s is %s, not %q", name, o.what, quote(s), want)
	}
	return err
}

// integer reads a whole number in plain digits.
func (o object) integer(name string) (uint32, error) {
	v, ok := o.members[name]
	if !ok {
		return 0, o.missing(name)
	}
	n, err := strconv.ParseUint(string(v), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q of %s is not a whole number", name, o.what)
	}
	return uint32(n), nil
}

func (o object) list(name string) ([]json.RawMessage, error) {
	v, ok := o.members[name]
	if !ok {
		return nil, o.missing(name)
	}
	var l []json.RawMessage
	if err := json.Unmarshal(v, &l); err != nil || l == nil {
		return nil, fmt.Errorf("%q of %s is not a list", name, o.what)
	}
	return l, nil
}

func (o object) object(name string) (object, error) {
	v, ok := o.members[name]
	if !ok {
		return object{}, o.missing(name)
	}
	return parseObject(v, fmt.Sprintf("%q of %s", name, o.what))
}

func (o object) missing(name string) error { return fmt.Errorf("%s has no %q", o.what, name) }

// quote makes foreign text safe and short enough for a message.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strconv.QuoteToASCII(s)
}

var errTooLong = errors.New("longer than 1 MiB")
