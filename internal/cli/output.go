package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// The output formats.
const (
	formatJSON  = "json"
	formatTable = "table"
	formatTSV   = "tsv"
	formatNone  = "none"
)

func (a *app) checkOutput() error {
	switch a.output {
	case formatJSON, formatTable, formatTSV, formatNone:
	case "jsonc":
		a.output = formatJSON
	default:
		return fmt.Errorf("-o %s is not an output format; use json, table, tsv or none", a.output)
	}
	_, err := parseQuery(a.query)
	return err
}

// print writes a result to standard output. columns are paths into an object (or into each of a list) that the
// table and tsv formats show; json shows everything.
func (a *app) print(v any, columns ...string) error {
	value, err := generic(v)
	if err != nil {
		return err
	}
	steps, err := parseQuery(a.query)
	if err != nil {
		return err
	}
	if len(steps) > 0 {
		value, columns = steps.apply(value), nil
	}
	switch {
	case a.output == formatNone, value == nil && a.output != formatJSON:
		return nil
	case a.output == formatTable:
		return a.printRows(table(value, columns), true)
	case a.output == formatTSV:
		return a.printRows(table(value, columns)[1:], false)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	_, err = a.out.Write(showable(b.Bytes()))
	return err
}

// showable is JSON in which what a terminal would obey is escaped. To whoever reads it as JSON it is the same.
func showable(text []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return r > ' ' && steers(r) }) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for _, r := range string(text) {
		if r > ' ' && steers(r) { // the line feeds between members stay
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// steers tells of a character that a terminal obeys instead of showing it, or that changes the order or the lines in which
// others are shown: C0 and C1 controls (ISO 6429), separators of lines, and controls of direction (Unicode UAX 9).
func steers(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// generic turns a value into maps, slices and json.Numbers.
func generic(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the result: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out any
	err = d.Decode(&out)
	return out, err
}

// table makes rows of text, the heading first.
func table(value any, columns []string) [][]string {
	rows, isList := value.([]any)
	if !isList {
		rows = []any{value}
	}
	if len(columns) == 0 {
		columns = scalars(rows)
	}
	head := make([]string, len(columns))
	for i, c := range columns {
		head[i] = heading(c)
	}
	out := [][]string{head}
	for _, r := range rows {
		line := make([]string, len(columns))
		for i, c := range columns {
			line[i] = cell(lookup(r, c))
		}
		out = append(out, line)
	}
	return out
}

// scalars are the columns for results that name none: the plain members of the first object, or the value.
func scalars(rows []any) []string {
	if len(rows) == 0 {
		return nil
	}
	object, ok := rows[0].(map[string]any)
	if !ok {
		return []string{""}
	}
	var out []string
	for _, k := range sortedKeys(object) {
		switch object[k].(type) {
		case map[string]any, []any:
		default:
			out = append(out, k)
		}
	}
	return out
}

func heading(path string) string {
	r := []rune(oneLine(path[strings.LastIndexByte(path, '.')+1:]))
	if len(r) == 0 { // a value without a name, or a tag's name that ends so
		return "Result"
	}
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return oneLine(v)
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = cell(x)
		}
		return strings.Join(parts, " ")
	case map[string]any:
		return oneLine(strings.Join(sortedKeys(v), " "))
	}
	return fmt.Sprint(v)
}

func (a *app) printRows(rows [][]string, aligned bool) error {
	if !aligned {
		for _, r := range rows {
			if _, err := fmt.Fprintln(a.out, strings.Join(r, "\t")); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for i, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
		if i == 0 {
			rule := make([]string, len(r))
			for j, h := range r {
				rule[j] = strings.Repeat("-", len(h))
			}
			fmt.Fprintln(w, strings.Join(rule, "\t"))
		}
	}
	return w.Flush()
}
