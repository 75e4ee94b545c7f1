package dataplane

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"redoubt/internal/api/azhttp"
)

// fill sets everything that v reaches to something other than zero, strings to text.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1767323045)
	case reflect.Uint8:
		v.SetUint(0xfb)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, k := range []string{"b", "a", "é" + text} {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, text)
			v.SetMapIndex(reflect.ValueOf(k).Convert(v.Type().Key()), e)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), text)
				continue
			}
			fill(reflect.NewAt(v.Field(i).Type(), v.Field(i).Addr().UnsafePointer()).Elem(), text) // an embedded struct
		}
	default:
		panic("fill: " + v.Kind().String())
	}
}

// TestAppendJSON: the answers that append their own JSON write what encoding/json would write, whether all
// members are set or none. When this fails because a struct got a member, encode.go lacks it.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	for _, zero := range []azhttp.Appender{operationResult{}, bytesValue{}, keyBundle{Key: jsonWebKey{KeyOps: list(jsonWebKey{}.KeyOps)}}, keyItem{}, page{Value: []keyItem{}}} {
		cases := []any{zero}
		for _, text := range []string{"plain", "https://host/keys/a", "quotes \" \\ / < > & \u2028 \x00\x1f\x7f é 😀 \xff"} {
			full := reflect.New(reflect.TypeOf(zero)).Elem()
			fill(full, text)
			cases = append(cases, full.Interface())
		}
		for _, v := range cases {
			want, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			a, ok := v.(azhttp.Appender)
			if !ok {
				t.Fatalf("%T", v)
			}
			if got := a.AppendJSON([]byte("before ")); string(got) != "before "+string(want) {
				t.Errorf("%T:\ngot  %s\nwant %s", v, strings.TrimPrefix(string(got), "before "), want)
			}
		}
	}
}
