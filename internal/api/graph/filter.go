package graph

import (
	"errors"
	"net/http"
	"strings"
)

// The part of OData's $filter that az sends:
//
//	filter = term { ("or" | "and") term }     "and" binds tighter than "or"
//	term   = name "eq" string
//	       | "startswith(" name "," string ")"
//	       | name "/any(" var ":" var "eq" string ")"
//	string = "'" text "'"                      a quote inside is doubled
//
// Names and values are compared without regard to letter case.
const maxFilter = 4096

var errFilter = errors.New("only 'eq', 'startswith' and 'any(x:x eq ..)', joined by 'and' and 'or', are supported in $filter")

func badFilter(err error) *graphError {
	return &graphError{http.StatusBadRequest, "Request_UnsupportedQuery", "The filter cannot be used: " + err.Error() + "."}
}

// filter is a disjunction of conjunctions. The zero value matches everything.
type filter [][]term

type term struct {
	name   string // lower-case
	value  string // lower-case
	prefix bool
}

func (f filter) match(props map[string][]string) bool {
	if len(f) == 0 {
		return true
	}
	for _, all := range f {
		ok := true
		for _, t := range all {
			ok = ok && t.match(props)
		}
		if ok {
			return true
		}
	}
	return false
}

func (t term) match(props map[string][]string) bool {
	for _, v := range props[t.name] {
		v = strings.ToLower(v)
		if v == t.value || (t.prefix && strings.HasPrefix(v, t.value)) {
			return true
		}
	}
	return false
}

func parseFilter(s string) (filter, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	if len(s) > maxFilter {
		return nil, errFilter
	}
	sc := &scanner{rest: s}
	f := filter{nil}
	for {
		t, err := sc.term()
		if err != nil {
			return nil, err
		}
		f[len(f)-1] = append(f[len(f)-1], t)
		switch word := strings.ToLower(sc.word()); {
		case word == "" && sc.end():
			return f, nil
		case word == "and":
		case word == "or":
			f = append(f, nil)
		default:
			return nil, errFilter
		}
	}
}

type scanner struct{ rest string }

func (s *scanner) space()    { s.rest = strings.TrimLeft(s.rest, " \t") }
func (s *scanner) end() bool { s.space(); return s.rest == "" }

// word takes letters, digits and dots, which is what names and operators are made of.
func (s *scanner) word() string {
	s.space()
	n := 0
	for n < len(s.rest) {
		c := s.rest[n]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_') {
			break
		}
		n++
	}
	w := s.rest[:n]
	s.rest = s.rest[n:]
	return w
}

func (s *scanner) take(token string) bool {
	s.space()
	rest, ok := strings.CutPrefix(s.rest, token)
	if ok {
		s.rest = rest
	}
	return ok
}

func (s *scanner) text() (string, error) {
	if !s.take("'") {
		return "", errFilter
	}
	var b strings.Builder
	for {
		head, rest, ok := strings.Cut(s.rest, "'")
		if !ok {
			return "", errFilter
		}
		b.WriteString(head)
		s.rest = rest
		if !strings.HasPrefix(rest, "'") {
			return strings.ToLower(b.String()), nil
		}
		b.WriteByte('\'')
		s.rest = rest[1:]
	}
}

func (s *scanner) term() (term, error) {
	name := strings.ToLower(s.word())
	if name == "" {
		return term{}, errFilter
	}
	if name == "startswith" && s.take("(") {
		t := term{name: strings.ToLower(s.word()), prefix: true}
		if t.name == "" || !s.take(",") {
			return term{}, errFilter
		}
		return s.closed(t)
	}
	if s.take("/any(") {
		v := s.word()
		if v == "" || !s.take(":") || s.word() != v || !strings.EqualFold(s.word(), "eq") {
			return term{}, errFilter
		}
		return s.closed(term{name: name})
	}
	if !strings.EqualFold(s.word(), "eq") {
		return term{}, errFilter
	}
	var err error
	t := term{name: name}
	t.value, err = s.text()
	return t, err
}

// closed reads the value and the closing parenthesis of t.
func (s *scanner) closed(t term) (term, error) {
	var err error
	if t.value, err = s.text(); err != nil {
		return term{}, err
	}
	if !s.take(")") {
		return term{}, errFilter
	}
	return t, nil
}
