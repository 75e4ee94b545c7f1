package dataplane

import (
	"encoding/json"
	"testing"
)

// FuzzByteString: what is accepted has one encoding, and it is the one that went in.
func FuzzByteString(f *testing.F) {
	for _, s := range []string{`""`, `"AAAA"`, `"AA"`, `"AB"`, `"a_-9"`, `"a+/9"`, `"AA=="`, `"A\nAA"`, "null", "1", `"\u0041A"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var b bytes64
		if json.Unmarshal([]byte(in), &b) != nil {
			return
		}
		out, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		var text *string
		if err := json.Unmarshal([]byte(in), &text); err != nil {
			t.Fatalf("%s was accepted and is no string", in)
		}
		if text != nil && `"`+*text+`"` != string(out) {
			t.Errorf("%s became %s", in, out)
		}
	})
}
