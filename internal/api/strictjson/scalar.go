package strictjson

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string. The result is a part of the input unless the string has escapes.
func (d *decoder) text() ([]byte, *Error) {
	start := d.pos + 1
	var bits byte
	for i := start; i < len(d.in); i++ {
		c := d.in[i]
		switch {
		case c == '"':
			s := d.in[start:i:i]
			if bits >= utf8.RuneSelf && !utf8.Valid(s) {
				return nil, wrong("is not valid UTF-8")
			}
			d.pos = i + 1
			return s, nil
		case c == '\\':
			return d.escaped(start, i)
		case c < ' ':
			d.pos = i
			return nil, d.unexpected()
		}
		bits |= c
	}
	d.pos = len(d.in)
	return nil, d.unexpected()
}

// escaped is text for a string whose first escape stands at i.
func (d *decoder) escaped(start, i int) ([]byte, *Error) {
	out := append(make([]byte, 0, i-start+32), d.in[start:i]...)
	for i < len(d.in) {
		switch c := d.in[i]; {
		case c == '"':
			if !utf8.Valid(out) {
				return nil, wrong("is not valid UTF-8")
			}
			d.pos = i + 1
			return out, nil
		case c == '\\':
			r, n := unescape(d.in[i:])
			if n == 0 {
				d.pos = i
				return nil, wrong("has an escape at byte " + strconv.Itoa(i) + " that is not JSON's or is half a surrogate pair")
			}
			out = utf8.AppendRune(out, r)
			i += n
		case c < ' ':
			d.pos = i
			return nil, d.unexpected()
		default:
			out = append(out, c)
			i++
		}
	}
	d.pos = len(d.in)
	return nil, d.unexpected()
}

// unescape reads the escape that s begins with and returns how long it is, 0 for none.
func unescape(s []byte) (r rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hex4(s[2:])
		if r >= 0 && !utf16.IsSurrogate(r) {
			return r, 6
		}
		if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
			return 0, 0
		}
		if r = utf16.DecodeRune(r, hex4(s[8:])); r != utf8.RuneError {
			return r, 12
		}
	}
	return 0, 0
}

// hex4 reads four hexadecimal digits, or -1.
func hex4(s []byte) (r rune) {
	if len(s) < 4 {
		return -1
	}
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// number reads a number of JSON's grammar and tells whether it is written as an integer.
func (d *decoder) number() (text []byte, integer bool, err *Error) {
	start, i := d.pos, d.pos
	digits := func() bool {
		from := i
		for i < len(d.in) && d.in[i] >= '0' && d.in[i] <= '9' {
			i++
		}
		return i > from
	}
	is := func(set string) bool {
		for k := range len(set) {
			if i < len(d.in) && d.in[i] == set[k] {
				i++
				return true
			}
		}
		return false
	}
	is("-")
	ok, integer := is("0") || digits(), true
	if ok && is(".") {
		ok, integer = digits(), false
	}
	if ok && is("eE") {
		is("+-")
		ok, integer = digits(), false
	}
	d.pos = i
	if !ok {
		return nil, false, d.unexpected()
	}
	return d.in[start:i], integer, nil
}

// integer reads an integer of so many bits.
func (d *decoder) integer(bits int) (int64, *Error) {
	text, ok, err := d.number()
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, wrong("must be an integer, without fraction and exponent")
	}
	n, perr := strconv.ParseInt(string(text), 10, bits)
	if perr != nil {
		return 0, wrong("cannot be a JSON number as large as that")
	}
	return n, nil
}
