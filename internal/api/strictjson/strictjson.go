// Package strictjson reads request bodies into structs, once and strictly. Two readers of one body must not
// come to different conclusions, so it refuses what parsers disagree about: a member that occurs twice (at
// any depth, and also under two spellings of one name), anything behind the value, invalid UTF-8 and lone
// surrogates, nesting beyond MaxDepth, numbers that are fractional or too large where an integer is meant.
// Names of members are compared exactly, letter case included; encoding/json would take "KTY" for "kty".
//
// Members that the struct has no field for are checked like all others and otherwise ignored: clients send
// read-only ones back. A member that is null is as good as absent. In a list, in a map, or as the whole body
// null stands for nothing and is refused.
//
// A destination is a struct of fields with json tags. Their types are strings, booleans, integers, structs,
// lists of these, map[string]string, pointers to these, and what implements encoding.TextUnmarshaler (it is
// read from a string) or json.Unmarshaler (it gets the value's text, held to the rules above). The text that
// UnmarshalText gets is its own to change, and to keep as long as the body lives: it is a part of the body, or
// a copy when the string has escapes.
package strictjson

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how many objects and lists may lie in one another.
const MaxDepth = 32

// maxName is how much of a member's name an error repeats.
const maxName = 64

// Error says what is wrong with a body, in words for whoever sent it.
type Error struct {
	Member string // such as attributes.exp or key_ops[2]; empty for the body as a whole
	Reason string // follows the member's name or "the body"
	Err    error  // of an UnmarshalText, or nil
}

// Error implements error: a sentence without its stop.
func (e *Error) Error() string {
	if e.Member == "" {
		return "it " + e.Reason
	}
	return "member " + strconv.Quote(e.Member) + " " + e.Reason
}

// Unwrap returns the error of an UnmarshalText.
func (e *Error) Unwrap() error { return e.Err }

// in puts the error into the member or element called name, which may be as long as the body.
func (e *Error) in(name string) *Error {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "") + "..."
	}
	if e.Member != "" && e.Member[0] != '[' {
		name += "."
	}
	e.Member = name + e.Member
	return e
}

func wrong(reason string) *Error { return &Error{Reason: reason} }

// Decode reads the object in body into the struct that v points to. Fields whose members are absent stay as
// they are. An error is always an *Error; the struct may be half filled then.
func Decode(body []byte, v any) error {
	dst := reflect.ValueOf(v).Elem()
	d := decoder{in: body}
	if err := d.document(planOf(dst.Type()), dst); err != nil {
		return err
	}
	return nil
}

// Check tells whether body is an object that Decode would read, whatever its members.
func Check(body []byte) error { return Decode(body, &struct{}{}) }

type decoder struct {
	in    []byte
	pos   int
	depth int
}

func (d *decoder) document(p *plan, dst reflect.Value) *Error {
	if c := d.peek(); c != '{' {
		return wrongType(c)
	}
	if err := d.value(p, dst); err != nil {
		return err
	}
	if d.peek() != 0 || d.pos < len(d.in) {
		return wrong("has something behind its end")
	}
	return nil
}

// peek skips white space and returns the byte that follows, 0 at the end.
func (d *decoder) peek() byte {
	for d.pos < len(d.in) {
		switch c := d.in[d.pos]; c {
		case ' ', '\t', '\n', '\r':
			d.pos++
		default:
			return c
		}
	}
	return 0
}

// enter steps into an object or list and tells whether it is empty; close ends it.
func (d *decoder) enter(end byte) (empty bool, err *Error) {
	if d.depth++; d.depth > MaxDepth {
		return false, wrong("is nested deeper than " + strconv.Itoa(MaxDepth) + " levels")
	}
	d.pos++
	if d.peek() == end {
		d.pos++
		d.depth--
		return true, nil
	}
	return false, nil
}

// more steps over the comma before the next member or element, or over the end.
func (d *decoder) more(end byte) (bool, *Error) {
	switch c := d.peek(); c {
	case ',':
		d.pos++
		return true, nil
	case end:
		d.pos++
		d.depth--
		return false, nil
	default:
		return false, d.unexpected()
	}
}

// name reads the name of a member and the colon behind it.
func (d *decoder) name() ([]byte, *Error) {
	if d.peek() != '"' {
		return nil, d.unexpected()
	}
	n, err := d.text()
	if err != nil {
		return nil, err
	}
	if d.peek() != ':' {
		return nil, d.unexpected()
	}
	d.pos++
	return n, nil
}

func (d *decoder) unexpected() *Error {
	if d.pos >= len(d.in) {
		return wrong("is not whole JSON: it ends too early")
	}
	r, n := utf8.DecodeRune(d.in[d.pos:])
	if r == utf8.RuneError && n == 1 {
		return wrong("is not JSON: byte " + strconv.Itoa(d.pos) + " is not valid UTF-8")
	}
	return wrong("is not JSON: " + strconv.QuoteRune(r) + " cannot stand at byte " + strconv.Itoa(d.pos))
}

// wrongType refuses a value by its first byte.
func wrongType(first byte) *Error {
	what := ""
	switch {
	case first == '"':
		what = "string"
	case first == '{':
		what = "object"
	case first == '[':
		what = "array"
	case first == 't' || first == 'f':
		what = "boolean"
	case first == 'n':
		what = "null"
	case first == '-' || first >= '0' && first <= '9':
		what = "number"
	case first == 0:
		return wrong("is not whole JSON: it ends too early")
	default:
		return wrong("is not JSON: " + strconv.QuoteRune(rune(first)) + " begins no value")
	}
	return wrong("cannot be a JSON " + what)
}

// literal reads true, false or null.
func (d *decoder) literal(word string) *Error {
	if !strings.HasPrefix(string(d.in[d.pos:min(len(d.in), d.pos+len(word))]), word) {
		return d.unexpected()
	}
	d.pos += len(word)
	return nil
}

// skip reads a value that nobody wants. It is held to the same rules.
func (d *decoder) skip() *Error {
	switch c := d.peek(); {
	case c == '"':
		_, err := d.text()
		return err
	case c == '{':
		return d.skipObject()
	case c == '[':
		return d.skipList()
	case c == 't':
		return d.literal("true")
	case c == 'f':
		return d.literal("false")
	case c == 'n':
		return d.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		_, _, err := d.number()
		return err
	}
	return d.unexpected()
}

func (d *decoder) skipObject() *Error {
	empty, err := d.enter('}')
	var seen names
	for more := !empty; more && err == nil; {
		var n []byte
		if n, err = d.name(); err != nil {
			return err
		}
		if seen.again(n) {
			return twice().in(string(n))
		}
		if err = d.skip(); err != nil {
			return err.in(string(n))
		}
		more, err = d.more('}')
	}
	return err
}

func (d *decoder) skipList() *Error {
	empty, err := d.enter(']')
	for i, more := 0, !empty; more && err == nil; i++ {
		if err = d.skip(); err != nil {
			return err.in("[" + strconv.Itoa(i) + "]")
		}
		more, err = d.more(']')
	}
	return err
}

func twice() *Error { return wrong("occurs twice") }

// names are the members of one object that no field stands for.
type names map[string]struct{}

// again tells whether n has been there, and remembers it.
func (s *names) again(n []byte) bool {
	if _, there := (*s)[string(n)]; there {
		return true
	}
	if *s == nil {
		*s = make(names, 4)
	}
	(*s)[string(n)] = struct{}{}
	return false
}
