package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// upper is a type with a reader of its own.
type upper string

var errLower = errors.New("only capitals are")

func (u *upper) UnmarshalText(b []byte) error {
	if strings.ToUpper(string(b)) != string(b) {
		return errLower
	}
	*u = upper(b)
	return nil
}

type inner struct {
	Exp  *int64 `json:"exp"`
	On   *bool  `json:"enabled"`
	Tiny int8   `json:"tiny"`
}

type embedded struct {
	Deep string `json:"deep"`
}

type body struct {
	Kty   string            `json:"kty"`
	Size  int               `json:"key_size"`
	Ops   []string          `json:"key_ops"`
	Hsm   bool              `json:"Hsm"`
	Tags  map[string]string `json:"tags"`
	Attr  inner             `json:"attributes"`
	List  []inner           `json:"list"`
	Ptr   *inner            `json:"ptr"`
	Code  upper             `json:"code"`
	Raw   json.RawMessage   `json:"raw"`
	Unset string            `json:"-"`
	Self  *body             `json:"self"`
	embedded
}

func TestDecode(t *testing.T) {
	t.Parallel()
	seven, yes := int64(7), true
	for in, want := range map[string]body{
		`{}`:                             {},
		" \t\r\n{ } \n":                  {},
		`{"kty":"EC","key_size":-0}`:     {Kty: "EC"},
		`{"kty" : "a\"\\\/\b\f\n\r\t" }`: {Kty: "a\"\\/\b\f\n\r\t"},
		`{"kty":"\u0041\ud83d\ude00é"}`:  {Kty: "A😀é"},
		`{"\u006bty":"x"}`:               {Kty: "x"},
		`{"kty":null,"key_size":null,"key_ops":null,"tags":null,"attributes":null,"ptr":null,"code":null,"raw":null,"Hsm":null}`: {},
		`{"KTY":"EC","hsm":true,"Kty":3,"Tags":[]}`:                                       {}, // other letters, other members
		`{"key_ops":[],"tags":{}}`:                                                        {Ops: []string{}, Tags: map[string]string{}},
		`{"key_ops":["sign","sign"],"tags":{"a":"b","A":""}}`:                             {Ops: []string{"sign", "sign"}, Tags: map[string]string{"a": "b", "A": ""}},
		`{"attributes":{"exp":7,"enabled":true,"tiny":-128,"created":1.5e300},"x":{}}`:    {Attr: inner{&seven, &yes, -128}},
		`{"list":[{"exp":7},{}],"ptr":{"exp":7},"self":{"self":{}}}`:                      {List: []inner{{Exp: &seven}, {}}, Ptr: &inner{Exp: &seven}, Self: &body{Self: &body{}}},
		`{"code":"ABC","raw": [1, {"a" : null}] ,"deep":"d"}`:                             {Code: "ABC", Raw: json.RawMessage(`[1, {"a" : null}]`), embedded: embedded{"d"}},
		`{"other":[[[]],{"a":[true,false,null,-1.5E+2,""]}],"Unset":"no","":0}`:           {},
		`{"list":` + strings.Repeat("[", 0) + `[]` + `}`:                                  {List: []inner{}},
		`{"x":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}`: {},
	} {
		var got body
		if err := Decode([]byte(in), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

// What a member is set to stays when the body does not have it.
func TestDefaultsStay(t *testing.T) {
	t.Parallel()
	b := body{Kty: "EC", Size: 3, Ops: []string{"a"}}
	if err := Decode([]byte(`{"key_size":4,"kty":null}`), &b); err != nil || b.Kty != "EC" || b.Size != 4 || len(b.Ops) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	long := strings.Repeat("é", 1000)
	for in, says := range map[string]string{
		"":                         "it is not whole JSON",
		" ":                        "it is not whole JSON",
		"null":                     "it cannot be a JSON null",
		"[]":                       "it cannot be a JSON array",
		`"kty"`:                    "it cannot be a JSON string",
		"3":                        "it cannot be a JSON number",
		"true":                     "it cannot be a JSON boolean",
		"\xff{}":                   "it is not JSON",
		"\xef\xbb\xbf{}":           "it is not JSON", // a byte order mark
		"{":                        "it is not whole JSON",
		`{"kty"`:                   "it is not whole JSON",
		`{"kty":`:                  `member "kty" is not whole JSON`,
		`{"kty":"a`:                `member "kty" is not whole JSON`,
		`{"kty":"a"`:               "it is not whole JSON",
		`{"kty":"a",`:              "it is not whole JSON",
		`{"kty":"a"}}`:             "it has something behind its end",
		`{}{}`:                     "it has something behind its end",
		"{}\x00":                   "it has something behind its end",
		`{"kty":"a",}`:             `'}' cannot stand at byte 11`,
		`{,}`:                      `',' cannot stand`,
		`{kty:"a"}`:                `'k' cannot stand`,
		`{"kty":'a'}`:              `member "kty" is not JSON`,
		`{"kty" "a"}`:              `'"' cannot stand`,
		`{"kty":"a" "tags":{}}`:    `'"' cannot stand`,
		"{\"kty\":\"a\nb\"}":       `member "kty" is not JSON`,
		"{\"kty\":\"a\x00b\"}":     `member "kty" is not JSON`,
		"{\"kty\":\"\xff\"}":       `member "kty" is not valid UTF-8`,
		"{\"kty\":\"\\n\xff\"}":    `member "kty" is not valid UTF-8`,
		"{\"a\xc0\x80\":1}":        `is not valid UTF-8`,
		"{\"x\":\"\xed\xa0\x80\"}": `is not valid UTF-8`,
		`{"kty":"\ud800"}`:         "half a surrogate pair",
		`{"kty":"\udc00\ud800"}`:   "half a surrogate pair",
		`{"kty":"\ud800\u0041"}`:   "half a surrogate pair",
		`{"kty":"\ud800`:           "half a surrogate pair",
		`{"kty":"\x41"}`:           "is not JSON's",
		`{"kty":"\u00g0"}`:         "is not JSON's",
		`{"kty":"\`:                "is not JSON's",
		`{"x":tru}`:                `member "x" is not JSON`,
		`{"x":nulL}`:               `member "x"`,
		`{"Hsm":falsy}`:            `member "Hsm"`,
		`{"x":01}`:                 "cannot stand",
		`{"x":-}`:                  "cannot stand",
		`{"x":1.}`:                 "cannot stand",
		`{"x":.5}`:                 "cannot stand",
		`{"x":+1}`:                 "cannot stand",
		`{"x":1e}`:                 "cannot stand",
		`{"x":NaN}`:                "cannot stand",
		`{"x":[1,]}`:               `member "x[1]" is not JSON`,
		`{"x":[1 2]}`:              "cannot stand",
		`{"x":[}`:                  "cannot stand",

		`{"kty":1}`:                        `member "kty" cannot be a JSON number`,
		`{"kty":{}}`:                       `member "kty" cannot be a JSON object`,
		`{"kty":["EC"]}`:                   `member "kty" cannot be a JSON array`,
		`{"Hsm":"true"}`:                   `member "Hsm" cannot be a JSON string`,
		`{"Hsm":1}`:                        `member "Hsm" cannot be a JSON number`,
		`{"key_size":"2048"}`:              `member "key_size" cannot be a JSON string`,
		`{"key_size":1.5}`:                 `member "key_size" must be an integer`,
		`{"key_size":1.0}`:                 `member "key_size" must be an integer`,
		`{"key_size":1e3}`:                 `member "key_size" must be an integer`,
		`{"key_size":9223372036854775808}`: `member "key_size" cannot be a JSON number as large`,
		`{"attributes":{"tiny":128}}`:      `member "attributes.tiny" cannot be a JSON number as large`,
		`{"attributes":{"exp":true}}`:      `member "attributes.exp" cannot be a JSON boolean`,
		`{"attributes":[]}`:                `member "attributes" cannot be a JSON array`,
		`{"key_ops":"sign"}`:               `member "key_ops" cannot be a JSON string`,
		`{"key_ops":["sign",3]}`:           `member "key_ops[1]" cannot be a JSON number`,
		`{"key_ops":[null]}`:               `member "key_ops[0]" cannot be a JSON null`,
		`{"list":[{"exp":"x"}]}`:           `member "list[0].exp" cannot be a JSON string`,
		`{"list":[null]}`:                  `member "list[0]" cannot be a JSON null`,
		`{"tags":{"a":null}}`:              `member "tags.a" cannot be a JSON null`,
		`{"tags":{"a":1}}`:                 `member "tags.a" cannot be a JSON number`,
		`{"tags":{"a":["b"]}}`:             `member "tags.a" cannot be a JSON array`,
		`{"tags":[]}`:                      `member "tags" cannot be a JSON array`,
		`{"code":"abc"}`:                   `member "code" is not valid: only capitals are`,
		`{"code":3}`:                       `member "code" cannot be a JSON number`,
		`{"raw":{"a":1,"a":1}}`:            `member "raw.a" occurs twice`,

		`{"kty":"a","kty":"a"}`:               `member "kty" occurs twice`,
		`{"kty":"a","\u006bty":"a"}`:          `member "kty" occurs twice`,
		`{"kty":null,"kty":"a"}`:              `member "kty" occurs twice`,
		`{"x":1,"y":2,"x":3}`:                 `member "x" occurs twice`,
		`{"x":{"y":[{"z":1,"z":1}]}}`:         `member "x.y[0].z" occurs twice`,
		`{"attributes":{"exp":1,"exp":1}}`:    `member "attributes.exp" occurs twice`,
		`{"tags":{"a":"1","a":"2"}}`:          `member "tags.a" occurs twice`,
		`{"tags":{"a":"1","\u0061":"2"}}`:     `member "tags.a" occurs twice`,
		`{"` + long + `":1,"` + long + `":1}`: `occurs twice`,
		deep(MaxDepth + 1):                    "nested deeper than 32 levels",
		deep(100_000):                         "nested deeper than 32 levels",
		`{"x":` + strings.Repeat("[", 1<<20):  "nested deeper than 32 levels",
		`{"self":` + strings.Repeat(`{"self":`, 40) + "{}" + strings.Repeat("}", 41): "nested deeper than 32 levels",
	} {
		var got body
		err := Decode([]byte(in), &got)
		var own *Error
		if !errors.As(err, &own) || !strings.Contains(err.Error(), says) || len(err.Error()) > 4000 {
			t.Errorf("%.60q: %v, want %q", in, err, says)
		}
	}
	if err := Decode([]byte(`{"code":"abc"}`), &body{}); !errors.Is(err, errLower) {
		t.Errorf("%v", err)
	}
	for in, ok := range map[string]bool{deep(MaxDepth): true, deep(MaxDepth + 1): false, `{"x":{"y":1}}`: true, `{"x":{"y":1,"y":1}}`: false, `{"x":01}`: false, `[]`: false, `{"x":"\ud800"}`: false} {
		if err := Check([]byte(in)); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// The memory of members seen must not make a large body slow: a million of them is no matter.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	if err := Check([]byte("{" + b.String()[1:] + "}")); err != nil {
		t.Error(err)
	}
}

func TestImpossibleDestinations(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]any{
		"not a struct": new(int),
		"a float": &struct {
			F float64 `json:"f"`
		}{},
		"any": &struct {
			F any `json:"f"`
		}{},
		"a map": &struct {
			F map[string]int `json:"f"`
		}{},
		"unsigned": &struct {
			F uint `json:"f"`
		}{},
		"no tag": &struct{ F int }{},
		"one name for two": &struct {
			embedded
			F int `json:"deep"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = Decode([]byte(`{}`), v)
		}()
	}
}

// FuzzDecode: whatever is taken is JSON to encoding/json too, which finds the same members in it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"kty":"EC","key_ops":["sign"],"tags":{"a":"b"},"attributes":{"exp":7,"enabled":false}}`, `{"KTY":1,"kty":"\u0041"}`, `{"x":[1,{"y":null}],"code":"A"}`,
		`{"kty":"\ud83d\ude00"}`, `{"kty":"\ud83d"}`, `{"self":{"raw":[1.5e3]}}`, `{"key_size":1e2}`, `{"list":[{},{"exp":-1}],"a":{"b":1,"b":2}}`, "\xff", `{} {}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var got body
		if err := Decode(in, &got); err != nil {
			var own *Error
			if !errors.As(err, &own) || !strings.HasPrefix(err.Error(), "it ") && !strings.HasPrefix(err.Error(), "member ") {
				t.Errorf("%q: %v", in, err)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(in, &members); err != nil {
			t.Fatalf("%q is no JSON: %v", in, err)
		}
		for name, dst := range map[string]any{"kty": got.Kty, "key_size": got.Size, "Hsm": got.Hsm, "key_ops": got.Ops, "tags": got.Tags} {
			want := reflect.New(reflect.TypeOf(dst))
			if m, there := members[name]; there {
				if err := json.Unmarshal(m, want.Interface()); err != nil {
					t.Fatalf("%q: member %s: %v", in, name, err)
				}
			}
			if !reflect.DeepEqual(want.Elem().Interface(), dst) {
				t.Errorf("%q: member %s is %v, want %v", in, name, dst, want.Elem())
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(`{"kty":"RSA-HSM","key_size":2048,"key_ops":["sign","verify"],"attributes":{"enabled":true,"exp":1767323045},"tags":{"a":"b"}}`)
	b.Run("strict", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v body
			if err := Decode(in, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v body
			if err := json.Unmarshal(in, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
