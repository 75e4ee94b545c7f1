package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// unknownMembers lists the members of v, with their paths, that the schema does not name.
func unknownMembers(s *openapi3.Schema, v any, at string) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		known, open := members(s)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			path := strings.TrimPrefix(at+"."+name, ".")
			switch p := known[name]; {
			case p != nil:
				out = append(out, unknownMembers(p.Value, v[name], path)...)
			case open == nil:
				out = append(out, path)
			case open.Value != nil:
				out = append(out, unknownMembers(open.Value, v[name], path)...)
			}
		}
	case []any:
		if s.Items == nil {
			return nil
		}
		for _, item := range v {
			out = append(out, unknownMembers(s.Items.Value, item, at+"[]")...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// fold gives strings of v that are in a closed enumeration but for letter case the document's spelling: so the service
// reads requests. (The enumeration of rotation actions is spelled in two ways, and clients of today send either.)
func fold(s *openapi3.Schema, v any) any {
	switch v := v.(type) {
	case map[string]any:
		known, _ := members(s)
		for name, p := range known {
			if child, ok := v[name]; ok {
				v[name] = fold(p.Value, child)
			}
		}
	case []any:
		for i := range v {
			if s.Items != nil {
				v[i] = fold(s.Items.Value, v[i])
			}
		}
	case string:
		for _, e := range s.Enum {
			if text, ok := e.(string); ok && strings.EqualFold(text, v) {
				return text
			}
		}
	}
	return v
}

// members are all properties of a schema, inherited ones included; open is the schema of any other member, nil if
// there may be none.
func members(s *openapi3.Schema) (known openapi3.Schemas, open *openapi3.SchemaRef) {
	known = maps.Clone(s.Properties)
	if known == nil {
		known = openapi3.Schemas{}
	}
	open = s.AdditionalProperties.Schema
	if has := s.AdditionalProperties.Has; open == nil && has != nil && *has {
		open = &openapi3.SchemaRef{}
	}
	for _, base := range s.AllOf {
		more, o := members(base.Value)
		maps.Copy(known, more)
		if open == nil {
			open = o
		}
	}
	return known, open
}

// formats are those of the documents that the validator does not know.
func formats() []openapi3.SchemaValidationOption {
	return []openapi3.SchemaValidationOption{
		openapi3.WithStringFormatValidator("base64url", openapi3.NewCallbackValidator(func(s string) error {
			if b, err := base64.RawURLEncoding.Strict().DecodeString(s); err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
				return errors.New("is not base64url without padding")
			}
			return nil
		})),
		openapi3.WithIntegerFormatValidator("unixtime", openapi3.NewCallbackValidator(func(n int64) error {
			if n < 0 || n > 253402300799 { // the end of the year 9999
				return fmt.Errorf("%s is no time in seconds", strconv.FormatInt(n, 10))
			}
			return nil
		})),
	}
}
