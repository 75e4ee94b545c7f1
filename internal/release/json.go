package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// parseJSON reads one JSON value into maps, lists, strings, booleans, nil and json.Number, more strictly than
// the standard decoder: valid UTF-8, no name twice in an object, at most depth levels, nothing behind the value.
// Two readers of one text could otherwise take it for two different policies.
func parseJSON(b []byte, depth int) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := value(d, depth)
	if err != nil {
		return nil, err
	}
	if len(bytes.Trim(b[d.InputOffset():], " \t\r\n")) > 0 {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("it is not JSON")
	}
	delim, ok := t.(json.Delim)
	switch {
	case !ok:
		return t, nil
	case depth == 0:
		return nil, errors.New("it is nested too deeply")
	case delim == '{':
		return object(d, depth-1)
	default: // the decoder gives no closing bracket where a value belongs
		return list(d, depth-1)
	}
}

func object(d *json.Decoder, depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("it is not JSON")
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("it has the member %s twice", quote(name))
		}
		if out[name], err = value(d, depth); err != nil {
			return nil, err
		}
	}
	return out, closing(d)
}

func list(d *json.Decoder, depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := value(d, depth)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, closing(d)
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errors.New("it is not JSON")
	}
	return nil
}

// quote makes foreign text safe and short enough for a message.
func quote(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// maxShown is how much of a foreign text a message repeats, bytes.
const maxShown = 100

// encode writes v as compact JSON with sorted names, as the service does.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
