package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// query is the small part of JMESPath that runbooks use: members, indexes and projections, such as
// properties.hsmUri, [0].name and [].kid.
type query []step

type step struct {
	member string
	index  int
	kind   byte // 'm' member, 'i' index, 'p' projection of the rest over a list
}

func parseQuery(s string) (query, error) {
	var q query
	for rest := s; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "["):
			inside, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.Atoi(inside)
			switch {
			case !ok || inside != "" && inside != "*" && err != nil:
				return nil, fmt.Errorf("--query %q is not understood: use members, [0] and [] only", s)
			case err == nil:
				q = append(q, step{kind: 'i', index: n})
			default:
				q = append(q, step{kind: 'p'})
			}
			rest = strings.TrimPrefix(after, ".")
		default:
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			name := rest[:end]
			if name == "" || strings.ContainsAny(name, " |{}()&!<>=?*'`\",:@") {
				return nil, fmt.Errorf("--query %q is not understood: use members, [0] and [] only", s)
			}
			q, rest = append(q, step{kind: 'm', member: name}), strings.TrimPrefix(rest[end:], ".")
		}
	}
	return q, nil
}

func (q query) apply(v any) any {
	for i, s := range q {
		list, isList := v.([]any)
		switch s.kind {
		case 'm':
			v = lookup(v, s.member)
		case 'i':
			if s.index < 0 {
				s.index += len(list)
			}
			if !isList || s.index < 0 || s.index >= len(list) {
				return nil
			}
			v = list[s.index]
		default:
			if !isList {
				return nil
			}
			out := []any{}
			for _, x := range list {
				if x = q[i+1:].apply(x); x != nil {
					out = append(out, x)
				}
			}
			return out
		}
	}
	return v
}

// lookup follows a dotted path of members; "" is the value itself.
func lookup(v any, path string) any {
	if object, ok := v.(map[string]any); ok {
		if member, ok := object[path]; ok { // such as a tag, whose name may have dots
			return member
		}
	}
	if path == "" {
		return v
	}
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
