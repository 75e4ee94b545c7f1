package drill

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
)

// maxFields bounds how many members of one entry a difference names.
const maxFields = 4

// diffInventories compares two inventory files line by line and calls differs for every difference. It
// returns how many ids it compared.
func diffInventories(a, b string, differs func(text string)) (compared int, err error) {
	nextA, stopA := iter.Pull2(readSpool[entry](a))
	defer stopA()
	nextB, stopB := iter.Pull2(readSpool[entry](b))
	defer stopB()
	ea, eb := &cursor{next: nextA}, &cursor{next: nextB}
	if err := firstError(ea.advance(), eb.advance()); err != nil {
		return 0, err
	}
	for ea.valid || eb.valid {
		compared++
		switch order := ea.compare(eb); {
		case order < 0:
			differs("missing: " + ea.now.ID)
			err = ea.advance()
		case order > 0:
			differs("added: " + eb.now.ID)
			err = eb.advance()
		default:
			if string(ea.now.Value) != string(eb.now.Value) {
				differs("changed: " + ea.now.ID + ": " + describe(ea.now.Value, eb.now.Value))
			}
			err = firstError(ea.advance(), eb.advance())
		}
		if err != nil {
			return compared, err
		}
	}
	return compared, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// cursor is a place in an inventory.
type cursor struct {
	next  func() (entry, error, bool)
	now   entry
	valid bool
}

// advance goes to the next line. Lines out of order are an error: the comparison would be worth nothing.
func (c *cursor) advance() error {
	last := c.now.ID
	e, err, ok := c.next()
	if err != nil {
		return err
	}
	if ok && e.ID <= last {
		return fmt.Errorf("inventory out of order: %s after %s", e.ID, last)
	}
	c.now, c.valid = e, ok
	return nil
}

// compare orders two places; the end comes after everything.
func (c *cursor) compare(o *cursor) int {
	switch {
	case !c.valid:
		return 1
	case !o.valid:
		return -1
	}
	return strings.Compare(c.now.ID, o.now.ID)
}

// describe names the members in which two values differ, before and after.
func describe(a, b json.RawMessage) string {
	var va, vb any
	if json.Unmarshal(a, &va) != nil || json.Unmarshal(b, &vb) != nil {
		return "not JSON"
	}
	fields := changes("", va, vb)
	if len(fields) > maxFields {
		fields = append(fields[:maxFields], fmt.Sprintf("and %d more", len(fields)-maxFields))
	}
	return strings.Join(fields, ", ")
}

func changes(path string, a, b any) []string {
	ma, okA := a.(map[string]any)
	mb, okB := b.(map[string]any)
	if !okA || !okB {
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{fmt.Sprintf("%s was %s, is %s", strings.TrimPrefix(path, "."), shown(a), shown(b))}
	}
	names := map[string]bool{}
	for k := range ma {
		names[k] = true
	}
	for k := range mb {
		names[k] = true
	}
	var out []string
	for _, k := range sortedKeys(names) {
		va, inA := ma[k]
		vb, inB := mb[k]
		switch {
		case !inB:
			out = append(out, fmt.Sprintf("%s.%s was %s, is gone", strings.TrimPrefix(path, "."), k, shown(va)))
		case !inA:
			out = append(out, fmt.Sprintf("%s.%s is new: %s", strings.TrimPrefix(path, "."), k, shown(vb)))
		default:
			out = append(out, changes(path+"."+k, va, vb)...)
		}
	}
	return slices.Clip(out)
}

func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return clip(string(b), 60)
}
