package strictjson

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// kind is how a value is read.
type kind uint8

const (
	asText kind = iota + 1 // by UnmarshalText
	asJSON                 // by UnmarshalJSON
	asString
	asBool
	asInteger
	asObject
	asList
	asTags // map[string]string
	asPointer
)

// plan is how values of one type are read; there is one for each type, made once.
type plan struct {
	kind   kind
	bits   int     // of an integer
	elem   *plan   // of a list or pointer
	fields []field // of an object
}

type field struct {
	name  string
	index []int
	plan  *plan
}

// maxFields is what fits the set of members seen in one object.
const maxFields = 64

var (
	plans   sync.Map // reflect.Type -> *plan, finished ones only
	planMu  sync.Mutex
	textual = reflect.TypeFor[encoding.TextUnmarshaler]()
	raw     = reflect.TypeFor[json.Unmarshaler]()
	tags    = reflect.TypeFor[map[string]string]()
)

// planOf makes the plan of a struct. A type that cannot be read is a programming error and panics.
func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("strictjson: a body is read into a struct, not into %s", t))
	}
	planMu.Lock()
	defer planMu.Unlock()
	p := build(t, make(map[reflect.Type]*plan))
	plans.Store(t, p)
	return p
}

// build makes the plan of t; begun are the plans under way, for types that contain themselves.
func build(t reflect.Type, begun map[reflect.Type]*plan) *plan {
	if p := begun[t]; p != nil {
		return p
	}
	p := new(plan)
	begun[t] = p
	switch {
	case reflect.PointerTo(t).Implements(textual):
		p.kind = asText
	case reflect.PointerTo(t).Implements(raw):
		p.kind = asJSON
	case t == tags:
		p.kind = asTags
	case t.Kind() == reflect.String:
		p.kind = asString
	case t.Kind() == reflect.Bool:
		p.kind = asBool
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		p.kind, p.bits = asInteger, t.Bits()
	case t.Kind() == reflect.Slice:
		p.kind, p.elem = asList, build(t.Elem(), begun)
	case t.Kind() == reflect.Pointer:
		p.kind, p.elem = asPointer, build(t.Elem(), begun)
	case t.Kind() == reflect.Struct:
		p.kind, p.fields = asObject, fieldsOf(t, nil, begun)
		if len(p.fields) > maxFields {
			panic(fmt.Sprintf("strictjson: %s has more than %d fields", t, maxFields))
		}
	default:
		panic(fmt.Sprintf("strictjson: no JSON value is read into %s", t))
	}
	return p
}

// fieldsOf lists the fields of t with their names; those of embedded structs count as t's own.
func fieldsOf(t reflect.Type, at []int, begun map[reflect.Type]*plan) (out []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(append([]int(nil), at...), i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			out = append(out, fieldsOf(f.Type, index, begun)...)
		case name == "-":
		case !f.IsExported() || name == "":
			panic(fmt.Sprintf("strictjson: field %s of %s has no name in JSON", f.Name, t))
		default:
			out = append(out, field{name: name, index: index, plan: build(f.Type, begun)})
		}
	}
	for i, f := range out {
		for _, other := range out[:i] {
			if f.name == other.name {
				panic(fmt.Sprintf("strictjson: %s has two fields for %q", t, f.name))
			}
		}
	}
	return out
}

// value reads the value that comes next into dst. null leaves dst as it is.
func (d *decoder) value(p *plan, dst reflect.Value) *Error {
	c := d.peek()
	if c == 'n' {
		return d.literal("null")
	}
	switch {
	case p.kind == asPointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		return d.value(p.elem, dst.Elem())
	case p.kind == asJSON:
		return d.whole(dst)
	case p.kind == asText && c == '"':
		return d.textual(dst)
	case p.kind == asString && c == '"':
		s, err := d.text()
		dst.SetString(string(s))
		return err
	case p.kind == asBool && (c == 't' || c == 'f'):
		dst.SetBool(c == 't')
		return d.literal(strconv.FormatBool(c == 't'))
	case p.kind == asInteger && (c == '-' || c >= '0' && c <= '9'):
		n, err := d.integer(p.bits)
		dst.SetInt(n)
		return err
	case p.kind == asObject && c == '{':
		return d.object(p, dst)
	case p.kind == asList && c == '[':
		return d.list(p, dst)
	case p.kind == asTags && c == '{':
		return d.tags(dst)
	}
	return wrongType(c)
}

func (d *decoder) textual(dst reflect.Value) *Error {
	s, err := d.text()
	if err != nil {
		return err
	}
	u := dst.Addr().Interface().(encoding.TextUnmarshaler)
	return refused(u.UnmarshalText(s))
}

// whole hands over the text of a value of any type, once it has been found to be sound.
func (d *decoder) whole(dst reflect.Value) *Error {
	from := d.pos
	if err := d.skip(); err != nil {
		return err
	}
	u := dst.Addr().Interface().(json.Unmarshaler)
	return refused(u.UnmarshalJSON(d.in[from:d.pos]))
}

// refused is what a type of its own says of a value.
func refused(err error) *Error {
	if err == nil {
		return nil
	}
	return &Error{Reason: "is not valid: " + err.Error(), Err: err}
}

func (d *decoder) object(p *plan, dst reflect.Value) *Error {
	empty, err := d.enter('}')
	var seen uint64
	var others names
	for more := !empty; more && err == nil; {
		var n []byte
		if n, err = d.name(); err != nil {
			return err
		}
		i := p.find(n)
		switch {
		case i < 0 && others.again(n), i >= 0 && seen&(1<<i) != 0:
			return twice().in(string(n))
		case i < 0:
			err = d.skip()
		default:
			seen |= 1 << i
			err = d.value(p.fields[i].plan, at(dst, p.fields[i].index))
		}
		if err != nil {
			return err.in(string(n))
		}
		more, err = d.more('}')
	}
	return err
}

// find returns the number of the field for a member, or -1.
func (p *plan) find(name []byte) int {
	for i := range p.fields {
		if p.fields[i].name == string(name) {
			return i
		}
	}
	return -1
}

// at is the field at an index, as reflect's FieldByIndex.
func at(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		v = v.Field(i)
	}
	return v
}

func (d *decoder) list(p *plan, dst reflect.Value) *Error {
	empty, err := d.enter(']')
	dst.Set(reflect.MakeSlice(dst.Type(), 0, 4))
	for i, more := 0, !empty; more && err == nil; i++ {
		if d.peek() == 'n' {
			return wrongType('n').in("[" + strconv.Itoa(i) + "]")
		}
		dst.Grow(1)
		dst.SetLen(i + 1)
		dst.Index(i).SetZero()
		if err = d.value(p.elem, dst.Index(i)); err != nil {
			return err.in("[" + strconv.Itoa(i) + "]")
		}
		more, err = d.more(']')
	}
	return err
}

func (d *decoder) tags(dst reflect.Value) *Error {
	empty, err := d.enter('}')
	m := make(map[string]string)
	dst.Set(reflect.ValueOf(m))
	for more := !empty; more && err == nil; {
		var n, s []byte
		if n, err = d.name(); err != nil {
			return err
		}
		if _, there := m[string(n)]; there {
			return twice().in(string(n))
		}
		if c := d.peek(); c != '"' {
			return wrongType(c).in(string(n))
		}
		if s, err = d.text(); err != nil {
			return err.in(string(n))
		}
		m[string(n)] = string(s)
		more, err = d.more('}')
	}
	return err
}
